"""``detect --record``: this machine as a folder that the tests can stand on.

What is written is what the readers of facts read, no more: they read through files that note it.
What identifies a machine or its owner is taken out before they see it, so that the folder gives
exactly the facts that were told. ``scrubbing`` lists what that is; docs/recording.md tells it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from local_opus import __version__
from local_opus.facts import gather
from local_opus.host import Host
from local_opus.recording import folder
from local_opus.recording.noting import NotingFiles, NotingKernel, NotingProcesses
from local_opus.recording.scrubbing import Scrubber, scrub_openvino
from local_opus.values import Device, HostFacts, OpenVinoFacts

__all__ = ["record"]

#: Not the folder of this user's install: that would name the user.
_DISK = "/"


def record(host: Host, path: str) -> HostFacts:
    """Write the machine into the folder ``path``, which must be empty or not there yet.

    Return its facts, without what was taken out. Raises BadInputError where the folder can't be
    written to or holds something, and what ``gather`` raises; then nothing is left in it.
    """
    folder.check(host, path)
    facts, texts = take(host)
    folder.write(host, path, texts)
    return facts


def take(host: Host) -> tuple[HostFacts, dict[str, str]]:
    """Return the facts of the machine, and the text of each file of the folder."""
    scrubber = Scrubber(host.environ.get("HOME", ""))
    noting = Host(host.root, host.environ)
    files = NotingFiles(host.files, scrubber)
    kernel = NotingKernel(host.kernel)
    processes = NotingProcesses(host.processes, scrubber)
    noting.files, noting.kernel, noting.processes = files, kernel, processes
    facts = gather(noting, disk_path=_DISK)
    openvino = scrub_openvino(facts.openvino.model_dump(mode="json"), scrubber)
    facts = facts.model_copy(update={"openvino": OpenVinoFacts.model_validate(openvino)})
    cpu = {"cpu": processes.cpu} if processes.cpu is not None else {}
    texts = {
        "about.json": _text({
            "machine": _name(facts),
            "source": f"detect --record of local-opus {__version__}",
            "by_hand": "nothing",
        }),
        "files.json": _text(
            {"files": files.noted(), **({"kernel": kernel.noted} if kernel.noted else {})}
        ),
        "openvino.json": _text({**openvino, **cpu}),
    }  # fmt: skip
    return facts, texts


def _text(value: Mapping[str, object]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _name(facts: HostFacts) -> str:
    own = [item.name or f"Intel {item.kind.value} {item.pci_id}" for item in facts.accelerators]
    others = [f"a GPU {item.pci_id}" if item.kind is Device.GPU else f"an NPU {item.pci_id}"
              for item in facts.foreign]  # fmt: skip
    devices = ", ".join([*own, *others]) or "no GPU, no NPU"
    return f"{facts.cpu.model} with {devices}; {facts.os.name}, kernel {facts.os.kernel}"
