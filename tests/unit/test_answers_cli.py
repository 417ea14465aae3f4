"""Answers on the command line: what outranks what, who is asked, what is saved."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local_opus import answers, cli, install, profiles
from local_opus.answers import Answers
from local_opus.catalog import load as load_catalog
from local_opus.cli import answering, choices, prompts, questions
from local_opus.cli.given import Given, Way
from local_opus.errors import BadInputError, InterruptedRunError
from local_opus.facts import gather
from local_opus.values import DiskFacts, HostFacts
from machines import MACHINES, machine_host

Call = Callable[..., tuple[Given, Way]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Run `install` as far as its words go; return what it was given and how it goes about it."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[Given, Way]:
        found: list[tuple[Given, Way]] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(choices, "run", lambda given, way: found.append((given, way)))
            assert cli.main(["install", *words]) == 0
        return found[0]

    return call


def said(*words: str) -> tuple[int, list[dict[str, object]]]:
    """Run with --json; return the exit code and the lines."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = cli.main([*words, "--json"])
    return code, [json.loads(line) for line in out.getvalue().splitlines()]


# --- precedence

#: Key, field, and for answers, environment and flag: how it is said and what comes of it.
ROWS = [
    ("profile", ('"military"', "military"), ("hybrid", "hybrid"), (("--profile", "local-opus"), "local-opus")),
    ("profile", ('"military"', "military"), ("external-api", "external-api"), (("--hybrid",), "hybrid")),
    ("model", ('"smollm2-135m"', "smollm2-135m"), ("b", "b"), (("--model", "c"), "c")),
    ("device", ('"NPU"', "NPU"), ("gpu", "GPU"), (("--device", "auto"), "auto")),
    ("device", ('"auto"', "auto"), ("NPU", "NPU"), (("--device", "cpu"), "CPU")),
    ("use_case", ('"chat"', "chat"), ("coding", "coding"), (("--use-case", "analysis"), "analysis")),
    ("port", ("8001", 8001), ("8002", 8002), (("--port", "8003"), 8003)),
    ("tune", ("true", True), ("0", False), (("--tune",), True)),
    ("tune", ("false", False), ("1", True), (("--no-tune",), False)),
    ("linger", ("true", True), ("0", False), (("--linger",), True)),
    ("linger", ("false", False), ("1", True), (("--no-linger",), False)),
    ("scope", ('"system"', "system"), ("user", "user"), (("--scope", "system"), "system")),
    ("root", ('"/a"', "/a"), ("/b", "/b"), (("--root", "/c"), "/c")),
    ("yes", ("true", True), ("0", False), (("--yes",), True)),
    ("yes", ("false", False), ("1", True), (("--yes",), True)),
    ("accept_license", ("true", True), ("0", False), (("--accept-license",), True)),
    ("dry_run", ("true", True), ("no", False), (("--dry-run",), True)),
    ("quiet", ("true", True), ("false", False), (("--quiet",), True)),
    ("json", ("true", True), ("off", False), (("--json",), True)),
]  # fmt: skip
NAMES = [f"{key}-{number}" for number, (key, *_) in enumerate(ROWS)]


def value(key: str, found: tuple[Given, Way]) -> object:
    field = "as_json" if key == "json" else key
    return getattr(found[0], field) if hasattr(found[0], field) else getattr(found[1], field)


@pytest.mark.parametrize(("key", "answer", "variable", "flag"), ROWS, ids=NAMES)
def test_flag_then_environment_then_answers(called, monkeypatch, key, answer, variable, flag):
    Path("a.toml").write_text(f"{key} = {answer[0]}\n")
    assert value(key, called("--answers", "a.toml")) == answer[1]
    monkeypatch.setenv(f"LOCAL_OPUS_{key.upper()}", variable[0])
    assert value(key, called("--answers", "a.toml")) == variable[1]
    assert value(key, called("--answers", "a.toml", *flag[0])) == flag[1]
    assert value(key, called(*flag[0], "--answers", "a.toml")) == flag[1]


@pytest.mark.parametrize(("key", "answer", "variable", "flag"), ROWS, ids=NAMES)
def test_an_empty_variable_is_none(called, monkeypatch, key, answer, variable, flag):
    Path("a.toml").write_text(f"{key} = {answer[0]}\n")
    monkeypatch.setenv(f"LOCAL_OPUS_{key.upper()}", "")
    assert value(key, called("--answers", "a.toml")) == answer[1]


def test_every_option_of_install_is_an_answer_and_has_a_row():
    command = cli.group.get_command(click.Context(cli.group), "install")
    assert command is not None
    profile_flags = {"local_opus", "external_api", "hybrid"}
    wanted = {param.name for param in command.params} - {"answers", "save_answers"} - profile_flags
    assert set(Answers.model_fields) - {"schema_version"} == wanted
    assert {"as_json" if row[0] == "json" else row[0] for row in ROWS} == wanted


