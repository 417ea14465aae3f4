"""The bench that tuning measures on: a worker a setting, on a model or on a generated graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Self

from pydantic import JsonValue

from local_opus.devices.names import kind_of
from local_opus.devices.settings import OF_PIPELINE, refusals
from local_opus.errors import WorkerError
from local_opus.host import Host
from local_opus.host.dialogue import Dialogue
from local_opus.runtime.protocol import Message
from local_opus.tuning import Loaded, Round
from local_opus.values import Device
from local_opus.values.tuning import Chosen

#: Tokens that the canary's text is read in, so that it also tells of the KV cache's precision.
PIECE = 8
#: A second in the kernel's clock ticks, on all architectures of Linux (sysconf(_SC_CLK_TCK)).
TICKS = 100
_GRAPH_SECONDS = 60.0


@dataclass(frozen=True)
class Subject:
    """What is measured. ``folder`` holds the IR, or the generated graph where ``model`` is None."""

    device: str
    folder: str
    #: The properties of the profile, which the default has too.
    base: Mapping[str, JsonValue] = field(default_factory=dict)
    model: str | None = None
    context_length: int = 2048
    cache_size_gb: int = 1
    #: What the canary is asked with; None: nothing can be asked.
    text: str | None = None

    @property
    def how(self) -> Literal["batched", "sequential", "graph"]:
        """How the server runs this."""
        if self.model is None:
            return "graph"
        return "sequential" if kind_of(self.device) is Device.NPU else "batched"


class Loading:
    """One setting, loaded; see ``tuning.Running``."""

    def __init__(self, host: Host, dialogue: Dialogue, loaded: Loaded) -> None:
        self._host, self._dialogue = host, dialogue
        self.loaded = loaded

    def measure(self, requests: int, tokens: int, *, timeout: float) -> Round:
        """Run one round."""
        message: Message = {"op": "measure", "requests": requests, "tokens": tokens}
        said = self._dialogue.ask(message, timeout=timeout)
        try:
            return Round(
                seconds=_number(said, "seconds"),
                first_seconds=_number(said, "first_seconds"),
                tokens=int(_number(said, "tokens")),
                after_first=int(_number(said, "after_first")),
            )
        except WorkerError:
            self.close()
            raise

    def processor_seconds(self) -> float:
        """Read utime and stime of proc_pid_stat(5), fields 14 and 15."""
        try:
            text = self._host.files.read_text(f"/proc/{self._dialogue.pid}/stat", 4096)
        except OSError:
            return 0.0
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def close(self) -> None:
        """End the process."""
        self._dialogue.close()


class Workbench:
    """See ``tuning.Bench``. Left, it ends what still runs."""

    def __init__(self, host: Host, subject: Subject) -> None:
        self._host, self._subject = host, subject
        self._checker: Dialogue | None = None
        self._open: list[Loading] = []
        #: FULL_DEVICE_NAME and OpenVINO's version, once something was loaded.
        self.device_name = self.runtime = ""

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """End every process."""
        if self._checker is not None:
            self._checker.close()
        for one in self._open:
            one.close()

    def refusal(self, chosen: Chosen, *, timeout: float) -> str | None:
        """Look into the tables of the device, then ask its plugin by compiling a tiny model."""
        if self._subject.how != "graph":
            known = {
                name: value
                for name, value in chosen.properties.items()
                if name != "ATTENTION_BACKEND"
            }
            if found := refusals(self._subject.device, known, chosen.scheduler):
                return found[0]
        properties = {**self._subject.base, **chosen.properties}
        asked = {name: value for name, value in properties.items() if name not in OF_PIPELINE}
        message: Message = {"op": "check", "device": self._subject.device, "properties": asked}
        if self._checker is None:
            self._checker = self._host.processes.dialogue("tune")
        try:
            answer = self._checker.ask(message, timeout=timeout)
        except BaseException:
            self._checker = None  # the next setting gets a new one
            raise
        return None if answer.get("legal") is True else str(answer.get("problem"))

    def load(
        self,
        chosen: Chosen,
        how: str | None,
        *,
        timeout: float,
        process: Mapping[str, JsonValue] | None = None,
    ) -> Loading:
        """Load in a new process; ``process``: what it does to itself, see ``runtime.tune.Open``."""
        subject = self._subject
        message: Message = {
            "op": "open",
            "how": how or subject.how,
            "folder": subject.folder,
            "device": subject.device,
            "context_length": subject.context_length,
            "cache_size_gb": subject.cache_size_gb,
            "properties": {**subject.base, **chosen.properties},
            "scheduler": chosen.scheduler,
            **(process or {}),
        }
        dialogue = self._host.processes.dialogue("tune")
        try:
            said = dialogue.ask(message, timeout=timeout)
            loaded = Loaded(_number(said, "load_seconds"), int(_number(said, "peak_bytes")))
        except BaseException:
            dialogue.close()
            raise
        self.device_name = str(said.get("device_name", ""))
        self.runtime = str(said.get("runtime", ""))
        loading = Loading(self._host, dialogue, loaded)
        self._open.append(loading)
        return loading

    def machine_seconds(self) -> tuple[float, float] | None:
        """Read the first line of proc_stat(5): user, nice, system, idle and so on.

        What a hypervisor gave to others (steal) counts as used by others too.
        """
        try:
            words = self._host.files.read_text("/proc/stat", 1 << 20).split("\n", 1)[0].split()
        except OSError:
            return None
        ticks = [int(word) for word in words[1:9] if word.isdecimal()]
        if words[:1] != ["cpu"] or len(ticks) < 5:  # noqa: PLR2004 - up to iowait, in all kernels
            return None
        return (sum(ticks) - ticks[3] - ticks[4]) / TICKS, sum(ticks) / TICKS

    def judge(self, chosen: Chosen, *, timeout: float) -> float | None:
        """Have the model read the canary's text with these settings."""
        subject = self._subject
        if subject.text is None or subject.model is None:
            return None
        properties = {**subject.base, **chosen.properties}
        said = self._host.processes.worker(
            "canary",
            {
                "folder": subject.folder,
                "device": subject.device,
                "text": subject.text,
                "properties": {k: v for k, v in properties.items() if k not in OF_PIPELINE},
                "piece": PIECE,
            },
            timeout=timeout,
        )
        return _number(said, "mean_log_probability")


def _number(said: Message, name: str) -> float:
    """Return a number of an answer, not below 0 but for a mean. Raises WorkerError."""
    value = said.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WorkerError(f"tune worker: {name}: {value!r} is no number", "Run it with --debug.")
    if value < 0 and name != "mean_log_probability":
        raise WorkerError(f"tune worker: {name}: {value!r} is below 0", "Run it with --debug.")
    return float(value)


@contextmanager
def generated(host: Host, device: str, base: Mapping[str, JsonValue]) -> Iterator[Subject]:
    """Write a graph of LLM shape into a temporary folder, as what is measured; then remove it.

    Raises LocalOpusError where it can't be made.
    """
    with host.temporary_folder("tune") as folder:
        with host.processes.dialogue("tune") as dialogue:
            dialogue.ask({"op": "graph", "folder": folder}, timeout=_GRAPH_SECONDS)
        yield Subject(device, folder, base)
