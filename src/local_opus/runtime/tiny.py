"""Worker: a small matrix product with a known answer, on exactly one device.

Request: ``{"device": "GPU.1"}``. Result: the fields of TinyInference. Compiling runs the device's
driver, so this process may crash or hang; its parent expects that. AUTO, HETERO and MULTI are
refused: they fall back to the CPU without a word, and this is asked to find out just that.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from local_opus.runtime import protocol
from local_opus.runtime.worker import Emit, answer_one, plain

if TYPE_CHECKING:
    import numpy as np
    import openvino

    Floats = np.ndarray[Any, np.dtype[np.float32]]

_ROWS, _INNER, _COLUMNS = 16, 64, 32
_ONE_DEVICE = re.compile(r"(CPU|GPU|NPU)(\.\w+)?")
#: Two units in the last place of bfloat16, the coarsest that a device computes in unasked. The
#: inputs are quarters of small whole numbers, exact in bfloat16 and float16, and so are all sums
#: in float16 and float32: what is left is the rounding of the result.
_TOLERANCE = 2**-7


class WrongDeviceError(Exception):
    """The request names no single device."""


def tiny(request: protocol.Message, _emit: Emit) -> protocol.Message:
    """Answer one request. Raises WrongDeviceError for anything but one CPU, GPU or NPU."""
    device = str(request.get("device"))
    if _ONE_DEVICE.fullmatch(device) is None:
        raise WrongDeviceError(f"{device!r} is not one device: CPU, GPU, GPU.1, NPU")
    started = time.monotonic()
    ran_on, right, problem = None, False, None
    try:
        ran_on, answer = _run(device)
        right, problem = _judge(answer)
    except Exception as error:  # noqa: BLE001 - plugins raise what they like; the text is kept
        problem = plain(error)
    return {
        "device": device,
        "ran_on": ran_on,
        "right": right,
        "problem": problem,
        "seconds": round(time.monotonic() - started, 3),
    }


def matrices() -> tuple[Floats, Floats, Floats]:
    """Return the input [16, 64], the weights [64, 32] and the bias [32]."""
    import numpy as np

    row, inner, column = np.arange(_ROWS), np.arange(_INNER), np.arange(_COLUMNS)
    given = (3 * row[:, None] + 5 * inner + row[:, None] * inner) % 9 - 4
    weights = (7 * inner[:, None] + 2 * column + inner[:, None] * column) % 9 - 4
    bias = column % 5 - 2
    quarters = [(one / 4).astype(np.float32) for one in (given, weights, bias)]
    return quarters[0], quarters[1], quarters[2]


def expected() -> Floats:
    """Return relu(input @ weights + bias) as NumPy computes it."""
    import numpy as np

    given, weights, bias = matrices()
    product: Floats = np.maximum(given @ weights + bias, 0)
    return product


def graph() -> openvino.Model:
    """Return the product as a graph of static shapes, which the NPU wants."""
    import openvino
    from openvino import opset13 as operations

    given, weights, bias = matrices()
    entry = operations.parameter(list(given.shape), openvino.Type.f32, name="given")
    product = operations.matmul(
        entry, operations.constant(weights), transpose_a=False, transpose_b=False
    )
    result = operations.relu(operations.add(product, operations.constant(bias)))
    return openvino.Model([result], [entry], "tiny")


def _run(device: str) -> tuple[str, Floats]:
    import numpy as np
    import openvino

    compiled = openvino.Core().compile_model(graph(), device)
    answer = compiled.create_infer_request().infer([matrices()[0]])
    ran_on = ", ".join(map(str, compiled.get_property("EXECUTION_DEVICES")))
    return ran_on, np.asarray(answer[compiled.output(0)], dtype=np.float32)


def _judge(answer: Floats) -> tuple[bool, str | None]:
    """Say whether the product is right, and how far it is off where it is not."""
    import numpy as np

    wanted = expected()
    if answer.shape != wanted.shape:
        return False, f"the result has the shape {answer.shape}, not {wanted.shape}"
    off = np.abs(answer - wanted)
    # A number that is none compares as false with everything, so it is never within.
    within = off <= _TOLERANCE * np.maximum(np.abs(wanted), 1)
    if bool(within.all()):
        return True, None
    count = int(within.size - within.sum())
    return False, f"the result is wrong: {count} of {within.size} numbers, by {off.max():.3g}"


if __name__ == "__main__":
    raise SystemExit(answer_one(tiny))
