"""Servers to talk to: one with the real model, and one with an engine that has none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from installs import listed
from servers import RealServer, ThreadServer, fake_server, is_ready, wait_for

from models import smollm2


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """The OpenVINO IR of SmolLM2-135M-Instruct."""
    return smollm2()[1]


@pytest.fixture
def model(model_folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "ir"
    shutil.copytree(model_folder, copy)
    listed(copy)
    return copy


@pytest.fixture(scope="session")
def server(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """The real server, ready."""
    running = RealServer(tmp_path_factory.mktemp("server"), model_folder)
    try:
        wait_for(lambda: is_ready(running.url) or running.process.poll() is not None, 60)
        assert running.process.poll() is None, running.log.read_text()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def fake() -> Iterator[ThreadServer]:
    """A server whose engine has no model."""
    with fake_server(max_messages=4, max_body_bytes=4096) as running:
        yield running
