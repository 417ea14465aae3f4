"""What the engine does before it is ready: the model answers, its steps are timed, memory is locked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local_opus.runtime import memory_lock, protocol
from models import CHECKOUT

GREEDY = {
    "temperature": 0.0,
    "top_p": 1.0,
    "top_k": None,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "seed": 1,
    "max_tokens": 8,
    "stop": [],
}


class Engine:
    """The engine's process, as the server starts it."""

    def __init__(self, folder: Path, **fields: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-m", "local_opus.runtime.engine"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
        )
        load = {
            "op": "load",
            "model": "m",
            "folder": str(folder),
            "device": "CPU",
            "context_length": 8192,
            "cache_size_gb": 1,
            "max_concurrent": 128,
            "prefix_caching": False,
            "properties": {},
            **fields,
        }
        self.send(load)
        self.before = []
        while (message := self.next())["event"] == "loading":
            self.before.append(message["stage"])
        self.told = message

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def send(self, message) -> None:
        self.process.stdin.write(protocol.encode(message))
        self.process.stdin.flush()

    def next(self) -> protocol.Message:
        message = protocol.read(self.process.stdout)
        assert message is not None, self.process.wait()
        return message

    def answer(self, prompt: str) -> tuple[str, list[protocol.Message]]:
        """Return the answer, and what else was told meanwhile."""
        self.send({"op": "generate", "id": 7, "prompt": prompt, "sampling": GREEDY})
        text, others = "", []
        while (message := self.next())["event"] != "finished":
            if message["event"] == "tokens":
                text += "".join(delta["text"] for delta in message["deltas"])
            else:
                others.append(message)
        return text, others


def test_it_is_ready_when_the_model_has_answered_and_turns_while_it_is_idle(model_folder):
    with Engine(model_folder) as engine:
        assert engine.before == ["read and compile", "warm up"]
        assert engine.told["event"] == "ready"
        timed = engine.told["warm_up"]
        assert timed["prefill_tokens"] == 64
        assert timed["step_tokens"] == 256  # the library's default
        assert 0 < timed["decode_seconds"] < timed["seconds"]
        assert 0 < timed["prefill_seconds"] < timed["seconds"]
        assert engine.told["memory_lock"] is None
        turns = [engine.next() for _ in range(3)]
        assert [one["event"] for one in turns] == ["metrics"] * 3
        counts = [one["turns"] for one in turns]
        assert counts == sorted(set(counts))
        assert turns[-1]["longest_turn"] < 1  # the load was none of them
        _, others = engine.answer("The Sun is a star. " * 200)
        assert {one["event"] for one in others} <= {"started", "metrics"}
        assert engine.next()["longest_turn"] > 0.01


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"device": "GPU.9"}, ""),
        ({"properties": {"NO_SUCH_PROPERTY": 1}}, "NO_SUCH_PROPERTY"),
        # The answer's prompt has more tokens than a step may have: no chat can be answered so.
        ({"dynamic_split_fuse": False, "max_num_batched_tokens": 16}, "16"),
    ],
)
def test_what_cannot_answer_is_not_ready(model_folder, fields, words):
    with Engine(model_folder, **fields) as engine:
        assert engine.told["event"] == "load_failed"
        assert words in engine.told["text"]
        assert "Exception from" not in engine.told["text"]
        assert engine.process.wait(30) == 1


@pytest.mark.skipif(not memory_lock._may_ignore_limits(), reason="no right to lock memory here")
def test_its_memory_is_locked_where_that_may_be(model_folder):
    with Engine(model_folder, lock_memory=True) as engine:
        locked = engine.told["memory_lock"]
        assert locked["error"] is None
        assert locked["bytes"] > 100_000_000  # the model has 94 MB, and the engine is more
        assert engine.answer("Paris is")[0]


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can give up a capability"
)
def test_a_limit_on_locked_memory_is_told_and_the_engine_serves():
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536));"
        "from local_opus.runtime import memory_lock; print(memory_lock.lock())"
    )
    done = subprocess.run(
        [
            "setpriv",
            "--bounding-set=-ipc_lock",
            "--inh-caps=-ipc_lock",
            sys.executable,
            "-c",
            program,
        ],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'bytes': 0" in done.stdout
    assert "RLIMIT_MEMLOCK is 65536 bytes" in done.stdout


@pytest.mark.parametrize("how", ["replaced", "written over"])
def test_weights_that_change_while_they_are_served(model_folder, tmp_path, how):
    # The library maps them, as docs/server.md says: another file under the name is another file.
    folder = tmp_path / "ir"
    shutil.copytree(model_folder, folder)
    question = "The capital of France is"
    with Engine(folder) as engine:
        sound, _ = engine.answer(question)
        weights = folder / "openvino_model.bin"
        zeros = bytes(weights.stat().st_size)
        if how == "replaced":
            (folder / "new").write_bytes(zeros)
            (folder / "new").replace(weights)
            assert engine.answer(question)[0] == sound
        else:
            with weights.open("r+b") as stream:
                stream.write(zeros)
            assert engine.answer(question)[0] != sound


def test_a_prompt_that_one_step_does_not_take_fails_alone(model_folder):
    whole = {"dynamic_split_fuse": False, "max_num_batched_tokens": 128}
    with Engine(model_folder, **whole) as engine:
        assert engine.told["context_length"] == 128
        message = {"op": "generate", "prompt": "The Sun is a star. " * 40, "sampling": GREEDY}
        engine.send({**message, "id": 7})
        engine.send({**message, "id": 8, "prompt": "Paris is"})
        told = {}
        while 8 not in told:
            one = engine.next()
            if one["event"] in {"failed", "finished"}:
                told[one["id"]] = one
        assert told[7]["code"] == "context_length_exceeded"  # a 400 over HTTP
        assert "max_num_batched_tokens" in told[7]["text"]
        assert told[8]["event"] == "finished"
