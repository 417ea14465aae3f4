"""The real tokenizer: pieces of text make the whole, whatever tokens come."""

from __future__ import annotations

import os
import subprocess
import sys

from models import CHECKOUT

#: Runs in a process of its own: only workers load OpenVINO.
PROGRAM = """
import random, sys
from local_opus.runtime.text import Detokenizer
from local_opus.runtime.worker import turn_telemetry_off
turn_telemetry_off()
import openvino_genai
tokenizer = openvino_genai.Tokenizer(sys.argv[1])
choose = random.Random(5)
texts = ["Hello,  world\\n\\n\\tfoo", "日本語のテキスト", "👍🏽👩‍👩‍👧‍👦", "naïve café", "a\\u0301 e\\u0301"]
for text in texts:
    tokens = tokenizer.encode(text, add_special_tokens=False).input_ids.data[0].tolist()
    detokenizer = Detokenizer(tokenizer.decode)
    pieces = [detokenizer.add([token]) for token in tokens]
    assert "".join(pieces) + detokenizer.finish() == text, (text, pieces)
    assert not any("\\ufffd" in piece for piece in pieces), pieces
for _ in range(60):
    # The first tokens of this vocabulary are special ones, then single bytes.
    highest = choose.choice([300, 49152])
    tokens = [choose.randrange(highest) for _ in range(choose.randrange(120))]
    detokenizer = Detokenizer(tokenizer.decode)
    shown = "".join(detokenizer.add([token]) for token in tokens) + detokenizer.finish()
    assert shown == tokenizer.decode(tokens), tokens
print("all right")
"""


def test_the_pieces_make_the_whole(model_folder):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(model_folder)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "all right\n", done.stderr
