"""``verify --canary``: what the installed model thinks, after its files were verified."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import JsonValue

from local_opus import control, node_settings, selftest
from local_opus.catalog.own import load_all as load_catalog
from local_opus.errors import BadInputError, LocalOpusError, ProblemFoundError
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.verification import Result


def ask(host: Host, locations: Locations, results: Iterable[Result]) -> dict[str, JsonValue]:
    """Force the canary text through the installed model, which must be among the ``results``.

    Raises BadInputError where it is not, and ProblemFoundError when there is none, when it lies
    outside of the band, when no band was measured, or when a file was swapped meanwhile.
    """
    try:
        where = node_settings.settings(host, locations)
    except BadInputError:
        raise
    except LocalOpusError as error:
        raise ProblemFoundError(error.message, error.remedy) from error
    of = {result.subject.folder: result.examined for result in results}
    before = of.get(where.model_folder)
    if before is None:
        raise BadInputError(
            f"--canary: asks the installed model {where.model}, and that is not what was verified",
            f"Name no target, or {where.model}.",
        )
    control.use_installed_workers(host, locations)
    model = load_catalog(host, locations).get(where.model)
    if model.canary is None:
        raise ProblemFoundError(
            f"{model.id}: no canary band was measured for this model",
            "Verify its files alone: leave --canary out.",
        )
    try:
        return selftest.canary(host, where.model_folder, where.device, model.canary, before.seen)
    except LocalOpusError as error:
        raise ProblemFoundError(error.message, error.remedy) from error
