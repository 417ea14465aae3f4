"""Models that come into the store and go from it, without an install."""

from __future__ import annotations

from local_opus import control, licensing, planner, state, stock, uses, whereabouts
from local_opus.actions.convert_weights import ConvertWeights
from local_opus.actions.fetch_weights import FetchWeights
from local_opus.actions.weights import OnWeights, adapt
from local_opus.apply import Applier
from local_opus.catalog.fitting import remedy
from local_opus.catalog.own import load_all as load_catalog
from local_opus.errors import BadInputError, LocalOpusError, MachineCannotError, WorkerError
from local_opus.facts import gather
from local_opus.history import Event
from local_opus.host import Host
from local_opus.journal import Listener
from local_opus.licensing import Terms
from local_opus.locations import Locations
from local_opus.opening import open_journal
from local_opus.refusals import explained
from local_opus.report.reporter import Reporter
from local_opus.weights import manifest
from local_opus.weights.shared_files import freed_by, keeping_stamps
from local_opus.weights.store import model_folder, variant_names
from local_opus.weights.verify import is_proven, verify_folder

#: What the environment of a checkout lacks.
_CONVERTER = "No module named 'openvino_genai'"
#: By step: what the id of a pulled model's entry in the receipt begins with.
_PULLED = {"weights": "pulled:", "variant": "pulled-variant:"}


def terms(host: Host, locations: Locations, model_id: str) -> Terms | None:
    """Return the licence that must be accepted before a pull; None: nothing must be.

    Raises BadInputError for an unknown model.
    """
    return licensing.terms(host, locations, load_catalog(host, locations).get(model_id))


def pull(
    host: Host,
    locations: Locations,
    model_id: str,
    tell: Reporter,
    *,
    accept_license: bool = False,
) -> list[str]:
    """Fetch and convert a model; return its folders. Raises LocalOpusError.

    With ``accept_license`` the user has accepted what ``terms`` names.
    """
    model = load_catalog(host, locations).get(model_id)
    facts = gather(host, disk_path=locations.models)
    found = stock.row(host, locations, facts, model, None)
    if not found.fit.fits or found.fit.device is None:
        raise MachineCannotError(
            f"{model_id}: {found.fit.reasons[0]}",
            remedy(found.fit, facts),
            details=found.fit.reasons[1:],
        )
    device = found.fit.device
    whereabouts.require(host, locations)
    licensing.require_token(host, locations, model)
    agreed = licensing.agreed(host, locations, model, now=accept_license)
    control.use_installed_workers(host, locations)
    with state.held(host, locations):
        applier = Applier(
            open_journal(host, locations, Listener(progress=tell.progress), held=True)
        )
        applier.ensure(planner.store_folder(locations))
        fetch = FetchWeights(model=model, store=locations.models, license_accepted=agreed)
        _bring(host, applier, "weights", f"fetch {model_id}", fetch, tell)
        if variant_names(model, device).derived is None:
            return [fetch.folder()]
        convert = ConvertWeights(model=model, store=locations.models, device=device)
        words = f"convert {model_id} for {device.value}"
        try:
            _bring(host, applier, "variant", words, convert, tell)
        except WorkerError as error:
            if _CONVERTER not in error.message:
                raise
            raise MachineCannotError(
                f"{model_id}: fetched and proven, but not converted: the packages that convert it "
                "come with an install",
                f"Run `local-opus install --local-opus --model {model_id}`: it fetches no byte "
                "again.",
            ) from error
        return [fetch.folder(), convert.folder()]


def _bring(
    host: Host, applier: Applier, step: str, words: str, action: OnWeights, tell: Reporter
) -> None:
    tell.started(step, words)
    with explained(action.summary()):
        _look_closely(host, action, tell)
    id_ = _PULLED[step] + action.model.id
    planned = planner.planned(id_, action.kind, action.model_dump(mode="json"))
    applier.ensure(planned, outside=True)
    tell.finished(step, "done")


def _look_closely(host: Host, action: OnWeights, tell: Reporter) -> None:
    """Have what is there hashed anew where it is damaged: who pulls wants it whole.

    An action believes files that look untouched, as bits that rot on a disk do.
    """
    action.reach(host)
    folder = action.folder()
    if host.files.stat(f"{folder}/{manifest.NAME}") is None:
        return
    verdicts = verify_folder(
        host, folder, catalog_files=action.pins(), progress=adapt(tell.progress)
    )
    if not is_proven(verdicts):
        host.files.discard(f"{folder}/{manifest.STAT_NAME}")


def removable(host: Host, locations: Locations, model_id: str) -> str:
    """Return the folder of a stored model that nothing uses.

    Raises BadInputError where it is not in the store, LocalOpusError where the server loads it.
    """
    whereabouts.require(host, locations)
    folder = model_folder(locations.models, model_id)
    if host.files.stat(folder) is None:
        raise BadInputError(
            f"{model_id}: not in the store", "See what is there: `local-opus models list --stored`."
        )
    _refuse_used(host, locations, model_id, folder)
    return folder


def _refuse_used(host: Host, locations: Locations, model_id: str, folder: str) -> None:
    used = uses.configured(host, locations)
    if (who := used.of(folder)) is not None:
        raise LocalOpusError(
            f"{model_id}: {who} loads it",
            "Install another model first, or run `local-opus uninstall --purge`.",
        )
    ours = [line for line in used.problems if line.startswith(f"{locations.config}/")]
    if ours:  # it may be the one
        raise LocalOpusError(
            f"{model_id}: whether the server loads it can't be told: {ours[0]}",
            "Correct that file, or run this as root, or as a member of its group.",
        )
    if (who := uses.running(host, folder)) is not None:
        raise LocalOpusError(
            f"{model_id}: {who} has it in its memory",
            "Stop the server with `local-opus stop`, or end that process, then run this again.",
        )


def remove(host: Host, locations: Locations, model_id: str) -> int:
    """Remove a stored model; return the bytes that are free again. Raises as ``removable`` does.

    A file that another model shares stays as it is there.
    """
    with state.held_if_there(host, locations):
        folder = removable(host, locations, model_id)  # an install may use it since it was asked
        receipt = whereabouts.receipt(host, locations, held=True)
        freed = freed_by(host, folder)
        with keeping_stamps(host, locations.models, [folder]):
            host.files.remove_tree(folder)
        for id_ in (prefix + model_id for prefix in _PULLED.values()):
            if receipt.history.get(id_) is not None:
                receipt.append(Event.REVERTED, id=id_)
    return freed
