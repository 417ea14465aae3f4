"""From an address of the hub to the answer."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from hub import files, interface
from hub.answers import Answer, refusal
from hub.cdn import Cdn
from hub.repositories import Entry, Repository
from hub.requests import Request

#: Where the name of a repository ends in an address.
_AFTER_NAME = ("resolve", "revision", "tree", "paths-info", "refs")


class Routes:
    """Answers honestly for the repositories. ``url`` is set by who opens the hub's door."""

    def __init__(self, cdn: Cdn, *, page_size: int, plain_redirect: bool) -> None:
        self.url = ""
        self.repositories: dict[str, Repository] = {}
        self._cdn = cdn
        self._page_size = page_size
        self._plain_redirect = plain_redirect

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request at the hub's door."""
        parts = request.segments
        if request.place == "api":
            parts = parts[1:]
            if parts == ["whoami-v2"]:
                return interface.whoami(request, self._tokens())
            if parts[:2] == ["resolve-cache", "models"]:
                return self._resolve_cache(request, parts[2:])
            if parts[:1] != ["models"]:
                return _no_page()
            parts = parts[1:]
        end = next((n for n, part in enumerate(parts[:3]) if n and part in _AFTER_NAME), 2)
        repository, rest = self.repositories.get("/".join(parts[:end])), parts[end:]
        if repository is None or (repository.private and not repository.is_open_to(request.token)):
            return self._no_repository(request)
        if request.place == "api":
            return self._interface(request, repository, rest)
        if len(rest) < 3 or rest[0] != "resolve" or request.method not in {"GET", "HEAD"}:
            return _no_page()
        return self._resolve(request, repository, rest[1], "/".join(rest[2:]))

    def _no_repository(self, request: Request) -> Answer:
        # Who is not known is not told whether there is such a repository.
        if request.token is None or request.token not in self._tokens():
            return refusal(401, "RepoNotFound", "Invalid username or password.")
        return refusal(404, "RepoNotFound", "Repository not found")

    def _tokens(self) -> set[str]:
        return {token for one in self.repositories.values() for token in one.tokens}

    def _interface(self, request: Request, repository: Repository, rest: list[str]) -> Answer:
        what = rest[0] if rest else "revision"
        if what == "refs":
            return interface.refs(repository)
        revision = rest[1] if len(rest) > 1 else "main"
        commit = repository.resolve(revision)
        if commit is None:
            return refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        entries = repository.commits[commit]
        if what == "revision":
            return interface.model_info(request, repository, commit)
        if what == "tree":
            below = "/".join(rest[2:])
            return interface.tree(request, entries, commit, below, self.url, self._page_size)
        if what == "paths-info" and request.method == "POST":
            return interface.paths_info(request, entries, commit)
        return _no_page()

    def _resolve(
        self, request: Request, repository: Repository, revision: str, path: str
    ) -> Answer:
        request.file = path
        if not repository.is_open_to(request.token):
            return files.not_allowed(repository, request.token)
        commit = repository.resolve(revision)
        if commit is None:
            return refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        entry = repository.commits[commit].get(path)
        if entry is None:
            return refusal(404, "EntryNotFound", "Entry not found", X_Repo_Commit=commit)
        if entry.lfs:
            address = self._cdn.address(repository.name, entry)
            return files.redirect(302, address, files.linked(entry))
        if self._plain_redirect:
            way = f"/api/resolve-cache/models/{repository.name}/{commit}/{quote(path)}"
            query = urlencode({request.path: "", "etag": f'"{entry.etag}"'})
            return files.redirect(307, f"{way}?{query}", files.linked(entry))
        return _plain(request, entry)

    def _resolve_cache(self, request: Request, parts: list[str]) -> Answer:
        """Answer at the address that small files are redirected to."""
        request.place = "resolve"
        for name, repository in self.repositories.items():
            own = name.split("/")
            commit, path = parts[len(own) : len(own) + 1], "/".join(parts[len(own) + 1 :])
            if parts[: len(own)] == own and commit and commit[0] in repository.commits:
                entry = repository.commits[commit[0]].get(path)
                if entry is not None:
                    request.file = path
                    if repository.is_open_to(request.token):
                        return _plain(request, entry)
                    return files.not_allowed(repository, request.token)
        return refusal(404, "EntryNotFound", "Entry not found")


def _plain(request: Request, entry: Entry) -> Answer:
    headers = {**files.names(entry), "Content-Disposition": files.disposition(entry)}
    return files.content(request, entry, entry.etag, **headers)


def _no_page() -> Answer:
    return refusal(404, None, "Sorry, we can't find the page you are looking for.")
