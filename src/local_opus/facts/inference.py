"""A tiny real inference on one device, in a worker: a driver may crash or hang at it."""

from __future__ import annotations

import time

from pydantic import ValidationError

from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.values import Device, TinyInference

#: Seconds. It takes 0.2 on a CPU; a GPU's first compilation and an NPU's take a few.
TIMEOUT = 30.0


def try_device(host: Host, device: str, timeout: float = TIMEOUT) -> TinyInference:
    """Run a small matrix product on OpenVINO's ``device`` ("CPU", "GPU.1", "NPU").

    Whatever goes wrong is the ``problem`` of the answer: a crash, a hang, garbage, a wrong product,
    or that it ran elsewhere.
    """
    started = time.monotonic()
    try:
        answer = host.processes.worker("tiny", {"device": device}, timeout=timeout)
    except LocalOpusError as error:
        seconds = round(time.monotonic() - started, 3)
        return _failed(device, error.message, seconds)
    try:
        found = TinyInference.model_validate(answer)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return _failed(device, f"tiny worker: {where}: {first['msg']}", 0.0)
    if found.device != device:
        return _failed(device, f"tiny worker: answered for {found.device}", found.seconds)
    if found.problem is not None:
        return found.model_copy(update={"right": False})
    if found.ran_on is None or not is_same(device, found.ran_on):
        problem = f"it ran on {found.ran_on or 'no device'}, not on {device}"
        return found.model_copy(update={"right": False, "problem": problem})
    return found if found.right else found.model_copy(update={"problem": "the result is wrong"})


def is_same(asked: str, ran_on: str) -> bool:
    """Say whether the device that ran is the one that was asked for.

    Plain "GPU" is "GPU.0". A machine has one NPU, named with its architecture by some releases.
    """
    kind, _, number = asked.partition(".")
    ran_kind, _, ran_number = ran_on.partition(".")
    if kind != ran_kind:
        return False
    if kind == Device.GPU:
        return (number or "0") == (ran_number or "0")
    return number == ran_number or not (number and ran_number)


def _failed(device: str, problem: str, seconds: float) -> TinyInference:
    return TinyInference(device=device, ran_on=None, right=False, problem=problem, seconds=seconds)
