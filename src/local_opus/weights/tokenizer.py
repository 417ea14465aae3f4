"""The checks of the files beside the weights: tokenizers, configs, templates, vocabularies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from posixpath import basename
from threading import Lock
from typing import BinaryIO

from local_opus.values import Verdict
from local_opus.weights import sentencepiece, shards, tokenizer_json
from local_opus.weights.classify import suffix_of
from local_opus.weights.finding import Info
from local_opus.weights.structure import Refusal, RefusedError, corrupt, printable
from local_opus.weights.tokenizer_json import MAX_TEMPLATE, JsonInfo

#: Bytes of a JSON file that is parsed; tokenizer.json of a large vocabulary has 11 to 34 MB.
MAX_JSON = 48 * 1024 * 1024
#: Bytes of a vocabulary in lines; 250,000 tokens take 5 MB.
MAX_LINES = 48 * 1024 * 1024
#: A parsed JSON file of MAX_JSON can take 1 GB, so one is parsed after the other.
_PARSING = Lock()
_PIECES = re.compile(r"(?:tokenizer|spiece|sentencepiece[\w.]*)\.model(?:\.v\d+)?|.+\.spm")
_TEMPLATE = re.compile(r".*chat_template.*\.jinja2?|chat_template\.txt")
_WORDS = re.compile(r"vocab\.txt|merges\.txt|.+\.tiktoken")
_RANK = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d{1,9}")
_TEXT_CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def check(path: str, stream: BinaryIO, size: int) -> Info | Refusal | None:
    """Check the file ``path`` of ``size`` bytes by its name; None where no check knows the name.

    Raises OSError as reading does, and nothing else.
    """
    name = basename(path).lower()
    checks: tuple[tuple[bool, Callable[[BinaryIO, int, str], Info]], ...] = (
        (suffix_of(path) == ".json", check_json),
        (_PIECES.fullmatch(name) is not None, check_pieces),
        (_TEMPLATE.fullmatch(name) is not None, check_template),
        (_WORDS.fullmatch(name) is not None, check_words),
    )
    for applies, checks_it in checks:
        if applies:
            try:
                return checks_it(stream, size, name)
            except RefusedError as error:
                return error.refusal
    return None


def check_json(stream: BinaryIO, size: int, name: str) -> Info:
    """Check a JSON file by its name. Raises RefusedError, and OSError as reading does."""
    if size > MAX_JSON:
        raise _too_long("JSON", size, MAX_JSON)
    with _PARSING:
        try:
            value = json.loads(stream.read(MAX_JSON))
        except (ValueError, RecursionError) as error:
            raise corrupt(f"no JSON: {printable(str(error))}") from error
        if name.endswith(".index.json"):
            return shards.check_index(value)
        by_name = tokenizer_json.CHECKS.get(name)
        return JsonInfo("JSON") if by_name is None else by_name(value)


def check_pieces(stream: BinaryIO, size: int, _name: str) -> Info:
    """Check a tokenizer.model: SentencePiece, or lines of tiktoken. Raises as ``check_json``."""
    if size > MAX_LINES:
        raise _too_long("tokenizer", size, MAX_LINES)
    first = stream.readline(1024).strip()
    if _RANK.fullmatch(first):
        stream.seek(0)
        return _ranks(stream)
    stream.seek(0)
    answer = sentencepiece.check(stream, size)
    if isinstance(answer, Refusal):
        raise RefusedError(answer.verdict, answer.reason)
    return answer


def check_template(stream: BinaryIO, size: int, _name: str) -> Info:
    """Check a chat template. Raises as ``check_json`` does."""
    if size > MAX_TEMPLATE:
        raise _too_long("template", size, MAX_TEMPLATE)
    _text(stream.read(MAX_TEMPLATE), "the template")
    return JsonInfo("chat template")


def check_words(stream: BinaryIO, size: int, name: str) -> Info:
    """Check a vocabulary or its merges, one in a line. Raises as ``check_json`` does."""
    if size > MAX_LINES:
        raise _too_long("vocabulary", size, MAX_LINES)
    if name.endswith(".tiktoken"):
        return _ranks(stream)
    lines = _text(stream.read(MAX_LINES), "the vocabulary").split("\n")
    if name == "merges.txt":
        body = lines[1:] if lines[0].startswith("#version") else lines
        for number, line in enumerate(body):
            if line.strip() and len(line.rstrip("\r").split(" ")) != 2:  # noqa: PLR2004 - a pair
                raise corrupt(f"merge {number} is {printable(line, 40)!r}, not two tokens")
    return JsonInfo("vocabulary", sum(1 for line in lines if line))


def _ranks(stream: BinaryIO) -> JsonInfo:
    count = 0
    for line in stream.read(MAX_LINES).splitlines():
        if line and _RANK.fullmatch(line) is None:
            shown = printable(line[:40].decode("utf-8", errors="replace"))
            raise corrupt(f"line {count + 1} is {shown!r}, not a token in base64 and its rank")
        count += 1
    return JsonInfo("tiktoken", count)


def _text(data: bytes, what: str) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise corrupt(f"{what} is no UTF-8 at byte {error.start}") from error
    found = _TEXT_CONTROL.search(text)
    if found is not None:
        raise corrupt(f"{what} holds the control character {printable(found[0])}")
    return text


def _too_long(what: str, size: int, most: int) -> RefusedError:
    return RefusedError(Verdict.UNSAFE, f"{size} bytes of {what}; at most {most} are sane")
