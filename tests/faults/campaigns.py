"""How tests ask the program in which campaigns run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import choosing
import worlds
from worlds import Variant

HERE = Path(__file__).resolve().parent


class Campaigns:
    """The program; ``folder`` is where its machines are made."""

    def __init__(self, folder: Path) -> None:
        path = os.pathsep.join((str(HERE.parent), str(HERE.parent.parent / "src")))
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": path}
        if choosing.EVERYTHING:
            environ["LOCAL_OPUS_FAULTS"] = "all"
        self._program = subprocess.Popen(
            [sys.executable, "-s", "-W", "error", str(HERE / "campaign_program.py"), str(folder)],
            env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def prepared(self, variant: Variant) -> dict[str, Any]:
        """Run every operation without faults; return the states and how many points were seen."""
        (last,) = self._ask(variant, None)
        return last["prepared"]

    def cases(self, variant: Variant, operation: str) -> Iterator[dict[str, Any]]:
        """Meet the chosen faults of an operation; none where the variant does not have it."""
        yield from (answer for answer in self._ask(variant, operation) if "row" in answer)

    def _ask(self, variant: Variant, operation: str | None) -> Iterator[dict[str, Any]]:
        asked, answers = self._program.stdin, self._program.stdout
        assert asked is not None
        assert answers is not None
        asked.write(f"{json.dumps([worlds.VARIANTS.index(variant), operation])}\n")
        asked.flush()
        for line in answers:
            answer = json.loads(line)
            assert "failed" not in answer, answer["failed"]
            yield answer
            if "prepared" in answer:
                return
        raise AssertionError(f"the program of the campaigns ended with {self._program.wait()}")

    def end(self) -> None:
        """End it, also in the middle of a campaign."""
        self._program.terminate()
        self._program.communicate()
