"""One file, from whichever of its addresses brings the pinned one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from local_opus.errors import LocalOpusError
from local_opus.host import partials
from local_opus.host.partials import Partial
from local_opus.weights import salvage
from local_opus.weights.digest import Digests
from local_opus.weights.sources.arrival import mismatch, partial_name, settle
from local_opus.weights.sources.transfer import Transfer

if TYPE_CHECKING:
    from local_opus.host import Host
    from local_opus.host.downloads import Web
    from local_opus.values import CatalogFile
    from local_opus.weights.manifest import Origin
    from local_opus.weights.patience import Patience
    from local_opus.weights.salvage import Known
    from local_opus.weights.sources.replies import Address


@dataclass(frozen=True)
class Wanted:
    """A file, where it can be had (the first is asked first), and what a manifest says of that.

    ``origins`` has an entry for each address.
    """

    file: CatalogFile
    addresses: Sequence[Address]
    origins: Sequence[Origin]


class Single:
    """Brings one file to its place below ``folder``; what has come is in ``partial`` until then."""

    def __init__(
        self,
        host: Host,
        web: Web,
        wanted: Wanted,
        folder: str,
        work: str,
        known: Known | None,
        patience: Patience,
        *,
        connections: int,
        stopped: Callable[[], bool],
    ) -> None:
        self._host = host
        self._web = web
        self._wanted = wanted
        self._file = wanted.file
        self._path = f"{work}/{partial_name(self._file)}"
        self._target = f"{folder}/{self._file.path}"
        agrees = known is not None and known.sha256 == self._file.sha256
        self._known = known if agrees else None
        self._patience = patience
        self._connections = connections
        self._stopped = stopped
        self.partial = Partial(
            host.files, self._path, self._file.size, self._file.sha256,
            partials.boot_id(host.files),
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        try:
            # What ended in an error, or by a person's wish, may be gone on with after a power loss.
            if not self.partial.closed:
                self.partial.sync()
        except OSError:
            if error is None:
                raise
        finally:
            self.partial.close()

    def run(self) -> tuple[Digests, Origin]:
        """Return the digests of the file in its place, and where it came from.

        Raises LocalOpusError when no address brings it. What came of it is kept, unless it is known
        to be another file.
        """
        if self._known is not None:
            salvage.reuse(self._host, self._target, self.partial, self._known)
        digests, number = self._from_any()
        self.partial.close()
        try:
            settle(self._host, self._path, self._target, self._file)
        finally:
            # After the rename: bytes without notes would have to come again.
            if self._host.files.stat(self._path) is None:
                partials.discard(self._host.files, self._path)
        return digests, self._wanted.origins[number]

    def _from_any(self) -> tuple[Digests, int]:
        errors: list[LocalOpusError] = []
        for number, address in enumerate(self._wanted.addresses):
            for _ in range(2):
                fresh = self.partial.have == 0
                try:
                    digests = self._from(address)
                except LocalOpusError as error:
                    errors.append(error)
                    break
                if digests.sha256 == self._file.sha256:
                    return digests, number
                errors.append(self._other(address, digests))
                salvage.forget_bad(self.partial, self._known)
                if fresh and len(self._wanted.addresses) > 1:
                    break  # all of it came from there
        if self.partial.have == 0:
            self.partial.discard()
        first, *others = errors
        first.details = tuple(dict.fromkeys(error.message for error in others)) or first.details
        raise first

    def _from(self, address: Address) -> Digests:
        transfer = Transfer(
            self._web, self.partial, self._file, address, self._patience,
            connections=self._connections, stopped=self._stopped,
        )  # fmt: skip
        return transfer.run()

    def _other(self, address: Address, digests: Digests) -> LocalOpusError:
        wanted = f"sha256 {self._file.sha256}"
        return mismatch(self._file, address.where, wanted, str(digests.sha256))
