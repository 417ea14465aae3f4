"""What a hub says of a repository: its commit, its files with digests, its licence.

Apart from ``network`` because ``huggingface_hub`` takes half a second to import. Whatever it does,
every request goes to the hub itself (see ``hub_client``): metadata states digests, and whoever
states them decides what is real.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from local_opus.errors import BadInputError, LocalOpusError, did_you_mean
from local_opus.host.hub_client import Gone, Limits, Refused, asking
from local_opus.values import RelativePath
from local_opus.weights.structure import printable

#: Files of one repository; the largest known ones have some thousand.
MAX_FILES = 100_000
#: Bytes of a path and of a part of it: what Linux takes (PATH_MAX, NAME_MAX).
MAX_PATH, MAX_NAME = 1024, 255
_REPO = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_PATH: TypeAdapter[str] = TypeAdapter(RelativePath)
_CARD: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


@dataclass(frozen=True)
class HubFile:
    """One file at the commit. Either ``sha256`` is known (LFS), or the git blob's sha1."""

    path: str
    size: int
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True)
class HubRepo:
    """A repository at a commit.

    ``gated``: "auto" or "manual" where the hub asks for consent. ``license``: as the card states
    it, with ``license_link`` where it has one. ``card``: the head of the model's card. All of it
    is a stranger's text: escape what is printed.
    """

    repo: str
    commit: str
    gated: str | None
    license: str | None
    license_link: str | None
    files: tuple[HubFile, ...]
    card: Mapping[str, JsonValue]


def resolve(
    endpoint: str,
    repo: str,
    revision: str | None = None,
    token: str | None = None,
    *,
    timeout: float = 20.0,
    limit: float = 180.0,
    known: Iterable[str] = (),
) -> HubRepo:
    """Ask the hub at ``endpoint`` for ``repo`` at ``revision`` (a branch, tag or commit).

    ``timeout`` is the longest silence and ``limit`` the longest time of all, in seconds; ``known``
    are repositories to suggest where this one is not found. Raises BadInputError for a name that
    is none, MachineCannotError for a wrong clock, and LocalOpusError with its remedy where the hub
    can't be reached, has no such repository or revision, wants a consent, or names a file that no
    folder may hold.
    """
    if _REPO.match(repo) is None:
        raise BadInputError(
            f"{printable(repo)!r} is no repository of the hub", "Name it as ORGANISATION/NAME."
        )
    if revision is not None and (not revision or not revision.isprintable()):
        raise BadInputError(
            f"{printable(revision)!r} is no revision", "Name a branch, a tag or a commit."
        )
    limits = Limits(silence=timeout, total=limit)
    try:
        with asking(endpoint, token, limits) as ask:
            info = ask.info(repo, revision)
            commit = _commit(repo, revision, info.sha)
            files = _files(repo, ask.tree(repo, commit))
    except Gone as gone:
        raise _gone(endpoint, repo, revision, token, gone, known) from gone
    except Refused as refused:
        if refused.bad_token and not token:  # what a hub says to all whom it does not know
            raise _gone(endpoint, repo, revision, token, Gone(revision=False), known) from refused
        raise _gated(endpoint, repo, token, refused) from refused
    card = _card(info.card_data)
    return HubRepo(
        repo=repo,
        commit=commit,
        gated=info.gated if info.gated in {"auto", "manual"} else None,
        license=_license(card, info.tags or ()),
        license_link=_text(card.get("license_link")),
        files=files,
        card=card,
    )


def _commit(repo: str, revision: str | None, sha: object) -> str:
    if not isinstance(sha, str) or _COMMIT.match(sha) is None:
        raise _nonsense(repo, f"the commit {printable(str(sha))!r}")
    if revision is not None and _COMMIT.match(revision) and revision != sha:
        raise _nonsense(repo, f"commit {sha} when asked for {revision}")
    return sha


# -- files ----------------------------------------------------------------------------------------


def _files(repo: str, entries: Iterable[Any]) -> tuple[HubFile, ...]:
    """Return the files of the tree by path; refuse what no folder may hold."""
    files: dict[str, HubFile] = {}
    folded: dict[str, str] = {}
    for entry in entries:
        file = _file(repo, entry)
        if file.path in files:
            raise _bad_name(repo, file.path, "is there twice")
        if len(files) >= MAX_FILES:
            raise LocalOpusError(
                f"{repo}: has more than {MAX_FILES} files", "Use another repository."
            )
        files[file.path] = file
        _refuse_clash(repo, file.path, folded)
    _refuse_file_as_folder(repo, files)
    return tuple(files[path] for path in sorted(files))


