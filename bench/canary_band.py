"""Measures the canary of a converted model: under many settings, and with damaged weights.

    python bench/canary_band.py FOLDER_OF_THE_IR

The band of the catalog must hold every setting of the sound model, on machines with other
instructions too, and should hold no damage that spoils the answers. It need not see every flipped
byte: that is what the sha256 of the weights is for.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import cast

from local_opus.runtime import protocol

TEXT = (
    "The Sun is a star at the center of the Solar System. It is a massive, nearly perfect sphere "
    "of hot plasma. The Earth orbits the Sun once every year, and the Moon orbits the Earth about "
    "once every month. Water is made of hydrogen and oxygen. It freezes at zero degrees Celsius "
    "and boils at one hundred degrees Celsius. Paris is the capital of France, and London is the "
    "capital of England. One, two, three, four, five, six, seven, eight, nine, ten."
)

SETTINGS: tuple[dict[str, object], ...] = (
    {},
    {"INFERENCE_PRECISION_HINT": "f32"},
    {"INFERENCE_PRECISION_HINT": "bf16"},
    {"INFERENCE_PRECISION_HINT": "f16"},
    {"INFERENCE_PRECISION_HINT": "dynamic"},
    {"KV_CACHE_PRECISION": "u8"},
    {"KV_CACHE_PRECISION": "f16"},
    {"KV_CACHE_PRECISION": "f32"},
    {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0},
    {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 32},
    {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 128},
    {"EXECUTION_MODE_HINT": "ACCURACY"},
    {"INFERENCE_PRECISION_HINT": "bf16", "KV_CACHE_PRECISION": "u8"},
    {"PERFORMANCE_HINT": "THROUGHPUT", "KV_CACHE_PRECISION": "u8"},
)
#: Other instruction sets, as the oneDNN library inside OpenVINO can be held to them.
CPUS: tuple[dict[str, str], ...] = ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},)


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="an OpenVINO IR with its tokenizer")
    parser.add_argument("--device", default="CPU")
    parser.add_argument("--seeds", type=int, default=3, help="tries of each random damage")
    given = parser.parse_args()
    sound = []
    for properties in SETTINGS:
        sound.append(_measure(given.folder, given.device, properties, {}))
        print(f"{_shown(sound[-1])}  {properties or 'as the library chooses'}")
    for cpu in CPUS:
        sound.append(_measure(given.folder, given.device, {}, cpu))
        print(f"{_shown(sound[-1])}  {cpu}")
    values = [value for value in sound if isinstance(value, float)]
    print(f"sound: {min(values):.4f} to {max(values):.4f}")
    for name, damage in _damages().items():
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as copy:
                _damaged_copy(given.folder, copy, damage, random.Random(seed))
                print(f"{_shown(_measure(copy, given.device, {}, {}))}  {name}, seed {seed}")
    return 0


def _shown(value: float | str) -> str:
    return f"{value:9.4f}" if isinstance(value, float) else f"{'-':>9} ({value})"


def _measure(
    folder: str, device: str, properties: dict[str, object], environment: dict[str, str]
) -> float | str:
    """Return the canary's value, or why the library has none."""
    request: protocol.Message = {
        "folder": folder,
        "device": device,
        "text": TEXT,
        "properties": properties,
    }
    done = subprocess.run(
        [sys.executable, "-m", "local_opus.runtime.canary"],
        input=protocol.encode(request),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
        check=False,
    )
    answers = protocol.Decoder().feed(done.stdout)
    if not answers:
        return f"exit code {done.returncode}"
    result = answers[-1].get("result")
    if not isinstance(result, dict):
        error = cast("dict[str, str]", answers[-1]["error"])
        return error["text"].strip().splitlines()[-1]
    return float(result["mean_log_probability"])


Damage = Callable[[bytearray, random.Random], None]


def _flip(count: int) -> Damage:
    def damage(data: bytearray, choose: random.Random) -> None:
        for _ in range(count):
            data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)

    return damage


def _zero(part: float) -> Damage:
    def damage(data: bytearray, choose: random.Random) -> None:
        length = int(len(data) * part)
        start = choose.randrange(len(data) - length)
        data[start : start + length] = bytes(length)

    return damage


def _randomize(data: bytearray, choose: random.Random) -> None:
    data[:] = choose.randbytes(len(data))


def _damages() -> dict[str, Damage]:
    return {
        "300 flipped bits": _flip(300),
        "3,000 flipped bits": _flip(3000),
        "100,000 flipped bits": _flip(100_000),
        "1 % zeroed": _zero(0.01),
        "10 % zeroed": _zero(0.1),
        "second half zeroed": lambda data, _: data.__setitem__(
            slice(len(data) // 2, None), bytes(len(data) - len(data) // 2)
        ),
        "random bytes": _randomize,
    }


def _damaged_copy(folder: str, copy: str, damage: Damage, choose: random.Random) -> None:
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    path = os.path.join(copy, "openvino_model.bin")
    with open(path, "rb") as stream:
        data = bytearray(stream.read())
    damage(data, choose)
    with open(path, "wb") as stream:
        stream.write(data)


if __name__ == "__main__":
    raise SystemExit(main())
