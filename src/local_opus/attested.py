"""What the receipt says of the manifests in the store: the digest that each had when it came.

Whoever changes weights can change the manifest beside them too. The receipt lies elsewhere, and in
the system's scope root alone can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import TypeAdapter, ValidationError

from local_opus import whereabouts
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.history import Event, Record
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.values import Device, Model, Sha256
from local_opus.weights import manifest as manifests
from local_opus.weights.store import variant_folder, variant_names

_SHA256: TypeAdapter[str] = TypeAdapter(Sha256)
#: Kinds of the actions that write a manifest.
_KINDS = frozenset({"fetch_weights", "convert_weights"})
#: What is fetched is the same for every device.
_ANY = Device.CPU


@dataclass(frozen=True)
class Attestation:
    """What the receipt says of one folder's manifest.

    ``sha256``: what its digest must be; None where it does not say, and then ``why``.
    """

    sha256: str | None
    why: str


@dataclass(frozen=True)
class _Written:
    """The manifest that was last written to a folder; not ``done``: a run on it did not end."""

    sha256: str | None
    done: bool


_NOTHING = _Written(None, done=False)


class Attested:
    """The receipt of one install, read once, as far as it tells of weights."""

    def __init__(self, host: Host, locations: Locations) -> None:
        self._host = host
        self._problem = ""
        self._written: Mapping[str, _Written] = {}
        try:
            records = whereabouts.receipt(host, locations).records
            self._written = _written(records, locations)
        except PermissionError:
            self._problem = f"{locations.receipt} can't be read: permission denied"
        except LocalOpusError as error:
            denied = isinstance(error.__cause__, PermissionError)
            self._problem = f"{locations.receipt} can't be read" if denied else error.message

    def of(self, folder: str) -> Attestation:
        """Return what the receipt says of the manifest in ``folder``."""
        if self._problem:
            return Attestation(None, self._problem)
        found = self._written.get(folder)
        if found is None or (found.done and found.sha256 is None):
            return Attestation(None, "the receipt does not hold its digest")
        if found.done or found.sha256 == self._digest(folder):
            return Attestation(found.sha256, "")
        return Attestation(None, "the last run that wrote it did not come to its end")

    def _digest(self, folder: str) -> str | None:
        try:
            return manifests.read_with_digest(self._host, folder)[1]
        except LocalOpusError:
            return None


def _written(records: list[Record], locations: Locations) -> dict[str, _Written]:
    """Fold the records: by folder, what was last written there.

    What was taken back counts: a roll-back leaves weights where they are. Not so one outside of
    every plan, which ends with the removal of its model. Of what was there already the first word
    counts: it may have been changed before the next run found it.
    """
    written: dict[str, _Written] = {}
    folders: dict[str, str] = {}
    outside: set[str] = set()
    for record in records:
        if record.event is Event.BEGIN and record.kind in _KINDS:
            folder = _folder(record, locations)
            if folder is None:
                continue
            folders[record.id] = folder
            outside -= {record.id}
            if record.data.get("outside"):
                outside.add(record.id)
            written[folder] = replace(written.get(folder, _NOTHING), done=False)
        elif record.event is Event.PREEXISTING and record.kind in _KINDS:
            folder = _folder(record, locations)
            if folder is not None and written.get(folder, _NOTHING).sha256 is None:
                written[folder] = _Written(_digest(record), done=True)
        elif record.event is Event.DONE and record.id in folders:
            written[folders[record.id]] = _Written(_digest(record), done=True)
        elif record.event is Event.REVERTED and record.id in outside:
            written.pop(folders[record.id], None)
    return written


def _folder(record: Record, locations: Locations) -> str | None:
    """Return the folder of a record; None where it was not in this store, whatever it says.

    The actions themselves are not made for it: they bring all that fetches and converts with them.
    """
    try:
        model = Model.model_validate(record.params.get("model"))
        if record.params.get("store") != locations.models:
            return None
        if record.kind == "fetch_weights":
            return variant_folder(locations.models, model.id, variant_names(model, _ANY).source)
        device = Device(str(record.params.get("device")))
        return variant_folder(locations.models, model.id, variant_names(model, device).served)
    except (ValueError, BadInputError):
        return None


def _digest(record: Record) -> str | None:
    try:
        return _SHA256.validate_python(record.data.get("manifest_sha256"))
    except ValidationError:  # of an older program
        return None
