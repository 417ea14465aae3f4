"""A config that says nonsense, or what can't be served: the last good one keeps serving."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from installs import Service, config
from servers import free_port, wait_for

from local_opus import serving
from local_opus.errors import BadInputError, LocalOpusError, ProblemFoundError
from local_opus.host import Host
from local_opus.last_good import LastGood
from local_opus.server.listening import bind
from local_opus.server.settings import Settings, parse
from local_opus.server.standing import Proven


def some(**fields: object) -> Settings:
    document = {"schema_version": 1, "model": "m", "model_folder": "/m", "context_length": 99}
    return parse(json.dumps({**document, **fields}), "test")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(environ={"STATE_DIRECTORY": f"{tmp_path}/state:/other"})


# --- what is kept ------------------------------------------------------------------------------


def test_what_was_kept_is_read_again(host, tmp_path):
    kept = LastGood(host, "/etc/server.json")
    assert kept.read() is None
    settings = some(port=81, openvino={"NUM_STREAMS": 1}, allowed_hosts=["a.example"])
    kept.write(settings)
    assert kept.read() == settings
    assert stat.S_IMODE((tmp_path / "state" / "last-good.json").stat().st_mode) == 0o600
    assert LastGood(host, "/etc/trial/server.json").read() is None


def test_what_is_kept_already_is_not_written_again(host, tmp_path):
    kept = LastGood(host, "/c")
    kept.write(some())
    before = (tmp_path / "state" / "last-good.json").stat()
    kept.write(some())
    assert (tmp_path / "state" / "last-good.json").stat() == before
    kept.write(some(port=9))
    assert kept.read().port == 9


def test_without_a_state_folder_nothing_is_kept(tmp_path):
    kept = LastGood(Host(environ={}), "/c")
    kept.write(some())
    assert kept.read() is None


DAMAGES = {
    "cut": lambda text: text[:-40],
    "empty": lambda _: "",
    "a number": lambda text: text.replace('"context_length": 99', '"context_length": 98'),
    "an unknown field": lambda text: text.replace('"port"', '"prot"'),
    "another type": lambda text: text.replace('"port": 8000', '"port": "8000"'),
    "another version": lambda text: text.replace('"schema_version": 1', '"schema_version": 2', 1),
    "no text": None,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_not_trusted(host, tmp_path, damage):
    kept = LastGood(host, "/c")
    kept.write(some())
    path = tmp_path / "state" / "last-good.json"
    path.write_bytes(b"\xff\xfe") if damage is None else path.write_text(damage(path.read_text()))
    with pytest.raises(BadInputError, match=r"last-good\.json"):
        kept.read()


def test_settings_with_any_free_port_are_not_trusted(host):
    kept = LastGood(host, "/c")
    kept.write(some(port=0))
    with pytest.raises(BadInputError, match=r"last-good\.json: settings\.port: "):
        kept.read()


def test_a_link_in_its_place_is_not_followed(host, tmp_path):
    kept = LastGood(host, "/c")
    kept.write(some())
    (tmp_path / "state" / "last-good.json").rename(tmp_path / "other")
    (tmp_path / "state" / "last-good.json").symlink_to(tmp_path / "other")
    kept.write(some(port=9))
    assert not (tmp_path / "state" / "last-good.json").is_symlink()
    assert '"port": 8000' in (tmp_path / "other").read_text()


# --- which settings are served -----------------------------------------------------------------


class Runs:
    """Stands for servers: takes what is to be served, and does what the test says."""

    def __init__(self, *ends: int | Proven | LocalOpusError) -> None:
        self.ends = list(ends)
        self.served: list[tuple[int, str | None, bool]] = []

    def __call__(self, proven, door, standing, *, keep, reread):
        self.served.append((proven.settings.port, standing.config_problem, keep is not None))
        end = self.ends.pop(0)
        if isinstance(end, LocalOpusError):
            raise end
        standing.served = True
        if keep is not None:
            keep(proven.settings)
        if isinstance(end, Proven):
            standing.config_problem = None
        return end


@pytest.fixture
def serve(host, monkeypatch, tmp_path):
    """Serve with a config that reads as ``found``, settings or an error."""

    def run(runs: Runs, found: Settings | LocalOpusError) -> int:
        def prove(*_: object) -> Proven:
            if isinstance(found, LocalOpusError):
                raise found
            return Proven(found)

        monkeypatch.setattr(serving, "run", runs)
        monkeypatch.setattr(serving, "prove", prove)
        monkeypatch.setattr(serving, "prove_settings", lambda _h, kept, _p: Proven(kept))
        return serving.serve(host, "/c")

    return run


NONSENSE = BadInputError("/c: port: is no number", "Correct the file.")
REFUSED = LocalOpusError("m: the engine failed: no device GPU", "Check.")


def test_nonsense_without_a_last_good_one_is_the_error(serve):
    with pytest.raises(BadInputError, match="port: is no number"):
        serve(Runs(), NONSENSE)


def test_nonsense_serves_the_last_good_one_and_is_named(serve):
    serve(Runs(0), some(port=5))
    runs = Runs(0)
    assert serve(runs, NONSENSE) == 0
    ((port, problem, kept),) = runs.served
    assert (port, kept) == (5, False)
    assert problem == "/c: port: is no number; the last good settings are served"


def test_a_damaged_last_good_one_is_the_first_error(serve, tmp_path):
    serve(Runs(0), some())
    (tmp_path / "state" / "last-good.json").write_text("{}")
    with pytest.raises(BadInputError, match="port: is no number"):
        serve(Runs(), NONSENSE)


def test_what_cannot_be_served_gives_way_to_the_last_good_one(serve):
    serve(Runs(0), some(port=5))
    runs = Runs(REFUSED, 0)
    assert serve(runs, some(port=6, device="GPU")) == 0
    assert [port for port, _, _ in runs.served] == [6, 5]
    assert runs.served[1][1].startswith("m: the engine failed: no device GPU; the last good")


def test_the_last_good_one_that_fails_itself_is_an_error_that_names_both(serve):
    serve(Runs(0), some(port=5))
    taken = BadInputError("port 5 on 127.0.0.1 is taken by another program", "End it.")
    with pytest.raises(BadInputError, match="port 5") as caught:
        serve(Runs(REFUSED, taken), some(port=6))
    assert "no device GPU" in caught.value.details[0]
    with pytest.raises(BadInputError, match="port 5"):
        serve(Runs(taken), some(port=5))


def test_an_engine_that_fails_after_it_served_is_no_matter_of_the_config(serve, monkeypatch):
    serve(Runs(0), some(port=5))

    def run(_proven, _door, standing, **_: object) -> int:
        standing.served = True
        raise REFUSED

    with pytest.raises(LocalOpusError, match="no device GPU"):
        serve(run, some(port=6))  # type: ignore[arg-type]


def test_a_server_that_is_to_end_serves_nothing_instead(serve):
    serve(Runs(0), some(port=5))

    def run(_proven, _door, standing, **_: object) -> int:
        standing.signals.ended = True
        raise REFUSED

    with pytest.raises(LocalOpusError, match="no device GPU"):
        serve(run, some(port=6))  # type: ignore[arg-type]


def test_unproven_weights_are_never_served_instead(serve, monkeypatch):
    serve(Runs(0), some(port=5))
    swapped = ProblemFoundError("/m: model.bin: corrupt", "Install again.")
    with pytest.raises(ProblemFoundError, match="corrupt"):
        serve(Runs(), swapped)
    with pytest.raises(ProblemFoundError, match="corrupt"):
        serve(Runs(swapped), some(port=6))


def test_settings_that_were_read_again_are_served_next_and_kept(serve, host):
    runs = Runs(Proven(some(port=7)), 0)
    assert serve(runs, some(port=6)) == 0
    assert [port for port, _, _ in runs.served] == [6, 7]
    assert LastGood(host, "/c").read().port == 7


def test_settings_that_were_read_again_and_fail_give_way_to_those_before(serve):
    runs = Runs(Proven(some(port=7)), REFUSED, 0)
    assert serve(runs, some(port=6)) == 0
    assert [port for port, _, _ in runs.served] == [6, 7, 6]


KEYS_FILES = {
    "sound": (b'{"schema_version": 1, "required": true}', "required"),
    "an unknown field": (b'{"schema_version": 1,"required":true, "x": 1}', "required"),
    "cut": (b'{"schema_version": 1, "required" : true', "required"),
    "no text": (b'\xff{"required": true}', "required"),
    "wants none": (b'{"schema_version": 1, "required": false}', "none"),
    "missing": (None, "none"),
}


@pytest.mark.parametrize(("data", "keys"), KEYS_FILES.values(), ids=KEYS_FILES.keys())
def test_who_asked_for_keys_gets_no_last_good_server_without(
    host, monkeypatch, tmp_path, data, keys
):
    path = str(tmp_path / "server.json")
    (tmp_path / "server.json").write_text('{"port": "nonsense"}')
    if data is not None:
        (tmp_path / "keys.json").write_bytes(data)
    LastGood(host, path).write(some(port=5))
    found = []

    def run(proven, *_: object, **__: object) -> int:
        found.append(proven.settings.keys)
        return 0

    def prove(*_: object) -> Proven:
        raise NONSENSE

    monkeypatch.setattr(serving, "run", run)
    monkeypatch.setattr(serving, "prove", prove)
    monkeypatch.setattr(serving, "prove_settings", lambda _h, kept, _p: Proven(kept))
    assert serving.serve(host, path) == 0
    assert found == [keys]


def test_a_keys_file_that_can_not_be_read_is_no_word_that_none_are_wanted(
    host, monkeypatch, tmp_path
):
    (tmp_path / "keys.json").mkdir()
    LastGood(host, str(tmp_path / "server.json")).write(some(port=5))

    def prove(*_: object) -> Proven:
        raise NONSENSE

    monkeypatch.setattr(serving, "run", Runs(0))
    monkeypatch.setattr(serving, "prove", prove)
    monkeypatch.setattr(serving, "prove_settings", lambda _h, kept, _p: Proven(kept))
    with pytest.raises(BadInputError, match="port: is no number"):
        serving.serve(host, str(tmp_path / "server.json"))


# --- the real thing ----------------------------------------------------------------------------


class Node:
    """An install with the real model, and its service."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.path = config(folder, model, self.port)
        self.state = folder / "state"
        self.service: Service | None = None

    def start(self) -> Service:
        self.service = Service(self.path, self.port, STATE_DIRECTORY=str(self.state))
        return self.service

    def edit(self, name: str, **fields: object) -> None:
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    def hang_up(self) -> None:
        os.kill(self.service.process.pid, signal.SIGHUP)

    def problem(self) -> str | None:
        return self.service.health()["config_problem"]


