"""Answers files: what is read, what is refused with which words, and the way back to a file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_opus import answers, profiles
from local_opus.answers import Answers
from local_opus.catalog import load as load_catalog
from local_opus.errors import BadInputError, ExitCode

BOM = b"\xef\xbb\xbf"
SOUND = b'profile = "local-opus"\nport = 8100\nyes = true\n'
READ = Answers(profile="local-opus", port=8100, yes=True)


def wrong(data: bytes) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        answers.parse(data, "a.toml")
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert "\n" not in caught.value.message
    return caught.value


# --- what is read


@pytest.mark.parametrize(
    "data",
    [
        SOUND,
        BOM + SOUND,
        SOUND.replace(b"\n", b"\r\n"),
        BOM + SOUND.replace(b"\n", b"\r\n"),
        SOUND.rstrip(b"\n"),
        b"schema_version = 1\n" + SOUND,
        b"# caf\xc3\xa9\n\n" + SOUND,
    ],
    ids=["plain", "BOM", "CRLF", "BOM and CRLF", "no last line end", "version", "comment"],
)
def test_a_sound_file(data):
    assert answers.parse(data, "a.toml") == READ


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ('profile = "military"', "profile", "military"),
        ('profile = "/p/mine.toml"', "profile", "/p/mine.toml"),
        ('model = "smollm2-135m"', "model", "smollm2-135m"),
        ('device = "auto"', "device", "auto"),
        ('device = "NPU"', "device", "NPU"),
        ('device = "GPU.1"', "device", "GPU.1"),
        ('use_case = "coding"', "use_case", "coding"),
        ("port = 1024", "port", 1024),
        ("port = 65535", "port", 65535),
        ('scope = "user"', "scope", "user"),
        ('root = "/srv/image"', "root", "/srv/image"),
        ("yes = true", "yes", True),
        ("yes = false", "yes", False),
        ("accept_license = true", "accept_license", True),
        ("dry_run = true", "dry_run", True),
        ("quiet = true", "quiet", True),
        ("json = true", "as_json", True),
    ],
)
def test_every_key(line, field, value):
    found = answers.parse(line.encode(), "a.toml")
    assert found.given() == {field: value}


@pytest.mark.parametrize(
    ("name", "line", "field", "value"),
    [
        ("/etc/a.toml", 'root = "image"', "root", "/etc/image"),
        ("/etc/a.toml", 'root = "/image"', "root", "/image"),
        ("sub/a.toml", 'profile = "mine.toml"', "profile", "sub/mine.toml"),
        ("sub/a.toml", 'profile = "../mine.toml"', "profile", "sub/../mine.toml"),
        ("sub/a.toml", 'profile = "military"', "profile", "military"),
        ("a.toml", 'root = "image"', "root", "image"),
        ("-", 'root = "image"', "root", "image"),
    ],
)
def test_a_path_starts_at_the_files_folder(name, line, field, value):
    assert answers.load(name, lambda limit: line.encode()).given() == {field: value}


# --- what is refused


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'profil = "military"', 'a.toml: profil: unknown key. Did you mean "profile"?'),
        (b'use-case = "chat"', 'a.toml: use-case: unknown key. Did you mean "use_case"?'),
        (b"jsn = true", 'a.toml: jsn: unknown key. Did you mean "json"?'),
        (b"as_json = true", "a.toml: as_json: unknown key."),
        (b"[server]\nport = 8000", "a.toml: server: unknown key."),
        (b'answers = "b.toml"', "a.toml: answers: unknown key."),
        (b'port = "8000"', 'a.toml: port: must be a valid integer, not "8000"'),
        (b"port = 8000.0", "a.toml: port: must be a valid integer, not 8000.0"),
        (b"port = true", "a.toml: port: must be a valid integer, not true"),
        (b"port = 80", "a.toml: port: must be greater than or equal to 1024, not 80"),
        (b"port = 65536", "a.toml: port: must be less than or equal to 65535, not 65536"),
        (b"port = [8000]", "a.toml: port: must be a valid integer"),
        (b'yes = "true"', 'a.toml: yes: must be a valid boolean, not "true"'),
        (b"yes = 1", "a.toml: yes: must be a valid boolean, not 1"),
        (b"profile = 3", "a.toml: profile: must be a valid string, not 3"),
        (b'profile = "militray"', 'no profile "militray". Did you mean "military"?'),
        (b'profile = ""', 'a.toml: profile: "" does not have the right form'),
        (b'profile = "a\\nb.toml"', 'a.toml: profile: "a\\nb.toml" does not have the right form'),
        (b'model = "smollm2-135n"', 'no model "smollm2-135n". Did you mean "smollm2-135m"?'),
        (b'model = "../../x"', 'a.toml: model: there is no model "../../x"'),
        (b'device = "gpu"', 'Did you mean "GPU"?'),
        (b'device = "TPU"', "a.toml: device: must be one of auto, CPU, GPU, NPU, or one GPU"),
        (b'device = "GPU.01"', "a.toml: device: must be one of auto, CPU, GPU, NPU, or one GPU"),
        (b'device = "NPU.0"', 'not "NPU.0". Did you mean "NPU"?'),
        (b"device = 1", "a.toml: device: must be a valid string, not 1"),
        (b'use_case = "codding"', 'Did you mean "coding"?'),
        (b'scope = "sytem"', 'Did you mean "system"?'),
        (b'root = ""', "a.toml: root: "),
        (b'root = "a\\u0000b"', "a.toml: root: "),
        (b"schema_version = 2", "a.toml: schema_version: 2 is newer than 1"),
        (b"schema_version = 2\nnew = 1", "a.toml: schema_version: 2 is newer than 1"),
        (b"schema_version = 0\nyes = true", "a.toml: schema_version: must be greater"),
        (b'schema_version = "1"\nyes = true', "a.toml: schema_version: must be a valid integer"),
        (b"schema_version = true\nyes = true", "a.toml: schema_version: must be a valid integer"),
        (b"", "a.toml: holds no answer"),
        (BOM, "a.toml: holds no answer"),
        (b"# nothing\n", "a.toml: holds no answer"),
        (b"schema_version = 1\n", "a.toml: holds no answer"),
        (b"port = 8000\nport = 8001", "a.toml:2: not TOML: Cannot overwrite a value: "),
        (b"yes = true\nport = 8000\nport = 8001\nquiet = true\n", 'a.toml:3: not TOML: Cannot overwrite a value: "port = 8001"'),
        (b"yes = true\r\nport =\r\n", 'a.toml:2: not TOML: Invalid value: "port ="'),
        (b"yes = True\n", "a.toml:1: not TOML: Invalid value"),
        (b"profile = military\n", "a.toml:1: not TOML: Invalid value"),
        (b'yes = true\nroot = """x\n', "a.toml:2: not TOML: "),
        (b"yes = true\x00", "a.toml:1: not TOML: "),
        (b"\n\nyes = " + b"[" * 100_000, "a.toml:3: not TOML: "),
        (b"port = " + b"9" * 5000, "a.toml:1: not TOML: "),
        (b"yes = true\nroot = '/caf\xe9'\n", "a.toml:2: not UTF-8: byte 0xe9"),
        (BOM + b"yes = true\n\n\xff", "a.toml:3: not UTF-8: byte 0xff"),
        (SOUND.decode().encode("utf-16"), "a.toml: is UTF-16 text"),
        (b"\xfe\xff\x00a", "a.toml: is UTF-16 text"),
        (b"#" * answers.LONGEST + b"\n", "a.toml: is larger than 1048576 bytes"),
    ],
)  # fmt: skip
def test_one_error_is_one_line_with_its_key(data, says):
    error = wrong(data)
    assert says in error.message
    assert error.details == ()


