"""The service's user may not read what it needs: one line that names the file, and no restart."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from installs import config, listed

# Not at the service's start: that user can't read the checkout that the tests run from.
from local_opus import serve, serving  # noqa: F401
from nobody import as_nobody, folder_of_nobody

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
#: Exit codes after which the unit is not started again (RestartPreventExitStatus=).
FINAL = {2, 3, 4}


@pytest.fixture
def install(model_folder: Path) -> Iterator[Path]:
    """An install in a folder of that user: server.json is there, the model in ``ir``."""
    with folder_of_nobody() as folder:
        shutil.copytree(model_folder, folder / "ir")
        listed(folder / "ir")
        for path in [
            folder / "ir",
            *(folder / "ir").iterdir(),
            config(folder, folder / "ir", 8000),
        ]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        for path in folder.glob("*.json"):
            path.chmod(0o644)
        yield folder


def ended(folder: Path) -> tuple[int, str]:
    """Run the service's program as that user, and return how it ended and what it said."""
    told = folder / "told"

    def call() -> None:
        said = io.StringIO()
        with redirect_stderr(said):
            code = serve.main(["--config", str(folder / "server.json")])
        told.write_text(f"{code} {said.getvalue()}")

    as_nobody(call)
    code, _, said = told.read_text().partition(" ")
    return int(code), said


@pytest.mark.parametrize("name", ["server.json", "openvino.json", "ir/weights.json"])
def test_a_config_that_it_may_not_read(install, name):
    (install / name).chmod(0o600)
    code, said = ended(install)
    assert code in FINAL, said
    assert f"error: {install / name}: permission denied" in said
    assert said.count("error: ") == 1
    assert "fix: Install again" in said


@pytest.mark.parametrize("name", ["openvino_model.bin", "openvino_tokenizer.xml"])
def test_weights_that_it_may_not_read(install, name):
    (install / "ir" / name).chmod(0o600)
    code, said = ended(install)
    assert code in FINAL, said
    assert (
        f"error: {install / 'ir'}: {name}: unproven: can't be read: permission denied"
        in said.casefold()
    )


def test_a_folder_that_it_may_not_enter(install):
    os.chown(install / "ir", 0, 0)
    (install / "ir").chmod(0o700)
    code, said = ended(install)
    assert code in FINAL, said
    assert f"error: {install / 'ir'}" in said
    assert "permission denied" in said
