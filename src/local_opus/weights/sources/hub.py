"""Weights of a repository of the Hugging Face hub, or of a mirror of it (``HF_ENDPOINT``).

A download that breaks off is continued where it ended, also by the next run: the bytes that are
there are hashed once more, the rest while they arrive.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from local_opus import clock
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import downloads
from local_opus.values import CatalogFile, HubSource, Model, Trust
from local_opus.weights.digest import CHUNK, SEGMENT_SIZE, Digests, Hasher
from local_opus.weights.door import Progress
from local_opus.weights.inspect import inspect_file
from local_opus.weights.manifest import HubOrigin
from local_opus.weights.sources.arrival import (
    Fetched,
    check_space,
    digests_in_place,
    disk_errors,
    mismatch,
    partial_name,
    refused,
    settle,
)
from local_opus.weights.store import drop_empty_partials, partial_folder
from local_opus.weights.structure import printable

if TYPE_CHECKING:
    from local_opus.host import Host

ENDPOINT = "https://huggingface.co"
#: Connections that may break in one run before it ends; each continues where the last one ended.
ATTEMPTS = 4
OK, PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 200, 206, 416
_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19})\Z")


def fetch(host: Host, model: Model, folder: str, progress: Progress | None) -> tuple[Fetched, ...]:
    """Bring the model's files into ``folder``.

    Raises MachineCannotError for a full disk or a wrong clock, BadInputError for a wrong
    ``HF_ENDPOINT`` and LocalOpusError, with its remedy, when the hub refuses or serves another
    file.
    """
    source = model.source
    if not isinstance(source, HubSource):
        raise LocalOpusError(f"{model.id}: is not on the hub", "Correct the catalog's entry.")
    base = f"{endpoint(host)}/{source.repo}/resolve/{source.revision or 'main'}"
    work = partial_folder(folder)
    fetched = []
    with disk_errors(folder):
        host.files.make_folders(folder)
        host.files.make_folders(work)
        check_space(host, work, _missing(host, model, folder, work), f"fetching {model.id}")
        for file in model.files:
            target = f"{folder}/{file.path}"
            digests = digests_in_place(host, target, file)
            new = digests is None
            if digests is None:
                partial = f"{work}/{partial_name(file)}"
                url = f"{base}/{quote(file.path)}"
                digests = _Download(host, url, partial, file, progress).run()
                settle(host, partial, target, file)
            origin = HubOrigin(repo=source.repo, revision=source.revision or "main", path=file.path)
            fetched.append(Fetched(file.path, digests, origin, Trust.PINNED, {}, new=new))
        host.files.remove_tree(work)
        drop_empty_partials(host, folder)
        return tuple(_with_structure(host, folder, item) for item in fetched)


def endpoint(host: Host) -> str:
    """Return the hub's address without a trailing slash; raise BadInputError where it is none."""
    text = host.environ.get("HF_ENDPOINT") or ENDPOINT
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadInputError(
            f"HF_ENDPOINT: {printable(text)} is no address", f"Unset it, or set it to {ENDPOINT}."
        )
    return text.rstrip("/")


def _missing(host: Host, model: Model, folder: str, work: str) -> int:
    """Return the bytes that have to come."""
    need = 0
    for file in model.files:
        target = host.files.stat(f"{folder}/{file.path}")
        if target is None or target.size != file.size:
            partial = host.files.stat(f"{work}/{partial_name(file)}")
            need += file.size - min(file.size, partial.size if partial is not None else 0)
    return need


def _with_structure(host: Host, folder: str, item: Fetched) -> Fetched:
    """Add the facts of a file's structure; a graph is checked with its constants beside it."""
    finding = inspect_file(host, folder, item.path, item.digests.size)
    if finding.refusal is not None:
        raise refused(item.path, finding.refusal)
    return replace(item, structure={**(finding.summary or {})})


class _Download:
    """One file on its way."""

    def __init__(
        self, host: Host, url: str, partial: str, file: CatalogFile, progress: Progress | None
    ) -> None:
        self._host = host
        self._url = url
        self._where = f"{urlsplit(url).hostname}{urlsplit(url).path}"
        self._partial = partial
        self._file = file
        self._progress = progress
        self._token = host.environ.get("HF_TOKEN")

    def run(self) -> Digests:
        """Return the digests of the whole, proven partial file."""
        problem = ""
        for _ in range(ATTEMPTS):
            try:
                return self._once()
            except downloads.DownloadError as error:
                problem = str(error)
                if out_of_time := clock.blamed(problem, urlsplit(self._url).netloc):
                    raise out_of_time from error
        raise LocalOpusError(
            f"{self._where}: {printable(problem)}",
            "Check the network and run this again: it continues where it ended.",
        )

    def _once(self) -> Digests:
        with self._host.files.open_in_place(self._partial) as stream:
            hasher = Hasher(segment_size=SEGMENT_SIZE)
            have = 0
            while data := stream.read(CHUNK):
                hasher.update(data)
                have += len(data)
            if have > self._file.size:
                have, hasher = 0, Hasher(segment_size=SEGMENT_SIZE)
            if have < self._file.size:
                with downloads.get(self._url, start=have, token=self._token) as answer:
                    if have and not self._continues(answer, have):
                        have, hasher = 0, Hasher(segment_size=SEGMENT_SIZE)
                    if answer.status == RANGE_NOT_SATISFIABLE:
                        stream.truncate(0)
                        raise downloads.DownloadError("the server can't continue this file")
                    self._refuse(answer, have)
                    stream.seek(have)
                    stream.truncate()
                    for chunk in answer.chunks:
                        have += len(chunk)
                        if have > self._file.size:
                            break
                        stream.write(chunk)
                        hasher.update(chunk)
                        if self._progress is not None:
                            self._progress(f"download {self._file.path}", have, self._file.size)
            digests = hasher.result()
        if have < self._file.size:
            raise downloads.DownloadError(f"the connection ended after {have} bytes")
        if have > self._file.size or digests.sha256 != self._file.sha256:
            self._host.files.remove(self._partial)
            raise mismatch(
                self._file, self._where, f"sha256 {self._file.sha256}", str(digests.sha256)
            )
        return digests

    def _continues(self, answer: downloads.Answer, have: int) -> bool:
        """Whether the answer goes on at byte ``have`` of a file of the pinned size."""
        match = _RANGE.match(answer.headers.get("content-range", ""))
        return (
            answer.status == PARTIAL_CONTENT
            and match is not None
            and (int(match[1]), int(match[2])) == (have, self._file.size)
        )

    def _refuse(self, answer: downloads.Answer, have: int) -> None:
        """Raise for an answer that does not bring this file."""
        if answer.status in {401, 403}:
            raise LocalOpusError(
                f"{self._where}: the hub wants a consent or a token (status {answer.status})",
                "Agree to the licence on the model's page and set HF_TOKEN, then run this again.",
            )
        if answer.status not in {OK, PARTIAL_CONTENT} or (
            answer.status == PARTIAL_CONTENT and not have
        ):
            raise LocalOpusError(
                f"{self._where}: status {answer.status}",
                "Try again later; if it stays so, choose another model of `models list`.",
            )
        length = answer.number("content-length")
        if length is not None and have + length != self._file.size:
            raise mismatch(self._file, self._where, f"{self._file.size} bytes", str(have + length))
