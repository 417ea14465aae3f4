"""The walk below a root: nothing leads out of it, whatever links lie there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from local_opus.host.files import Files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/name").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    return root


@pytest.mark.parametrize(
    ("link", "target", "path", "expected"),
    [
        ("etc/absolute", "/etc/name", "/etc/absolute", "inside"),
        ("etc/up", "../../../etc/name", "/etc/up", "inside"),
        ("folder", "/etc", "/folder/name", "inside"),
        ("etc/relative", "name", "/etc/relative", "inside"),
    ],
)
def test_links_are_followed_inside_of_the_root(
    tree: Path, link: str, target: str, path: str, expected: str
) -> None:
    (tree / link).symlink_to(target)
    assert Files(str(tree)).read_text(path) == expected


@pytest.mark.parametrize("target", ["/secret", "../secret", "../../secret", "../../../../secret"])
def test_no_link_leads_out(tree: Path, target: str) -> None:
    (tree / "etc/out").symlink_to(target)
    with pytest.raises(FileNotFoundError):
        Files(str(tree)).read_text("/etc/out")


def test_dots_do_not_lead_out(tree: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Files(str(tree)).read_text("/../secret")


def test_a_loop_of_links_ends(tree: Path) -> None:
    (tree / "a").symlink_to("/b")
    (tree / "b").symlink_to("/a")
    with pytest.raises(OSError, match="Too many levels"):
        Files(str(tree)).read_text("/a")


def test_writing_replaces_a_link_instead_of_following_it(tree: Path, tmp_path: Path) -> None:
    (tree / "etc/out").symlink_to(tmp_path / "secret")
    Files(str(tree)).write_atomic("/etc/out", b"new")
    assert (tmp_path / "secret").read_text() == "outside"
    assert (tree / "etc/out").read_text() == "new"


def test_writing_sets_mode_and_leaves_nothing_beside(tree: Path) -> None:
    Files(str(tree)).write_atomic("/etc/file", b"x", mode=0o640)
    assert (tree / "etc/file").stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tree / "etc")) == ["file", "name"]


def test_a_stale_new_file_of_a_killed_run_is_replaced(tree: Path) -> None:
    (tree / "etc/.file.local-opus-new").write_text("half")
    Files(str(tree)).write_atomic("/etc/file", b"whole")
    assert sorted(os.listdir(tree / "etc")) == ["file", "name"]


def test_a_fifo_is_not_opened_for_reading(tree: Path) -> None:
    os.mkfifo(tree / "etc/fifo")
    with pytest.raises(OSError, match="not a regular file"):
        Files(str(tree)).open_read("/etc/fifo")


def test_removing_a_tree_does_not_follow_links(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("x")
    (tree / "folder").mkdir()
    (tree / "folder/link").symlink_to(outside)
    (tree / "folder/sub").mkdir()
    (tree / "folder/sub/file").write_text("x")
    Files(str(tree)).remove_tree("/folder")
    assert not (tree / "folder").exists()
    assert (outside / "keep").exists()


def test_walk_yields_links_and_does_not_enter_them(tree: Path) -> None:
    (tree / "etc/loop").symlink_to("/etc")
    found = [(path, stat.kind) for path, stat in Files(str(tree)).walk("/etc")]
    assert found == [("loop", "link"), ("name", "file")]


def test_a_walk_of_some_depth_yields_the_folders_where_it_ends(tree: Path) -> None:
    (tree / "a/b/c").mkdir(parents=True)
    (tree / "a/b/c/file").touch()
    (tree / "a/file").touch()
    found = [(path, stat.kind) for path, stat in Files(str(tree)).walk("/a", depth=2)]
    assert found == [("file", "file"), ("b/c", "folder")]


def test_make_folders_tells_what_it_made(tree: Path) -> None:
    assert list(Files(str(tree)).make_folders("/etc/a/b")) == ["/etc/a", "/etc/a/b"]


def test_space_of_a_missing_path_is_that_of_its_parent(tree: Path) -> None:
    assert Files(str(tree)).space("/etc/none/at/all").total > 0


def test_can_open_says_why_not(tree: Path) -> None:
    assert Files(str(tree)).can_open("/dev/accel/accel0") == "no such file or directory"


def test_a_relative_path_is_refused(tree: Path) -> None:
    with pytest.raises(OSError, match="not an absolute path"):
        Files(str(tree)).read_text("etc/name")
