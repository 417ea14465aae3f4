"""What stands before a download: a licence to accept, a hub that wants to know who asks.

A consent is asked for once: it is kept in the receipt, with the fetch that it was given for.
"""

from __future__ import annotations

from dataclasses import dataclass

from local_opus import whereabouts
from local_opus.catalog.licenses import is_free, page
from local_opus.errors import BadInputError
from local_opus.history import History
from local_opus.host import Host
from local_opus.host.hub_token import hub_token
from local_opus.locations import Locations
from local_opus.values import Device, HubSource, Model
from local_opus.weights import manifest
from local_opus.weights.store import variant_folder, variant_names


@dataclass(frozen=True)
class Terms:
    """A licence that is not a free one; ``page`` is where to read it."""

    model: str
    license: str
    note: str | None
    page: str

    def refusal(self) -> BadInputError:
        """Return the error where nobody accepts it."""
        details = [self.note] if self.note else []
        return BadInputError(
            f"{self.model}: its licence {self.license} is not a free one, and must be accepted",
            f"Read it on {self.page}, then add --accept-license.",
            details=details,
        )


def terms(host: Host, locations: Locations, model: Model) -> Terms | None:
    """Return what must be accepted before a model is fetched; None: nothing.

    Nothing where the licence is free, where the files are in the store already, and where it was
    accepted for an earlier fetch of this model. Raises LocalOpusError for a damaged receipt.
    """
    if is_free(model.license.id) or is_fetched(host, locations, model):
        return None
    if accepted(whereabouts.receipt(host, locations).history, model):
        return None
    return Terms(model.id, model.license.id, model.license.note, page(model))


def agreed(host: Host, locations: Locations, model: Model, *, now: bool) -> str | None:
    """Return the licence that was accepted for a fetch of this model; None: none had to be.

    ``now``: the user accepts it with this command. Raises BadInputError where he has to, and
    does not.
    """
    if is_free(model.license.id):
        return None
    asked = terms(host, locations, model)
    if asked is not None and not now:
        raise asked.refusal()
    before = accepted(whereabouts.receipt(host, locations).history, model)
    return model.license.id if now else before


def accepted(history: History, model: Model) -> str | None:
    """Return the licence of a model where the receipt says that it was accepted, else None."""
    for entry in history.entries:
        of = entry.params.get("model")
        same = isinstance(of, dict) and of.get("id") == model.id
        if same and entry.params.get("license_accepted") == model.license.id:
            return model.license.id
    return None


def is_fetched(host: Host, locations: Locations, model: Model) -> bool:
    """Whether the files of the source are in the store, whatever a verification will say of them.

    Where a manifest is missing, as it is on the way of a repair, names and sizes tell.
    """
    folder = variant_folder(locations.models, model.id, variant_names(model, Device.CPU).source)
    try:
        if host.files.stat(f"{folder}/{manifest.NAME}") is not None:
            return True
        found = (host.files.stat(f"{folder}/{file.path}") for file in model.files)
        return [stat and stat.size for stat in found] == [file.size for file in model.files]
    except PermissionError:  # closed to this user, who may be about to repair that
        return False


def require_token(host: Host, locations: Locations, model: Model) -> None:
    """Raise BadInputError where the hub asks for consent to a model and no token is set.

    That is known from the catalog, so it is told before anything is fetched.
    """
    gated = model.license.gated is True and isinstance(model.source, HubSource)
    if not gated or is_fetched(host, locations, model):
        return
    if hub_token(host.environ) is None:
        raise BadInputError(
            f"{model.id}: is gated on the hub, and no token is set",
            f"Accept the licence on {page(model)}, then set HF_TOKEN to a token of your account.",
        )