def test_the_file_is_named_by_a_variable_too(called, monkeypatch):
    Path("a.toml").write_text("port = 8100\n")
    Path("b.toml").write_text("port = 8200\n")
    monkeypatch.setenv("LOCAL_OPUS_ANSWERS", "a.toml")
    assert called()[0].port == 8100
    assert called("--answers", "b.toml")[0].port == 8200


def test_the_installed_programs_own_scope_is_a_mere_default(called, monkeypatch):
    Path("a.toml").write_text('scope = "system"\n')
    monkeypatch.setenv("LOCAL_OPUS_OWN_SCOPE", "user")
    assert called()[0].scope == "user"
    assert called("--answers", "a.toml")[0].scope == "system"
    monkeypatch.setenv("LOCAL_OPUS_OWN_SCOPE", "")
    assert called()[0].scope is None


@pytest.mark.parametrize(
    ("answer", "device", "use_case"),
    [
        ("", "NPU", "coding"),
        ('device = "auto"', "auto", "coding"),
        ('use_case = "chat"', "NPU", "chat"),
    ],
)
def test_answers_outrank_the_profile(called, answer, device, use_case):
    Path("p.toml").write_text(
        'name = "p"\ndescription = "P"\nextends = "local-opus"\n'
        '[model]\ndevice = "NPU"\nuse_case = "coding"\n'
    )
    Path("a.toml").write_text(f'profile = "p.toml"\n{answer}\n')
    profile = choices._load_profile(called("--answers", "a.toml")[0])
    assert (profile.model.device, profile.model.use_case) == (device, use_case)


# --- who is asked


@pytest.mark.parametrize(
    ("words", "answer", "interactive"),
    [
        ((), None, True),
        (("--yes",), None, False),
        (("--local-opus",), None, False),
        ((), "port = 8000", True),
        (("--local-opus",), "port = 8000", True),
        ((), 'profile = "local-opus"', True),
        ((), "yes = true", False),
        ((), "dry_run = true", False),
        (("--yes",), "port = 8000", False),
    ],
)
def test_what_is_not_answered_is_asked(called, words, answer, interactive):
    if answer is not None:
        Path("a.toml").write_text(answer)
        words = (*words, "--answers", "a.toml")
    assert called(*words)[1].interactive is interactive


@pytest.fixture(scope="session")
def facts_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], HostFacts]:
    disk = DiskFacts(path="/var", total=10**12, free=5 * 10**11, free_inodes=None)
    found: dict[str, HostFacts] = {}

    def read(machine: str) -> HostFacts:
        if machine not in found:
            root = tmp_path_factory.mktemp("machine")
            facts = gather(machine_host(root, MACHINES[machine]), disk_path="/var/lib")
            found[machine] = facts.model_copy(update={"disk": disk})
        return found[machine]

    return read


ALL = Given("local-opus", "smollm2-135m", "CPU", None, None, "user", "/")
MACHINE = "meteor-lake-155h"  # with CPU, GPU and NPU


@pytest.mark.parametrize(
    ("missing", "asked"),
    [((), []), (("device",), ["Which device?"]), (("model",), ["Which model?"]),
     (("device", "model"), ["Which device?", "Which model?"])],
)  # fmt: skip
def test_the_rest_is_asked(facts_of, monkeypatch, host, places, missing, asked):
    questions_put: list[str] = []

    def select(question: str, options: list[tuple[str, str]], default: str) -> str:
        questions_put.append(question)
        assert default in [value for value, _ in options]
        return default

    monkeypatch.setattr(prompts, "select", select)
    profile = profiles.load("local-opus", lambda path: path)
    given_ = Given(**{**vars(ALL), **dict.fromkeys(missing)})
    found = questions.ask_rest(given_, facts_of(MACHINE), profile, host, places)
    assert questions_put == asked
    assert None not in (found.model, found.device)


@pytest.mark.parametrize("answer", ['profile = "local-opus"', "yes = false", "port = 8000"])
def test_no_terminal_and_no_yes(tmp_path, answer):
    path = tmp_path / "a.toml"
    path.write_text(answer)
    code, lines = said("install", "--answers", str(path))
    assert code == 2
    assert "not a terminal, and no --yes" in str(lines[-1]["message"])


