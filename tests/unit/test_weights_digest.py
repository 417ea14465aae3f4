"""Digests: the written form can't be anything else, the content is hashed as it streams."""

from __future__ import annotations

import hashlib
import io
import random
import re

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from local_opus.values import Sha256
from local_opus.weights.digest import PIECE_CHUNK, Hasher, hash_piece, hash_stream

SHA256 = TypeAdapter(Sha256)
GOOD = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def test_a_digest_is_taken_as_written():
    assert SHA256.validate_python(GOOD) == GOOD


@pytest.mark.parametrize(
    "text",
    ["", GOOD[:-1], GOOD + "0", GOOD.upper(), GOOD + "\n", "../" + GOOD[3:], "0x" + GOOD[2:],
     "sha256:" + GOOD, "\u0660" * 64, GOOD[:-1] + "/"],
)  # fmt: skip
def test_anything_else_is_no_digest(text):
    with pytest.raises(ValidationError):
        SHA256.validate_python(text)


@given(st.text(max_size=80))
def test_only_64_hex_digits_pass(text):
    if re.fullmatch(r"[0-9a-f]{64}", text):
        assert SHA256.validate_python(text) == text
    else:
        with pytest.raises(ValidationError):
            SHA256.validate_python(text)


@given(st.binary(max_size=300), st.integers(1, 64), st.integers(1, 50))
def test_digests_do_not_depend_on_how_the_bytes_arrive(data, segment, step):
    hasher = Hasher(segment_size=segment)
    for start in range(0, len(data), step):
        hasher.update(data[start : start + step])
    digests = hasher.result()
    assert digests.size == len(data)
    assert digests.sha256 == hashlib.sha256(data).hexdigest()
    assert digests.blake3 == blake3(data).hexdigest()
    cuts = [data[start : start + segment] for start in range(0, len(data), segment)]
    assert digests.segments == tuple(blake3(cut).hexdigest() for cut in cuts)


@pytest.mark.parametrize(("limit", "size"), [(0, 1), (9, 10), (10, 10), (11, 10)])
def test_a_stream_is_not_read_past_its_limit(limit, size):
    stream = io.BytesIO(b"0123456789")
    assert hash_stream(stream, limit=limit).size == size
    assert stream.tell() == size


def test_progress_adds_up_to_the_size():
    seen: list[int] = []
    hash_stream(io.BytesIO(bytes(20_000_000)), limit=20_000_000, on_bytes=seen.append)
    assert sum(seen) == 20_000_000
    assert len(seen) > 1


DIGESTS = {
    "blake3": lambda data: blake3(data).hexdigest(),
    "sha256": lambda data: hashlib.sha256(data).hexdigest(),
    "git_sha1": lambda data: hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
}
LENGTHS = (0, 1, PIECE_CHUNK - 1, PIECE_CHUNK, 3 * PIECE_CHUNK + 7)


@pytest.mark.parametrize("how", DIGESTS)
@pytest.mark.parametrize("length", LENGTHS)
def test_a_piece_is_hashed_from_where_it_begins(how, length):
    data = random.Random(length).randbytes(length)
    seen: list[int] = []
    found = hash_piece(io.BytesIO(b"before" + data + b"after"), 6, length, how, seen.append)
    assert found == DIGESTS[how](data)
    assert sum(seen) == length


def test_a_piece_of_a_file_that_ends_is_another():
    data = bytes(1000)
    whole = hash_piece(io.BytesIO(data), 0, 1000, "blake3", lambda _count: None)
    assert hash_piece(io.BytesIO(data[:-1]), 0, 1000, "blake3", lambda _count: None) != whole


def test_a_blob_has_the_name_that_git_gives_it():
    found = hash_piece(io.BytesIO(b"{}\n"), 0, 3, "git_sha1", lambda _count: None)
    assert found == "0967ef424bce6791893e9a57bb952f80fd536e93"  # of git hash-object
