"""An engine without a model: it speaks the protocol, and does what the last message says.

``say WORDS`` answers with the words; ``hang`` answers with nothing until it is cancelled; ``count``
answers with numbers, one every 20 ms, until it is cancelled; ``crash`` says one word and dies;
``refuse`` fails with a code; ``babble`` breaks the protocol; ``freeze`` never turns again, ``slow
SECONDS`` turns after that time. The model's name chooses how it loads; ``lazy`` does not turn while
it is idle.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from pathlib import Path

from local_opus.runtime import protocol


def send(message):
    protocol.write(sys.stdout.buffer, message)


def finish(request_id, reason, tokens):
    send(
        {
            "event": "finished",
            "id": request_id,
            "reason": reason,
            "prompt_tokens": 3,
            "completion_tokens": tokens,
        }
    )


def say(request_id, text):
    send({"event": "tokens", "deltas": [{"id": request_id, "text": text, "tokens": 1}]})


def load(message):
    match message["model"]:
        case "refused":
            send({"event": "load_failed", "text": "the weights are not there"})
            sys.exit(1)
        case "dies":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "slow":
            time.sleep(60)
        case "swaps":
            folder = Path(message["folder"])
            (folder / "other").replace(folder / "model.bin")
    send(
        {
            "event": "ready",
            "model": message["model"],
            "device": "CPU",
            "device_name": "none",
            "context_length": 99,
            "end_tokens": [0],
            "runtime": "fake",
            "load_seconds": 0.1,
            "warm_up": {
                "seconds": 0.1,
                "prefill_seconds": 0.0064,
                "prefill_tokens": 64,
                "decode_seconds": 0.001,
                "step_tokens": 256,
            },
            "memory_lock": None,
        }
    )


def turn(number, longest):
    send(
        {
            "event": "metrics",
            "requests": 0,
            "cache_usage": 0.0,
            "cache_bytes": 0,
            "tokens_generated": 0,
            "turns": number,
            "longest_turn": longest,
        }
    )


def generate(message, counting):
    request_id = message["id"]
    word, _, rest = message["messages"][-1]["content"].partition(" ")
    if word == "refuse":
        send({"event": "failed", "id": request_id, "code": rest, "text": "it is refused"})
        return
    send({"event": "started", "id": request_id, "prompt_tokens": 3})
    match word:
        case "say":
            for part in rest.split():
                say(request_id, part)
            finish(request_id, "stop", len(rest.split()))
        case "environment":
            say(request_id, " ".join(sorted(os.environ)))
            finish(request_id, "stop", 1)
        case "count":
            counting.append(request_id)
        case "crash":
            say(request_id, "last")
            os.kill(os.getpid(), signal.SIGKILL)
        case "freeze":
            time.sleep(3600)
        case "slow":
            time.sleep(float(rest))
            turn(0, float(rest))
            finish(request_id, "stop", 0)
        case "babble":
            sys.stdout.buffer.write(b"Loading model, please wait...")
            sys.stdout.buffer.flush()


def main():
    decoder, counting, number, turns, idle = protocol.Decoder(), [], 0, 0, None
    while True:
        if idle is not None:
            turns += 1
            turn(turns, 0.01)
        if select.select([0], [], [], 0.02 if counting else idle)[0]:
            data = os.read(0, 1 << 16)
            if not data:
                return
            for message in decoder.feed(data):
                match message["op"]:
                    case "load":
                        load(message)
                        idle = None if message["model"] == "lazy" else 0.1
                    case "generate":
                        generate(message, counting)
                    case "cancel":
                        if message["id"] in counting:
                            counting.remove(message["id"])
                        finish(message["id"], "cancelled", number)
                    case "shutdown":
                        return
        for request_id in counting:
            number += 1
            say(request_id, f" {number}")


main()
