"""Which address is asked for a part of a file: the one of the catalog, or where that led to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from local_opus.host.downloads import Answer, DownloadError
from local_opus.values import CatalogFile
from local_opus.weights.sources.arrival import OtherFileError
from local_opus.weights.sources.place import Place
from local_opus.weights.sources.replies import Address

FILE = CatalogFile(path="model.gguf", size=10, sha256="ab" * 32)
HUB, STORE = "https://hub/model.gguf", "https://store/signed?1"


class ToldWeb:
    """Answers with the statuses that it is told; the hub leads to the store."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.asked: list[tuple[str, str | None]] = []

    @contextmanager
    def get(self, url: str, *, start: int, end: int | None, token: str | None = None) -> Iterator[Answer]:  # fmt: skip
        self.asked.append((url, token))
        status = self.statuses.pop(0)
        if not status:
            raise DownloadError("broken")
        yield Answer(status, {}, iter(()), STORE, {})


def ask(web: ToldWeb, place: Place) -> int:
    with place.ask((0, 5)) as answer:
        return answer.status


def place_of(web: ToldWeb) -> Place:
    return Place(web, Address(HUB, token="secret"), FILE)


AT_HUB, AT_STORE = (HUB, "secret"), (STORE, None)
#: The statuses that come, one after the other; which addresses were asked for two parts.
WAYS = {
    "it is good": ([206, 206], [AT_HUB, AT_STORE]),
    "it has expired": ([206, 403, 206], [AT_HUB, AT_STORE, AT_HUB]),
    "it is gone": ([206, 404, 206], [AT_HUB, AT_STORE, AT_HUB]),
    "it is ill for a moment": ([206, 503], [AT_HUB, AT_STORE]),
    "it wants to be asked later": ([429, 206], [AT_HUB, AT_STORE]),
    "it refuses at once": ([403, 206], [AT_HUB, AT_HUB]),
}


@pytest.mark.parametrize("name", WAYS)
def test_the_store_is_asked_while_it_is_of_use(name):
    statuses, asked = WAYS[name]
    web = ToldWeb(*statuses)
    place = place_of(web)
    ask(web, place)
    ask(web, place)
    assert web.asked == asked


def test_what_is_forgotten_is_asked_for_anew():
    web = ToldWeb(206, 0, 206)
    place = place_of(web)
    ask(web, place)
    with pytest.raises(DownloadError):
        ask(web, place)
    place.forget()
    ask(web, place)
    assert web.asked == [AT_HUB, AT_STORE, AT_HUB]


@pytest.mark.parametrize(("etags", "fails"), [
    ([None, None], False), ([None, '"a"', None, '"a"'], False), (['"a"', '"b"'], True),
    (['"a"', None, '"b"'], True), (['W/"a"', 'W/"a"'], False),
])  # fmt: skip
def test_an_etag_that_changes(etags, fails):
    place = place_of(ToldWeb())
    answers = [
        Answer(206, {} if tag is None else {"etag": tag}, iter(()), STORE, {}) for tag in etags
    ]
    for answer in answers[:-1]:
        place.compare(answer)
    if not fails:
        place.compare(answers[-1])
        return
    with pytest.raises(OtherFileError, match="changed while it came"):
        place.compare(answers[-1])
