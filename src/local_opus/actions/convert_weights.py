"""Make OpenVINO IR from a fetched GGUF."""

from __future__ import annotations

from typing import ClassVar

from local_opus.actions.base import Progress, Record
from local_opus.actions.weights import OnWeights, adapt
from local_opus.host import Host
from local_opus.values import Device
from local_opus.weights.convert import convert_model
from local_opus.weights.shared_files import keeping_stamps
from local_opus.weights.store import variant_folder, variant_names


class ConvertWeights(OnWeights):
    """The variant for ``device``, made in a worker."""

    kind: ClassVar[str] = "convert_weights"
    device: Device

    def summary(self) -> str:
        """Say what it does."""
        return f"convert {self.model.id} from GGUF to OpenVINO IR for {self.device.value}"

    def folder(self) -> str:
        """Return the folder of the IR."""
        variant = variant_names(self.model, self.device).served
        return variant_folder(self.store, self.model.id, variant)

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Convert, check and list."""
        with keeping_stamps(host, self.store, [self.folder()]):
            stored = convert_model(
                host, self.store, self.model, self.device, progress=adapt(progress)
            )
            self.set_modes(host)
        return {"manifest_sha256": stored.manifest_sha256} | self.share(host, progress)
