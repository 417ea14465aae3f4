"""Files as large as a check reads them take little time and memory: those of bombs.OVER excepted."""

from __future__ import annotations

import os
import subprocess
import sys

import bombs


def test_what_large_files_cost(checkout):
    script = checkout / "bench" / "fuzz_inspectors.py"
    done = subprocess.run(
        [sys.executable, str(script), "--bombs"],
        env={**os.environ, "ONLY_WITHIN": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == len(bombs.BOMBS.keys() - bombs.OVER.keys())


def test_what_is_over_is_a_bomb():
    assert bombs.OVER.keys() <= bombs.BOMBS.keys()
