"""What the actions on weights share: inspection by verdict, and a revert that leaves the store."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Self

from local_opus.actions.base import Action, Inspection, Progress, Record, Reverted, State
from local_opus.host import Host
from local_opus.values import CatalogFile, Model
from local_opus.weights import manifest, shared_files
from local_opus.weights.door import Progress as WeightsProgress
from local_opus.weights.store import model_folder
from local_opus.weights.verify import is_proven, verify_folder

#: By kind of file: the service reads them as another user, and nobody but root writes them.
_MODES = {"folder": 0o755, "file": 0o644}


class OnWeights(Action):
    """An action that brings a variant of ``model`` into the folder ``store``."""

    model: Model
    store: str

    @abstractmethod
    def folder(self) -> str:
        """Return the variant's folder."""

    def pins(self) -> tuple[CatalogFile, ...] | None:
        """Return what the catalog states of the files; None where they were derived here."""
        return None

    def paths(self) -> tuple[str, ...]:
        """Name the model's folder: partial downloads lie beside the variants."""
        return (model_folder(self.store, self.model.id), self.folder())

    def inspect(self, host: Host) -> Inspection:
        """Verify by size, inode and times; hashes where those changed."""
        folder = self.folder()
        for path, mode in self._wrong_modes(host):  # first: what is closed can't be verified
            return Inspection(state=State.DIFFERENT, evidence=f"{path}: mode {mode:04o}")
        if host.files.stat(f"{folder}/{manifest.NAME}") is None:
            return Inspection(state=State.ABSENT, evidence="not in the store")
        verdicts = verify_folder(host, folder, quick=True, catalog_files=self.pins())
        if is_proven(verdicts):
            return Inspection(state=State.PRESENT, evidence=f"{len(verdicts)} files proven")
        bad = next(item for item in verdicts if item.verdict != "real")
        evidence = f"{bad.path}: {bad.verdict.value}: {bad.evidence}"
        return Inspection(state=State.DIFFERENT, evidence=evidence)

    def _wrong_modes(self, host: Host) -> Iterator[tuple[str, int]]:
        """Yield what the service could not read, or others could write, and its mode."""
        folder = self.folder()
        for path in (model_folder(self.store, self.model.id), folder):
            found = host.files.stat(path)
            if found is None:
                return
            if found.mode != _MODES.get(found.kind, found.mode):
                yield path, found.mode
        for name, found in host.files.walk(folder, folders=True):
            if found.mode != _MODES.get(found.kind, found.mode):
                yield f"{folder}/{name}", found.mode

    def reach(self, host: Host) -> None:
        """Open the model's folder and all in it."""
        host.files.open_all(model_folder(self.store, self.model.id))

    def set_modes(self, host: Host) -> None:
        """Give what was just proven the modes that it is made with."""
        wrong = [path for path, _ in self._wrong_modes(host)]
        for path in wrong:
            found = host.files.stat(path)
            if found is not None:
                host.files.set_mode(path, _MODES[found.kind])
        if wrong:  # that changed what quick verification compares
            listed, digest = manifest.read_with_digest(host, self.folder())
            manifest.write_stamps(host, self.folder(), listed, digest)

    def noted(self, host: Host) -> Record:
        """Return the manifest's digest: from now on another one is noticed."""
        return {"manifest_sha256": manifest.read_with_digest(host, self.folder())[1]}

    def share(self, host: Host, progress: Progress) -> Record:
        """Store once what another variant has too; return what of that goes into the receipt."""
        found = shared_files.share(host, self.store, self.folder())
        record: Record = {"shared_files": found.files} if found.files else {}
        if found.problem is not None:
            progress(f"stored twice: {found.problem}", 0, None)
            record["stored_twice"] = found.problem
        return record

    def covers(self, earlier: Self) -> bool:
        """The same files in the same place: a catalog may come to say other things of them."""
        return (earlier.folder(), earlier.model.files) == (self.folder(), self.model.files)

    def capture(self, host: Host) -> Record:
        """Nothing is put back: weights stay in the store, also those of an earlier install."""
        self.reach(host)
        return {"present": host.files.stat(self.folder()) is not None}

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:  # noqa: ARG002
        """Leave verified weights and partials in the store: the next try uses them."""
        return Reverted()


def adapt(progress: Progress) -> WeightsProgress:
    """Return ``progress`` as the weights room calls it: a total of 0 means that it is not known."""
    return lambda what, done, total: progress(what, done, total or None)
