"""The program's own data files, in a checkout and in a package."""

from __future__ import annotations

import pytest

from local_opus import resources
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.units import size_text


def test_a_checkout_has_every_kind(checkout) -> None:
    assert {resources.folder(kind).relative_to(checkout).parts for kind in resources.KINDS} == {
        ("profiles",), ("templates",), ("systemd",), (),
    }  # fmt: skip


def test_names_are_those_of_the_kind() -> None:
    assert "military.toml" in resources.names("profiles")
    assert resources.names("locks") == [
        "requirements-openvino.lock", "requirements-server.lock", "requirements-signing.lock",
        "requirements.lock",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["../pyproject.toml", "/etc/passwd", "", ".", "military"])
def test_only_a_name_of_the_kind_is_read(name: str) -> None:
    with pytest.raises(BadInputError, match="there is no file"):
        resources.read("profiles", name)


def test_a_package_carries_its_files_in_data(tmp_path, monkeypatch) -> None:
    data = tmp_path / "local_opus" / "data" / "profiles"
    data.mkdir(parents=True)
    (data / "only.toml").write_text("x = 1\n")
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "local_opus")
    assert resources.names("profiles") == ["only.toml"]
    assert resources.read("profiles", "only.toml") == "x = 1\n"


def test_a_package_without_its_files_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "lib" / "local_opus")
    with pytest.raises(LocalOpusError, match="the program's own profiles are missing"):
        resources.folder("profiles")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (98_362_432, "93.8 MiB"),
        (100 * 2**20, "100 MiB"),
        (12 * 2**30, "12 GiB"),
        (int(8.1 * 2**30), "8.1 GiB"),
        (2**50, "1024 TiB"),
    ],
)
def test_sizes_as_people_read_them(size: int, text: str) -> None:
    assert size_text(size) == text
