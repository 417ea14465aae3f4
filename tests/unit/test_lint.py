"""The linter, the formatter and the type checker have nothing to say about this checkout."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHECKS = {
    "ruff check": ["ruff", "check", "--no-cache", "--output-format", "concise"],
    "ruff format": ["ruff", "format", "--no-cache", "--check"],
    "mypy": ["mypy"],
}


@pytest.mark.parametrize("name", CHECKS)
def test_checkout_is_clean(name, checkout, tmp_path):
    cache = ["--cache-dir", str(tmp_path / "cache")] if name == "mypy" else []
    done = subprocess.run(
        [sys.executable, "-I", "-m", *CHECKS[name], *cache],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{name}:\n{done.stdout}{done.stderr}"


def test_linter_reads_the_programs_without_suffix(checkout):
    done = subprocess.run(
        [sys.executable, "-I", "-m", "ruff", "check", "--show-files"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    seen = set(done.stdout.split("\n"))
    assert {str(checkout / "installer"), str(checkout / "tests" / "run")} <= seen


def test_linter_finds_what_is_wrong(checkout, tmp_path):
    (tmp_path / "wrong.py").write_text("import os\n")
    done = subprocess.run(
        [sys.executable, "-I", "-m", "ruff", "check", "--no-cache", "--config",
         str(checkout / "pyproject.toml"), str(tmp_path / "wrong.py")],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "F401" in done.stdout