@pytest.fixture
def node(tmp_path: Path, model: Path) -> Iterator[Node]:
    made = Node(tmp_path, model)
    yield made
    if made.service is not None:
        made.service.process.kill()
        made.service.process.communicate()


def answer(service: Service) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    response = httpx.post(f"{service.url}/v1/chat/completions", json=body, timeout=30)
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


def test_a_config_edited_to_nonsense_keeps_serving_and_is_named(node, model):
    service = node.start()
    service.ready()
    assert node.problem() is None
    wait_for((node.state / "last-good.json").exists, 5)
    engine = service.engine()

    # While it serves: read again, named, and nothing changes.
    node.edit("server", port="eighty")
    node.hang_up()
    wait_for(node.problem, 10)
    named = f"{node.path}: port: Input should be a valid integer; "
    assert node.problem() == f"{named}what was served is served on"
    assert service.engine() == engine
    assert "port: Input should be a valid integer" in service.stop()

    # At a start: the last good one.
    service = node.start()
    service.ready()
    assert node.problem() == f"{named}the last good settings are served"
    assert httpx.get(f"{service.url}/ready").json()["config_problem"] == node.problem()
    assert answer(service)

    # Corrected: the problem is gone, and nothing is loaded again.
    engine = service.engine()
    node.edit("server", port=node.port)
    node.hang_up()
    wait_for(lambda: node.problem() is None, 10)
    assert service.engine() == engine

    # Other settings: they are taken.
    node.edit("model", context_length=512)
    node.hang_up()
    wait_for(lambda: service.engine() not in {engine, None}, 30)
    service.ready()
    assert httpx.get(f"{service.url}/ready").json()["context_length"] == 512
    said = service.stop()
    assert service.process.returncode == 0
    assert "reading the config again" in said


