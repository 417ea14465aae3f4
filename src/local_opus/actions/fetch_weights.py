"""Bring a model's files into the store, proven."""

from __future__ import annotations

from typing import ClassVar

from local_opus.actions.base import Progress, Record
from local_opus.actions.weights import OnWeights, adapt
from local_opus.host import Host
from local_opus.values import CatalogFile, Device
from local_opus.weights.fetch import fetch_model
from local_opus.weights.shared_files import keeping_stamps
from local_opus.weights.store import variant_folder, variant_names


class FetchWeights(OnWeights):
    """The files of the catalog, as their source ships them."""

    kind: ClassVar[str] = "fetch_weights"
    #: The licence that the user accepted for this; None: none had to be.
    license_accepted: str | None = None

    def summary(self) -> str:
        """Say what it does."""
        size = self.model.size
        return f"fetch {self.model.id}: {size:,} bytes, proven by size, sha256 and structure"

    def folder(self) -> str:
        """Return the folder of the fetched files."""
        variant = variant_names(self.model, Device.CPU).source
        return variant_folder(self.store, self.model.id, variant)

    def pins(self) -> tuple[CatalogFile, ...]:
        """Return the catalog's files."""
        return self.model.files

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Fetch what is missing or not proven."""
        with keeping_stamps(host, self.store, [self.folder()]):
            stored = fetch_model(host, self.store, self.model, progress=adapt(progress))
            self.set_modes(host)
        record: Record = {"manifest_sha256": stored.manifest_sha256}
        record |= self.share(host, progress)
        if self.license_accepted is not None:
            record["license_accepted"] = self.license_accepted
        return record