def test_all_errors_are_told_at_once():
    error = wrong(b'prot = 8000\nport = "x"\nmodel = "none"\nyes = 1\n')
    assert error.message == "a.toml: 4 errors"
    assert [line.split(": ")[1] for line in error.details] == ["model", "port", "yes", "prot"]


def test_a_file_of_the_longest_size_is_read():
    data = SOUND + b"#" * (answers.LONGEST - len(SOUND))
    assert answers.parse(data, "a.toml") == READ


def test_a_file_that_can_not_be_read_is_named():
    def read(limit: int) -> bytes:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(BadInputError) as caught:
        answers.load("a.toml", read)
    assert caught.value.message == 'answers "a.toml": Permission denied'


def test_no_more_than_the_limit_is_asked_for():
    asked = []
    with pytest.raises(BadInputError, match="larger than"):
        answers.load("-", lambda limit: asked.append(limit) or b"#" * limit)
    assert asked == [answers.LONGEST + 1]


@given(st.binary(max_size=200))
def test_no_bytes_make_anything_but_bad_input(data):
    with pytest.raises(BadInputError) as caught:
        answers.parse(b"no key = " + data, "a.toml")
    assert caught.value.message.startswith("a.toml")
    assert "\n" not in caught.value.message


# --- the way back

LINES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=40)
FLAGS = st.none() | st.booleans()
ANY = st.builds(
    answers.of,
    st.fixed_dictionaries(
        {
            "profile": st.none() | st.sampled_from(profiles.names()) | LINES.map("/{}".format),
            "model": st.none() | st.sampled_from(load_catalog().ids()),
            "device": st.sampled_from([None, "auto", "CPU", "GPU", "GPU.1", "NPU"]),
            "use_case": st.sampled_from([None, "chat", "coding", "analysis"]),
            "port": st.none() | st.integers(1024, 65535),
            "scope": st.sampled_from([None, "system", "user"]),
            "root": st.none() | LINES,
            "yes": FLAGS,
            "dry_run": FLAGS,
            "quiet": FLAGS,
            "json": FLAGS,
        }
    ),
    st.just("made up"),
)


@given(ANY.filter(lambda found: found.given() != {}))
def test_what_is_written_is_read_as_the_same(given_answers):
    assert answers.parse(answers.dump(given_answers), "a.toml") == given_answers


def test_the_written_file():
    assert answers.dump(READ).decode().splitlines()[1:] == [
        "schema_version = 1",
        'profile = "local-opus"',
        "port = 8100",
        "yes = true",
    ]


@pytest.mark.parametrize("root", ["/a\nb", "/a\x7f", "/a\udcff", ""])
def test_what_no_file_can_hold_is_told(root):
    with pytest.raises(BadInputError, match=r"what was chosen: root: "):
        answers.of({"root": root}, "what was chosen")
