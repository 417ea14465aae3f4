"""The self-test of one install: each of its steps, and what the system refused in one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import JsonValue

from local_opus import lingering, node_settings, planner, selftest, server_log
from local_opus.attested import Attested
from local_opus.host import Host
from local_opus.refusals import explained
from local_opus.report.reporter import Reporter

if TYPE_CHECKING:
    from local_opus.install import Choice


def prove(host: Host, choice: Choice, tell: Reporter) -> dict[str, JsonValue]:
    """Test what was installed; return what was measured. Raises LocalOpusError where it fails."""
    result: dict[str, JsonValue] = {}
    if host.is_image:
        return {"self_test": "not run: the program of an image can't be started here"}
    tell.started("self-test", "test what was installed")
    with _step(tell, "start the program"):
        result |= selftest.program(host, f"{choice.environment}/bin/python")
    model, device = choice.model, choice.device
    if model is not None and device is not None:
        folder = planner.model_folder(choice.locations, model, device)
        with _step(tell, "verify the weights"):
            folders = {folder, planner.source_folder(choice.locations, model)}
            said = Attested(host, choice.locations)
            result |= selftest.weights(
                host, tuple(sorted(folders)), lambda folder: said.of(folder).sha256
            )
        with _step(tell, "canary"):
            result |= selftest.canary(host, folder, choice.device_name or device, model.canary)
        with _step(tell, "ask over HTTP"), server_log.kept(host, choice.locations):
            result |= selftest.server(host, choice.locations, model.id)
        result["tuned"] = node_settings.tuning(host, choice.locations)
        result["lingering"] = lingering.told(host, choice.locations, {"linger": choice.linger})
    tell.finished("self-test", "done")
    return result


@contextmanager
def _step(tell: Reporter, words: str) -> Iterator[None]:
    tell.progress(words, 0, None)
    with explained(f"self-test, {words}"):
        yield
