"""Text out of tokens: whole characters only, cut at the first stop string."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_opus.runtime.text import REPLACEMENT, Detokenizer, StopStrings

#: A token is some bytes; these cut characters in every way and hold bytes that are none.
TOKENS = [
    b"",
    b"a",
    b" b",
    b"  ",
    b"\n",
    *(bytes([byte]) for byte in "é日👍🏽".encode()),
    b"a\xe6",
    b"\x80",
    b"\xff",
]
SPECIAL = 0


def dropping(tokens):
    """Leaves out bytes that are no character, as OpenVINO's tokenizers do."""
    return b"".join(TOKENS[token] for token in tokens).decode(errors="ignore")


def replacing(tokens):
    """Shows them as U+FFFD, as others do."""
    return b"".join(TOKENS[token] for token in tokens).decode(errors="replace")


def stripping(tokens):
    """Drops a space at the start, as SentencePiece's decoders do."""
    text = dropping(tokens)
    return text.removeprefix(" ")


IDS = st.lists(st.integers(0, len(TOKENS) - 1), max_size=120)


@pytest.mark.parametrize("decode", [dropping, replacing, stripping])
@given(tokens=IDS, size=st.integers(1, 5))
def test_the_pieces_make_the_whole(decode, tokens, size):
    detokenizer = Detokenizer(decode)
    pieces = [detokenizer.add(tokens[at : at + size]) for at in range(0, len(tokens), size)]
    assert "".join(pieces) + detokenizer.finish() == decode(tokens)


@given(text=st.text(min_size=1, max_size=60))
def test_no_split_character_is_shown(text):
    tokens = list(text.replace(REPLACEMENT, "").encode(errors="ignore"))
    detokenizer = Detokenizer(lambda ids: bytes(ids).decode(errors="replace"))
    pieces = [detokenizer.add([token]) for token in tokens]
    assert not any(REPLACEMENT in piece for piece in pieces)
    assert "".join(pieces) == bytes(tokens).decode()


def test_only_a_window_is_decoded_again():
    longest = 0

    def decode(tokens):
        nonlocal longest
        longest = max(longest, len(tokens))
        return "x" * len(tokens)

    detokenizer = Detokenizer(decode)
    assert "".join(detokenizer.add([1]) for _ in range(10_000)) == "x" * 10_000
    assert longest < 32


def trimmed(text, stops):
    """The text up to the stop string that is complete first; of two, the one that began first."""
    ends = [(text.index(stop) + len(stop), text.index(stop)) for stop in stops if stop in text]
    return text[: min(ends)[1]] if ends else text


LETTERS = st.text("ab", max_size=30)
STOPS = st.lists(st.text("ab", min_size=1, max_size=5), max_size=4)


@given(text=LETTERS, stops=STOPS, size=st.integers(1, 7))
def test_text_ends_at_the_first_stop_however_it_is_cut(text, stops, size):
    scanner = StopStrings(stops)
    shown = "".join(scanner.add(text[at : at + size]) for at in range(0, len(text), size))
    assert shown + scanner.finish() == trimmed(text, stops)
    assert scanner.hit == any(stop in text for stop in stops)


CASES = {
    "spans pieces": (["x<|e", "nd|>y"], ["<|end|>"], "x"),
    "begins and does not end": (["x<|e", "nough"], ["<|end|>"], "x<|enough"),
    "is all there is": (["STOP"], ["STOP"], ""),
    "begins twice": (["aa", "ab"], ["aab"], "a"),
    "none": (["a", "b"], [], "ab"),
    "characters of many bytes": (["日", "本語"], ["本"], "日"),
}


@pytest.mark.parametrize(("pieces", "stops", "shown"), CASES.values(), ids=CASES.keys())
def test_stop(pieces, stops, shown):
    scanner = StopStrings(stops)
    assert "".join(map(scanner.add, pieces)) + scanner.finish() == shown


def test_what_may_begin_a_stop_is_held_back():
    scanner = StopStrings(["\n\n"])
    assert [scanner.add("a\n"), scanner.add("b")] == ["a", "\nb"]
