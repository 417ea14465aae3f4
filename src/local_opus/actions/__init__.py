"""Actions: the registry that makes one from its kind and its parameters."""

from __future__ import annotations

from pydantic import JsonValue, ValidationError

from local_opus.actions.base import Action
from local_opus.actions.convert_weights import ConvertWeights
from local_opus.actions.create_environment import CreateEnvironment
from local_opus.actions.create_folder import CreateFolder
from local_opus.actions.create_group import CreateGroup
from local_opus.actions.enable_linger import EnableLinger
from local_opus.actions.enable_service import EnableService
from local_opus.actions.fetch_weights import FetchWeights
from local_opus.actions.install_unit import InstallUnit
from local_opus.actions.keep_credential import KeepCredential
from local_opus.actions.link_command import LinkCommand
from local_opus.actions.make_host_key import MakeHostKey
from local_opus.actions.record_baseline import RecordBaseline
from local_opus.actions.set_mode import SetMode
from local_opus.actions.start_server import StartServer
from local_opus.actions.try_server import TryServer
from local_opus.actions.tune_machine import TuneMachine
from local_opus.actions.tune_openvino import TuneOpenvino
from local_opus.actions.write_file import WriteFile
from local_opus.errors import LocalOpusError

#: Every action there is; one line each.
REGISTRY: dict[str, type[Action]] = {
    action.kind: action
    for action in (
        CreateGroup,
        CreateFolder,
        CreateEnvironment,
        FetchWeights,
        ConvertWeights,
        WriteFile,
        SetMode,
        LinkCommand,
        TuneOpenvino,
        TuneMachine,
        InstallUnit,
        EnableService,
        StartServer,
        EnableLinger,
        TryServer,
        RecordBaseline,
        MakeHostKey,
        KeepCredential,
    )
}


def build(kind: str, params: dict[str, JsonValue]) -> Action:
    """Make an action. Raises LocalOpusError for an unknown kind or wrong parameters."""
    known = REGISTRY.get(kind)
    if known is None:
        raise LocalOpusError(
            f"receipt: no action is called {kind}", "Use the version that wrote the receipt."
        )
    try:
        return known.model_validate(params)
    except ValidationError as error:
        first = error.errors()[0]
        raise LocalOpusError(
            f"action {kind}: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            "Use the version that wrote the receipt.",
        ) from error
