"""Profiles: what ships loads, what is wrong is told whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_opus import profiles
from local_opus.errors import BadInputError, ExitCode
from local_opus.profiles import Profile

HEAD = 'name = "mine"\ndescription = "Mine"\n'


def no_file(path: str) -> str:
    raise AssertionError(f"no file is read here, but {path} was")


def load(name: str, **files: str) -> Profile:
    """Load with files by their name without ``.toml``; "a__b" is a/b.toml."""
    texts = {key.replace("__", "/") + ".toml": text for key, text in files.items()}

    def read(path: str) -> str:
        if path not in texts:
            raise FileNotFoundError(2, "No such file or directory", path)
        return texts[path]

    return profiles.load(name, read)


def wrong(text: str, **files: str) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        load("x.toml", x=text, **files)
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    return caught.value


# --- what ships


def test_the_profiles_that_ship() -> None:
    assert profiles.names() == ["external-api", "hybrid", "local-opus", "military"]
    assert profiles.DEFAULT == "military"


@pytest.mark.parametrize("name", ["external-api", "hybrid", "local-opus", "military"])
def test_a_profile_has_the_name_of_its_file(name: str) -> None:
    profile = profiles.load(name, no_file)
    assert profile.name == name
    assert profile.description


@pytest.mark.parametrize(
    ("name", "extras", "server"),
    [
        ("external-api", ("base",), False),
        ("military", ("base", "openvino"), False),
        ("local-opus", ("base", "openvino", "server"), True),
        ("hybrid", ("base", "openvino", "server"), True),
    ],
)
def test_what_a_profile_installs(name: str, extras: tuple[str, ...], server: bool) -> None:
    profile = profiles.load(name, no_file)
    assert profile.environment.extras == extras
    assert profile.server.enabled is server
    assert profile.model.id is None
    assert profile.command.link


def test_hybrid_is_local_opus_but_for_its_words() -> None:
    hybrid, local = (profiles.load(name, no_file) for name in ("hybrid", "local-opus"))
    words = {"name": local.name, "description": local.description}
    assert hybrid.model_copy(update=words) == local


# --- extends


def test_a_file_extends_a_profile_key_by_key() -> None:
    profile = load("x.toml", x=HEAD + 'extends = "local-opus"\n[server]\nport = 8100\n')
    assert (profile.name, profile.server.port, profile.server.enabled) == ("mine", 8100, True)
    assert profile.server.max_queue == 64


def test_requests_and_context_of_the_server() -> None:
    text = HEAD + 'extends = "local-opus"\n[server]\nmax_concurrent = 8\ncontext = 4096\n'
    server = load("x.toml", x=text).server
    assert (server.max_concurrent, server.context, server.cache_size_gb) == (8, 4096, 1)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("max_concurrent = 0", "server.max_concurrent: "),
        ("context = 8", "server.context: "),
        ('context = "4096"', 'server.context: must be a valid integer, not "4096"'),
    ],
)
def test_no_such_requests_and_context(line: str, says: str) -> None:
    assert says in wrong(HEAD + f"[server]\n{line}\n").message


def test_a_list_is_replaced_as_a_whole() -> None:
    text = HEAD + 'extends = "military"\n[environment]\nextras = ["base"]\n'
    assert load("x.toml", x=text).environment.extras == ("base",)


def test_a_parents_path_starts_at_the_childs_folder() -> None:
    child = HEAD + 'extends = "../base.toml"\n'
    parent = HEAD + "[generation]\nmax_tokens = 7\n"
    assert load("a/b/x.toml", a__b__x=child, a__base=parent).generation.max_tokens == 7


def test_a_circle_is_told_as_one() -> None:
    error = wrong(HEAD + 'extends = "./y.toml"', y=HEAD + 'extends = "x.toml"')
    assert error.message == "y.toml: extends: a circle: x.toml -> y.toml -> x.toml"


def test_a_profile_that_extends_itself_is_a_circle() -> None:
    assert "a circle" in wrong(HEAD + 'extends = "x.toml"').message


def test_a_missing_parent_names_the_nearest() -> None:
    error = wrong(HEAD + 'extends = "militry"\n')
    assert error.message == (
        'x.toml: extends: profile "militry": there is none of that name. Did you mean "military"?'
    )


def test_a_missing_parent_file_is_named() -> None:
    error = wrong(HEAD + 'extends = "./none.toml"\n')
    assert error.message == 'x.toml: extends: profile "none.toml": No such file or directory'


def test_a_parents_errors_are_told_with_the_parents_path() -> None:
    error = wrong(
        HEAD + 'extends = "./y.toml"\n[server]\nport = 1\n', y=HEAD + "[server]\nhots = 1\n"
    )
    assert error.message == "x.toml: 2 errors"
    assert error.details == (
        "x.toml: server.port: must be greater than or equal to 1024, not 1",
        'y.toml: server.hots: unknown key. Did you mean "host"?',
    )


# --- what is wrong


def test_a_file_with_three_errors_shows_all_three() -> None:
    error = wrong(HEAD + '[server]\nprot = 8000\nhost = "0.0.0.0"\nmax_queue = "many"\n')
    assert error.message == "x.toml: 3 errors"
    assert error.details == (
        'x.toml: server.host: must be a loopback address such as 127.0.0.1, not "0.0.0.0"',
        'x.toml: server.max_queue: must be a valid integer, not "many"',
        'x.toml: server.prot: unknown key. Did you mean "port"?',
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('description = "d"', "x.toml: name: is missing"),
        ('name = "../x"\ndescription = "d"', 'x.toml: name: "../x" does not have the right form'),
        ('name = "x"\ndescription = "a\\nb"', "x.toml: description: "),
        (HEAD + "[sever]\n", 'x.toml: sever: unknown key. Did you mean "server"?'),
        (HEAD + "server = 3", "x.toml: server: must be a table, not 3"),
        (HEAD + "extends = 3", "x.toml: extends: must be a valid string"),
        (HEAD + "[server]\nenabled = 1", "x.toml: server.enabled: must be a valid boolean"),
        (HEAD + '[server]\nport = "80"', "x.toml: server.port: must be a valid integer"),
        (HEAD + "[server]\nport = true", "x.toml: server.port: must be a valid integer"),
        (HEAD + "[server]\nport = 65536", "x.toml: server.port: must be less than"),
        (HEAD + '[server]\nhost = "x\\ny"', "x.toml: server.host: must be a loopback"),
        (HEAD + "[generation]\ntop_p = 0", "x.toml: generation.top_p: must be greater than 0"),
        (HEAD + "[generation]\ntemperature = nan", "x.toml: generation.temperature: must be"),
        (HEAD + '[model]\ndevice = "gpu"', 'Did you mean "GPU"?'),
        (HEAD + '[model]\ndevice = "GPU.x"', "x.toml: model.device: must be one of auto, CPU"),
        (HEAD + "[model]\ndevice = 1", "x.toml: model.device: must be a valid string"),
        (HEAD + '[model]\nid = "../../x"', "x.toml: model.id: "),
        (HEAD + '[model]\nuse_case = "caht"', 'Did you mean "chat"?'),
        (HEAD + '[environment]\nextras = ["bas"]', "x.toml: environment.extras.0: must be one of"),
        (HEAD + "[environment]\nextras = []", 'environment.extras: must hold "base" at least'),
        (HEAD + '[openvino]\nperformance_hint = "latency"', 'Did you mean "LATENCY"?'),
        (HEAD + "[openvino]\nnum_streams = -2", "x.toml: openvino.num_streams: must be"),
        (HEAD + "[server]\nenabled = true", 'environment.extras: must hold "server"'),
        (HEAD + '[model]\nid = "a"', "x.toml: model.id: a model is installed only where"),
        ("x =", "x.toml: not TOML: "),
        (HEAD + HEAD, "x.toml: not TOML: "),
        ("x = " + "[" * 100_000, "x.toml: not TOML: "),
        ("x = " + "9" * 5000, "x.toml: not TOML: "),
    ],
)  # fmt: skip
def test_one_error_is_one_line_with_its_path(text: str, says: str) -> None:
    error = wrong(text)
    assert says in error.message
    assert error.details == ()
    assert "\n" not in error.message


# --- names


def test_an_unknown_profile_names_the_nearest() -> None:
    with pytest.raises(BadInputError) as caught:
        profiles.load("local-opas", no_file)
    assert 'Did you mean "local-opus"?' in caught.value.message
    assert "external-api" in caught.value.remedy


@pytest.mark.parametrize("name", ["../military", "./x", "/x/y", "military.toml"])
def test_a_path_is_read_as_the_users_file(name: str) -> None:
    with pytest.raises(BadInputError, match="No such file or directory"):
        load(name)


def test_a_file_that_is_no_text_is_bad_input() -> None:
    def read(path: str) -> str:
        return b"\xff".decode()

    with pytest.raises(BadInputError, match="it is not UTF-8 text"):
        profiles.load("x.toml", read)


@given(st.text(st.characters(exclude_characters="/"), max_size=20))
def test_no_other_name_loads(name: str) -> None:
    if name not in profiles.names() and not name.endswith(".toml"):
        with pytest.raises(BadInputError) as caught:
            profiles.load(name, no_file)
        assert "\n" not in caught.value.message


@given(st.text(max_size=200))
def test_no_text_makes_anything_but_bad_input(text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        profiles.parse(text, "x.toml", lambda parent, child: ("", "y.toml"))
    assert caught.value.message.startswith("x.toml: ")
