"""Whether telemetry is off where OpenVINO runs: a worker is started, and looks at itself."""

from __future__ import annotations

from local_opus.checks.base import Answer, Check, Group, advise, failed, passed
from local_opus.checks.context import Context
from local_opus.posture import consent_told

_SECONDS = 10.0


def ask(context: Context) -> Answer:
    """Ask a worker what telemetry it could send."""
    said = context.host.processes.worker("telemetry", {}, timeout=_SECONDS)
    consent = consent_told(context.host)
    lacking = []
    if said.get("openvino_telemetry") == "importable":
        lacking.append("openvino_telemetry can be imported in a worker")
    if said.get("hub_telemetry") == "on":
        lacking.append("huggingface_hub's telemetry is on in a worker")
    if said.get("hub") == "on":
        lacking.append("huggingface_hub may ask the hub in a worker")
    if said.get("do_not_track") is not True:
        lacking.append("DO_NOT_TRACK is not set in a worker")
    if lacking:
        return failed(
            f"{'; '.join(lacking)}{consent}",
            advise("Install again; if it stays so, report it.", "local-opus upgrade"),
        )
    return passed(
        f"off in a worker: openvino_telemetry is {said.get('openvino_telemetry')},"
        f" huggingface_hub's {said.get('hub_telemetry')}{consent}"
    )


CHECK = Check("telemetry", "telemetry off", Group.INSTALL, ask, _SECONDS + 2)