# --- bad files, through the command line


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.mkdir(), "not a regular file"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (lambda path: path.write_bytes(b"#" * (answers.LONGEST + 1)), "is larger than"),
        (lambda path: path.write_text("prt = 1"), 'a.toml: prt: unknown key. Did you mean "port"?'),
        (lambda path: path.write_text('root = "none"'), "none: there is no such folder"),
        (lambda path: path.write_text('model = "smollm2-135m"'), "military installs no model"),
    ],
    ids=["missing", "folder", "FIFO", "device", "loop", "huge", "key", "root", "no server"],
)
def test_a_bad_file_is_bad_input_at_once(tmp_path, monkeypatch, make, says):
    monkeypatch.chdir(tmp_path)
    make(Path("a.toml"))
    code, lines = said("install", "--answers", "a.toml", "--yes", "--scope", "user")
    assert code == 2
    assert lines[-1]["event"] == "error"
    assert says in str(lines[-1]["message"])
    assert lines[-1]["exit_code"] == 2


def from_stdin(data: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-s", "-P", "-m", "local_opus", "install", "--answers", "-", *words]
    return subprocess.run(command, input=data, capture_output=True, check=False)


def test_answers_on_standard_input(tmp_path):
    data = f'profile = "external-api"\nscope = "user"\nroot = "{tmp_path}"\ndry_run = true\n'
    done = from_stdin(data.encode(), "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout.splitlines()[-1])
    assert (plan["event"], plan["profile"], plan["root"]) == ("plan", "external-api", str(tmp_path))


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"", b"standard input: holds no answer"), (b"\xff", b"standard input:1: not UTF-8"),
     (b"port = 8000", b"not a terminal, and no --yes")],
)  # fmt: skip
def test_bad_standard_input(data, says):
    done = from_stdin(data)
    assert done.returncode == 2
    assert says in done.stderr


def test_a_closed_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(BadInputError, match="closed"):
        answering.read("-")


def test_a_terminal_is_not_read_to_its_end(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(BadInputError, match="is a terminal"):
        answering.read("-")


# --- saving


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("image")


@pytest.fixture
def on_machine(facts_of, monkeypatch) -> HostFacts:
    monkeypatch.setattr(install, "detect", lambda host, locations: facts_of(MACHINE))
    return facts_of(MACHINE)


def plan_of(*words: str) -> tuple[int, object]:
    code, lines = said("install", "--dry-run", *words)
    return code, next((line for line in lines if line["event"] == "plan"), None)


def without_seq(plan: object) -> object:
    """What a plan does; why it is so depends on what was named and what was left open."""
    assert isinstance(plan, dict)
    return {key: value for key, value in plan.items() if key not in {"seq", "reasons"}}


ANYWHERE = {
    "--port": st.integers(1024, 65535).map(str),
    "--scope": st.sampled_from(["system", "user"]),
    "--use-case": st.sampled_from(["chat", "coding", "analysis"]),
}
SERVED = ANYWHERE | {
    # Most of the catalog is too large for most machines.
    "--model": st.just("smollm2-135m") | st.sampled_from(load_catalog().ids()),
    "--device": st.sampled_from(["auto", "CPU", "GPU", "GPU.0", "GPU.1", "NPU"]),
}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    machine=st.sampled_from(sorted(MACHINES)),
    words=st.fixed_dictionaries(
        {"--profile": st.sampled_from(["military", "external-api"])}, optional=ANYWHERE
    )
    | st.fixed_dictionaries(
        {"--profile": st.sampled_from(["local-opus", "hybrid"])}, optional=SERVED
    ),
)
def test_a_saved_file_leads_to_the_same_plan(facts_of, image, tmp_path_factory, machine, words):
    name = str(tmp_path_factory.mktemp("saved") / "a.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(install, "detect", lambda host, locations: facts_of(machine))
        flags = [word for pair in words.items() for word in pair]
        code, plan = plan_of(*flags, "--root", str(image), "--save-answers", name)
        if code != 0:  # such a model does not fit there, or the profile has none
            assert not os.path.lexists(name)
            return
        again, same = plan_of("--answers", name)
    assert again == 0
    assert without_seq(same) == without_seq(plan)


def test_what_is_saved(on_machine, tmp_path, monkeypatch, image):
    monkeypatch.chdir(tmp_path)
    words = ("--local-opus", "--model", "smollm2-135m", "--device", "cpu", "--port", "8100")
    to = ("--root", str(image), "--scope", "user", "--save-answers", "a.toml")
    code, plan = plan_of(*words, *to)
    assert code == 0
    assert without_seq(plan_of("--answers", "a.toml")[1]) == without_seq(plan)
    path = tmp_path / "a.toml"
    assert path.stat().st_mode & 0o777 == 0o644
    assert answers.parse(path.read_bytes(), "a.toml") == Answers(
        profile="local-opus", model="smollm2-135m", device="CPU", use_case="chat", port=8100,
        scope="user", root=str(image), yes=False,
    )  # fmt: skip


def test_a_profile_file_is_saved_with_its_whole_path(on_machine, tmp_path, monkeypatch, image):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.toml").write_text('name = "p"\ndescription = "P"\nextends = "external-api"\n')
    assert plan_of("--profile", "p.toml", "--root", str(image), "--save-answers", "a.toml")[0] == 0
    monkeypatch.chdir("/")
    assert plan_of("--answers", str(tmp_path / "a.toml"))[0] == 0
    assert f'profile = "{tmp_path}/p.toml"' in (tmp_path / "a.toml").read_text()


def test_the_same_answers_may_be_saved_again(on_machine, tmp_path, image):
    path = tmp_path / "a.toml"
    words = ("--external-api", "--root", str(image), "--save-answers", str(path))
    assert plan_of(*words)[0] == 0
    before = path.stat()
    assert plan_of(*words)[0] == 0
    now = path.stat()  # but for the time at which it was read
    assert (now.st_ino, now.st_mtime_ns, now.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    code, lines = said("install", "--dry-run", "--profile", "military", *words[1:])
    assert code == 2
    assert lines[-1]["message"] == f"answers {path}: is there already, and says something else"
    assert path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.symlink_to("/dev/null"), "is a link"),
        (lambda path: path.symlink_to("nowhere"), "is a link"),
        (os.mkfifo, "is no regular file"),
        (lambda path: path.parent.rmdir(), "there is no folder"),
    ],
    ids=["folder", "link", "dangling link", "FIFO", "no parent"],
)
def test_a_target_that_is_refused_before_anything_is_done(tmp_path, monkeypatch, make, says):
    monkeypatch.setattr(install, "detect", lambda *_: pytest.fail("went on"))
    path = tmp_path / "sub" / "a.toml"
    path.parent.mkdir()
    make(path)
    code, lines = said("install", "--dry-run", "--save-answers", str(path))
    assert code == 2
    assert says in str(lines[-1]["message"])