def _file(repo: str, entry: Any) -> HubFile:  # noqa: ANN401 - a stranger's answer
    path, size, lfs = entry.path, entry.size, entry.lfs
    if not isinstance(path, str):
        raise _nonsense(repo, "a file whose name is no text")
    problem = _path_problem(path)
    if problem is not None:
        raise _bad_name(repo, path, problem)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63:
        raise _nonsense(repo, f"a size of {printable(path)} that is none")
    if lfs is None:
        if not isinstance(entry.blob_id, str) or _COMMIT.match(entry.blob_id) is None:
            raise _nonsense(repo, f"a digest of {printable(path)} that is none")
        return HubFile(path, size, None, entry.blob_id)
    if not isinstance(lfs.sha256, str) or _SHA256.match(lfs.sha256) is None:
        raise _nonsense(repo, f"a sha256 of {printable(path)} that is none")
    if lfs.size != size:
        raise _nonsense(repo, f"two sizes of {printable(path)}")
    return HubFile(path, size, lfs.sha256, None)


def _path_problem(path: str) -> str | None:
    try:
        _PATH.validate_python(path)
    except ValidationError:
        return "leads out of its folder, or is no plain path"
    if not path.isprintable():
        return "has characters that can't be printed"
    if len(path.encode()) > MAX_PATH or any(
        len(part.encode()) > MAX_NAME for part in path.split("/")
    ):
        return "is longer than Linux takes"
    return None


def _refuse_clash(repo: str, path: str, folded: dict[str, str]) -> None:
    """Refuse names that are one where case is not told apart, as on a disk for Windows."""
    parts = path.split("/")
    for end in range(1, len(parts) + 1):
        name = "/".join(parts[:end])
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            raise _bad_name(repo, name, f"differs from {printable(other)!r} in its case alone")


def _refuse_file_as_folder(repo: str, files: Mapping[str, HubFile]) -> None:
    for path in files:
        parts = path.split("/")
        for end in range(1, len(parts)):
            if "/".join(parts[:end]) in files:
                raise _bad_name(repo, path, "lies below a file")


def _bad_name(repo: str, path: str, problem: str) -> LocalOpusError:
    return LocalOpusError(
        f"{repo}: the file name {printable(path, 300)!r} {problem}",
        "Nothing was fetched. Use another repository, and report this one to the hub.",
    )


def _nonsense(repo: str, what: str) -> LocalOpusError:
    return LocalOpusError(
        f"{repo}: the hub answered with {what}",
        "Look at HF_ENDPOINT, which may name a mirror that is broken, then run this again.",
    )


# -- licence --------------------------------------------------------------------------------------


def _card(data: Any) -> dict[str, JsonValue]:  # noqa: ANN401 - as huggingface_hub gives it
    try:
        return _CARD.validate_python(data.to_dict() if data is not None else {})
    except (ValidationError, AttributeError):
        return {}


def _license(card: Mapping[str, JsonValue], tags: Iterable[Any]) -> str | None:
    """Return the licence's identifier; the name beside it where the hub knows none ("other")."""
    stated = card.get("license")
    if isinstance(stated, list):
        stated = " AND ".join(item for item in stated if isinstance(item, str))
    word = _text(stated) or next(
        (tag.removeprefix("license:") for tag in tags if str(tag).startswith("license:")), None
    )
    return (_text(card.get("license_name")) or word) if word == "other" else word


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) and value else None


# -- refusals -------------------------------------------------------------------------------------


def _gone(
    endpoint: str,
    repo: str,
    revision: str | None,
    token: str | None,
    gone: Gone,
    known: Iterable[str],
) -> LocalOpusError:
    if gone.revision:
        return LocalOpusError(
            f"{endpoint}/{repo}: has no revision {printable(revision or 'main')!r}",
            f"See its branches and commits on {endpoint}/{repo}/commits/main.",
        )
    rights = "a token (HF_TOKEN) that may read it" if not token else "another HF_TOKEN"
    return LocalOpusError(
        f"{endpoint}/{repo}: not found, or private.{did_you_mean(repo, {*known} - {repo})}",
        f"Check the name; a private repository needs {rights}.",
    )


def _gated(endpoint: str, repo: str, token: str | None, refused: Refused) -> LocalOpusError:
    page = f"{endpoint}/{repo}"
    if refused.bad_token:
        return LocalOpusError(
            f"{page}: the hub refuses the token of HF_TOKEN",
            f"Make a new one on {endpoint}/settings/tokens, and set HF_TOKEN to it.",
        )
    if token:
        return LocalOpusError(
            f"{page}: is gated, and the account of HF_TOKEN has not been let in",
            f"Accept the licence on {page} with that account, then run this again.",
        )
    return LocalOpusError(
        f"{page}: is gated, and no token is set",
        f"Accept the licence on {page}, and set HF_TOKEN to a token of your account.",
    )
