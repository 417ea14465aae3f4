"""The hub's interface below /api: what a model is, which files it has, where its branches stand."""

from __future__ import annotations

import json
from collections.abc import Collection
from urllib.parse import parse_qs, urlencode

from hub.answers import Answer, as_json, refusal
from hub.contents import git_oid, pointer
from hub.repositories import Entry, Repository
from hub.requests import Request

WHEN = "2025-01-02T03:04:05.000Z"
#: How many entries a page of a tree has at most, plain and with ``expand``.
PAGE, EXPANDED_PAGE = 1000, 50


def is_true(request: Request, name: str) -> bool:
    """Whether a name of the query is set."""
    return request.query.get(name, "").lower() in {"1", "true"}


def model_info(request: Request, repository: Repository, commit: str) -> Answer:
    """Return a model's facts at a commit, with its files' sizes and digests if ``blobs`` asks."""
    entries = repository.commits[commit].values()
    card = {} if repository.license is None else {"license": repository.license}
    return as_json(
        {
            "_id": git_oid(repository.name.encode())[:24],
            "id": repository.name,
            "modelId": repository.name,
            "author": repository.name.partition("/")[0],
            "sha": commit,
            "lastModified": WHEN,
            "createdAt": WHEN,
            "private": repository.private,
            "gated": repository.gated,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [f"license:{value}" for value in card.values()],
            "cardData": card,
            "usedStorage": sum(entry.content.size for entry in entries),
            "siblings": [sibling(entry, blobs=is_true(request, "blobs")) for entry in entries],
        }
    )


def sibling(entry: Entry, *, blobs: bool) -> dict[str, object]:
    """Return a file as a model's facts list it."""
    value: dict[str, object] = {"rfilename": entry.path}
    if blobs:
        value |= {"blobId": entry.oid, "size": entry.content.size}
        if entry.lfs:
            value["lfs"] = {"sha256": entry.content.sha256, **_sizes(entry)}
    return value


def node(entry: Entry, *, expand: bool) -> dict[str, object]:
    """Return a file as a tree lists it."""
    value: dict[str, object] = {
        "type": "file",
        "oid": entry.oid,
        "size": entry.content.size,
        "path": entry.path,
    }
    if entry.lfs:
        value["lfs"] = {"oid": entry.content.sha256, **_sizes(entry)}
    if expand:
        value["lastCommit"] = {"id": entry.commit, "title": "Add files", "date": WHEN}
        value["securityFileStatus"] = {
            "status": "safe",
            "jFrogScan": {"status": "unscanned"},
            "avScan": {"virusFound": False, "virusNames": None},
            "pickleImportScan": None,
        }
    return value


def folder(path: str, *, expand: bool, commit: str) -> dict[str, object]:
    """Return a folder as a tree lists it."""
    oid = git_oid(f"{commit} {path}".encode())
    value: dict[str, object] = {"type": "directory", "oid": oid, "size": 0, "path": path}
    if expand:
        value["lastCommit"] = {"id": commit, "title": "Add files", "date": WHEN}
    return value


def tree(
    request: Request, files: dict[str, Entry], commit: str, below: str, base: str, page_size: int
) -> Answer:
    """Return a page of the entries below a folder ("" is the top), with a Link to the next."""
    expand = is_true(request, "expand")
    prefix = f"{below}/" if below else ""
    folders: set[str] = set()
    nodes = []
    for path, entry in files.items():
        if not path.startswith(prefix):
            continue
        parts = path.removeprefix(prefix).split("/")
        deep = is_true(request, "recursive")
        folders |= {
            prefix + "/".join(parts[:end]) for end in range(1, len(parts) if deep else 2)
        } - {path}
        if deep or len(parts) == 1:
            nodes.append(node(entry, expand=expand))
    if below and not nodes and not folders:
        return refusal(
            404, "EntryNotFound", f"{below} does not exist on {commit}", X_Repo_Commit=commit
        )
    nodes += [folder(path, expand=expand, commit=commit) for path in folders]
    nodes.sort(key=lambda value: str(value["path"]))
    size = min(page_size, EXPANDED_PAGE if expand else PAGE)
    start = int(request.query.get("cursor", "0"))
    headers = {}
    if start + size < len(nodes):
        query = urlencode({**request.query, "cursor": str(start + size)})
        headers["Link"] = f'<{base}{request.path}?{query}>; rel="next"'
    return as_json(nodes[start : start + size], **headers)


def paths_info(request: Request, files: dict[str, Entry], commit: str) -> Answer:
    """Return the files and folders of those paths that a form or a JSON body names."""
    if request.headers.get("content-type", "").startswith("application/json"):
        asked = json.loads(request.body)
        paths, expand = asked.get("paths", []), bool(asked.get("expand"))
    else:
        form = parse_qs(request.body.decode())
        paths, expand = form.get("paths", []), form.get("expand", ["false"])[0].lower() == "true"
    found = []
    for path in paths:
        if path in files:
            found.append(node(files[path], expand=expand))
        elif any(name.startswith(f"{path}/") for name in files):
            found.append(folder(path, expand=expand, commit=commit))
    return as_json(found)


def refs(repository: Repository) -> Answer:
    """Return where the branches and tags stand."""

    def listed(kind: str, named: dict[str, str]) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}
            for name, commit in named.items()
        ]

    return as_json(
        {
            "branches": listed("heads", repository.branches),
            "tags": listed("tags", repository.tags),
            "converts": [],
        }
    )


def whoami(request: Request, known: Collection[str]) -> Answer:
    """Return whose token this is."""
    if request.token is None or request.token not in known:
        return refusal(401, None, "Invalid username or password.")
    return as_json({"type": "user", "name": "tester", "auth": {"accessToken": {"role": "read"}}})


def _sizes(entry: Entry) -> dict[str, int]:
    return {"size": entry.content.size, "pointerSize": len(pointer(entry.content))}