@pytest.mark.parametrize("name", ["-", "/"])
def test_a_target_without_a_name(name):
    with pytest.raises(BadInputError):
        answering.check_target(name)


def test_a_link_that_came_meanwhile_is_not_followed(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "a.toml"
    victim.write_text("mine")
    path.symlink_to(victim)
    with pytest.raises(BadInputError, match="is a link"):
        answering.save(str(path), Answers(yes=True))
    assert victim.read_text() == "mine"
    assert path.is_symlink()


@pytest.mark.parametrize(
    ("name", "says"),
    [("new.toml", True), ("", "not a file's name"), ("there.toml", "is there already"),
     ("none/x.toml", "there is no folder")],
)  # fmt: skip
def test_a_name_that_is_typed(tmp_path, monkeypatch, name, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.toml").touch()
    found = answering.free_name(name)
    assert found is True if says is True else str(says) in str(found)


@pytest.mark.parametrize(
    ("target", "word", "saved_to"),
    [(None, "go", None), (None, "save", "typed.toml"), ("a.toml", None, "a.toml")],
)
def test_the_last_question(monkeypatch, target, word, saved_to):
    monkeypatch.setattr(prompts, "select", lambda *_: word)
    monkeypatch.setattr(prompts, "_ask_name", lambda: "typed.toml")
    monkeypatch.setattr(prompts, "confirm", lambda *_, yes: None)
    assert prompts.go_on(target) == saved_to


def test_stop_is_an_end_without_change(monkeypatch):
    monkeypatch.setattr(prompts, "select", lambda *_: "stop")
    with pytest.raises(InterruptedRunError, match="nothing was changed"):
        prompts.go_on(None)


# --- completion


@pytest.mark.parametrize(
    ("incomplete", "offered"), [("--ans", {"--answers"}), ("--save", {"--save-answers"})]
)
def test_the_options_are_completed(incomplete, offered):
    completion = BashComplete(cli.group, {}, "local-opus", "_LOCAL_OPUS_COMPLETE")
    for words in ([], ["install"]):
        assert {item.value for item in completion.get_completions(words, incomplete)} == offered


@pytest.mark.parametrize("option", ["--answers", "--save-answers"])
def test_a_file_is_completed_by_the_shell(option):
    completion = BashComplete(cli.group, {}, "local-opus", "_LOCAL_OPUS_COMPLETE")
    (found,) = completion.get_completions(["install", option], "a")
    assert found.type == "file"


def test_completion_does_not_read_the_file():
    completion = BashComplete(cli.group, {}, "local-opus", "_LOCAL_OPUS_COMPLETE")
    words = ["install", "--answers", "none.toml"]
    assert {item.value for item in completion.get_completions(words, "--por")} == {"--port"}