def test_what_the_engine_refuses_gives_way_to_the_last_good_one(node):
    service = node.start()
    service.ready()
    wait_for((node.state / "last-good.json").exists, 5)
    service.stop()

    node.edit("model", device="GPU.7")
    service = node.start()
    service.ready()
    assert node.problem().startswith("m on GPU.7: the engine failed: ")
    assert answer(service)

    node.edit("openvino", properties={"NO_SUCH_PROPERTY": 1})
    node.edit("model", device="CPU")
    node.hang_up()
    wait_for(lambda: "NO_SUCH_PROPERTY" in (node.problem() or ""), 30)
    service.ready()
    assert answer(service)
    service.stop()


def test_a_port_that_is_taken_gives_way_to_the_last_good_one(node):
    service = node.start()
    service.ready()
    wait_for((node.state / "last-good.json").exists, 5)
    service.stop()
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        node.edit("server", port=port)
        service = node.start()
        service.ready()
        assert node.problem().startswith(f"port {port} on 127.0.0.1 is taken")
    service.stop()


def test_the_last_good_one_is_not_served_with_other_weights(node, model):
    service = node.start()
    service.ready()
    wait_for((node.state / "last-good.json").exists, 5)
    service.stop()
    node.path.write_text("nonsense")
    with (model / "openvino_model.xml").open("ab") as stream:
        stream.write(b" ")
    code, said = node.start().end()
    assert code == 3
    assert f"error: {model}: openvino_model.xml: corrupt" in said
    assert f"{node.path}: the file: Invalid JSON" in said


def test_without_a_last_good_one_nonsense_is_exit_code_2(node):
    node.path.write_text("nonsense")
    code, said = node.start().end()
    assert code == 2
    assert said.count("error: ") == 1
    assert f"error: {node.path}: the file: Invalid JSON" in said
