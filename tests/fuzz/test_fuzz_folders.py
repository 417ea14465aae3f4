"""Folders of a stranger's files, on a real disk: a verdict for each file, whatever is in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mutations
import pytest
import targets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local_opus.errors import BadInputError
from local_opus.host import Host
from local_opus.report.verify import verdict_document, verdict_line, verdict_table
from local_opus.values import Verdict
from local_opus.weights import manifest as manifests
from local_opus.weights.verify import verify_folder

#: What the disk alone gives a folder here: nothing pins, so nothing may be real but by a manifest.
names = st.sampled_from([*targets.NAMES, manifests.NAME, targets.stamps.STAT_NAME, "sub/model.gguf", "a\nb", "\x1b[31m", "ä.bin", ".hidden"])  # fmt: skip
contents = st.one_of(
    st.binary(max_size=100),
    st.sampled_from([data for target in targets.TARGETS.values() for data in target.seeds]),
    st.builds(
        mutations.apply,
        st.sampled_from([data for target in targets.TARGETS.values() for data in target.seeds]),
        st.lists(st.tuples(st.sampled_from(mutations.KINDS), st.integers(0, 4095), st.sampled_from(mutations.EDGES), st.binary(max_size=8)), max_size=3),
    ),
)  # fmt: skip


@settings(max_examples=120, suppress_health_check=list(HealthCheck))
@given(files=st.dictionaries(names, contents, max_size=5), link=st.none() | st.sampled_from(["/etc/passwd", "model.gguf", "..", "nowhere"]))  # fmt: skip
def test_a_verdict_for_every_file(tmp_path_factory, files, link):
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    folder.mkdir(exist_ok=True)
    if link is not None and not (folder / "a link").exists():
        (folder / "a link").symlink_to(link)
    found = verify_folder(Host("/"), str(folder))
    assert found == verify_folder(Host("/"), str(folder))
    own = {manifests.NAME, targets.stamps.STAT_NAME}
    seen = {item.path for item in found}
    assert len(seen) >= len(files.keys() - own) + (link is not None)
    for item in found:
        assert item.path.isprintable()
        assert item.evidence.isprintable() or "\n" not in item.evidence
        assert item.verdict is not Verdict.REAL or manifests.NAME in files
    json.dumps(verdict_document(str(folder), found, quick=False)).encode()
    verdict_table(found)
    assert "\n" not in verdict_line("x", found)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=64), st.binary(max_size=64))
def test_forged_stamps_close_the_quick_way_only(tmp_path_factory, stamps, data):
    """Whatever lies beside a manifest, quick verification answers as a whole one does."""
    folder = Path(tmp_path_factory.getbasetemp() / "stamped")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "a.bin").write_bytes(data)
    (folder / manifests.NAME).write_bytes(targets.TARGETS["manifest"].seeds[0])
    (folder / targets.stamps.STAT_NAME).write_bytes(stamps)
    whole, quick = (
        [(item.path, item.verdict) for item in verify_folder(Host("/"), str(folder), quick=way)]
        for way in (False, True)
    )
    assert whole == quick


def test_a_folder_that_is_none():
    with pytest.raises(BadInputError, match="not found"):
        verify_folder(Host("/"), "/nowhere/at/all")
