"""The command line in this process: which words lead where, and what errors become."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete

from local_opus import cli
from local_opus.cli import context, given, options, prompts
from local_opus.errors import BadInputError, ExitCode, InterruptedRunError, LocalOpusError
from local_opus.host import Host
from local_opus.values import Scope


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(list(words))
    found = capsys.readouterr()
    return code, found.out, found.err


def test_help_lists_every_command(capsys):
    code, out, _ = said(capsys, "--help")
    assert code == 0
    assert all(f"  {name} " in out for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(capsys, name):
    code, out, _ = said(capsys, name, "--help")
    assert code == 0
    assert "Usage: local-opus " in out


def test_every_option_has_a_variable():
    """LOCAL_OPUS_* for each, but for the flags that name a profile: that is LOCAL_OPUS_PROFILE."""
    without = {"local_opus", "external_api", "hybrid", "help"}
    root = click.Context(cli.group)
    for name in cli.COMMANDS:
        command = cli.group.get_command(root, name)
        assert command is not None
        commands = [
            command,
            *(command.commands.values() if isinstance(command, click.Group) else ()),
        ]
        for one in commands:
            for param in one.params:
                if isinstance(param, click.Option) and param.name not in without:
                    variable = "LOCAL_OPUS_" + (
                        param.opts[-1].lstrip("-").replace("-", "_").upper()
                    )
                    assert param.envvar == variable, f"{name} {param.opts}"


def test_a_variable_is_read_and_a_flag_outranks_it(capsys, monkeypatch):
    monkeypatch.setenv("LOCAL_OPUS_DEVICE", "GPUU")
    code, _, err = said(capsys, "models", "list")
    assert (code, "--device GPUU" in err) == (2, True)
    monkeypatch.setenv("LOCAL_OPUS_DEVICE", "GPU.x")
    code, _, err = said(capsys, "--local-opus", "--yes")
    assert (code, "GPU.0, GPU.1" in err) == (2, True)
    code, _, err = said(capsys, "models", "list", "--device", "NPPU")
    assert (code, "--device NPPU" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "incomplete", "offered"),
    [
        ([], "", set(cli.COMMANDS)),
        ([], "sta", {"start", "status"}),
        ([], "--mod", {"--model"}),
        ([], "--ver", {"--version"}),
        (["--local-opus"], "--por", {"--port"}),
        (["models"], "", {"list", "show", "pull", "remove", "prune", "pin", "sign"}),
        (["uninstall"], "--pu", {"--purge"}),
        (["completion"], "", {"bash", "zsh", "fish"}),
        (["install", "--scope"], "", {"system", "user"}),
    ],
)
def test_completion(words, incomplete, offered):
    completion = BashComplete(cli.group, {}, "local-opus", "_LOCAL_OPUS_COMPLETE")
    assert {item.value for item in completion.get_completions(words, incomplete)} == offered


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (LocalOpusError("it failed", "do this"), 1, "error: it failed"),
        (BadInputError("bad", "do this"), 2, "error: bad"),
        (InterruptedRunError("stopped here", "do this"), 130, "stopped: stopped here"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
        (click.UsageError("wrong word"), 2, "error: wrong word"),
        (OSError(errno.EIO, "Input/output error"), 1, "OSError: [Errno 5] Input/output error"),
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_raised_becomes_two_lines_and_a_code(
    capsys, tmp_path, monkeypatch, error, code, words
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail() -> None:
        raise error

    assert cli.run(fail) == code
    err = capsys.readouterr().err
    assert words in err
    assert len(err.splitlines()) == 2
    assert "Traceback" not in err


def test_an_unknown_error_keeps_its_traceback_in_a_log(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cli.run(lambda: 1 / 0)
    (log,) = tmp_path.glob("local-opus-*.log")
    assert str(log) in capsys.readouterr().err
    assert "ZeroDivisionError" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_debug_shows_the_traceback_wherever_it_stands(capsys):
    for words in (("--debug", "verify", "/nowhere"), ("verify", "/nowhere", "--debug")):
        code, _, err = said(capsys, *words)
        assert code == 2
        assert "Traceback" in err


def test_details_stand_between_what_and_remedy(capsys):
    def fail() -> None:
        raise LocalOpusError("many", "fix them", details=["one", "two"])

    cli.run(fail)
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == [
        "many",
        "one",
        "two",
        "them",
    ]


@pytest.mark.parametrize("result", [None, 3, ExitCode.PROBLEM_FOUND])
def test_a_command_may_choose_its_exit_code(result):
    assert cli.run(lambda: result) == int(result or 0)


@pytest.mark.parametrize(
    ("word", "device"),
    [("auto", None), ("AUTO", None), ("cpu", "CPU"), ("Gpu", "GPU"), ("NPU", "NPU"),
     ("gpu.1", "GPU.1"), ("GPU.0", "GPU.0"), ("GPU.12", "GPU.12")],
)  # fmt: skip
def test_devices(word, device):
    assert given.parse_device(word) == device


@pytest.mark.parametrize(
    "word",
    [
        "",
        "GPU.",
        "GPU.01",
        "GPU.100",
        "GPU.x",
        "CPU.0",
        "NPU.0",
        "TPU",
        "CPU,GPU",
        "CPU ",
        "GPU.1\n",
    ],
)
def test_no_such_device(word):
    with pytest.raises(BadInputError, match="no such device"):
        given.parse_device(word)


@pytest.mark.parametrize(
    ("flags", "name", "chosen"),
    [([], None, None), (["hybrid"], None, "hybrid"), ([], "x.toml", "x.toml")],
)
def test_one_profile(flags, name, chosen):
    assert given.one_profile(flags, name) == chosen


@pytest.mark.parametrize(
    ("flags", "name"), [(["local-opus", "hybrid"], None), (["hybrid"], "military")]
)
def test_two_profiles(flags, name):
    with pytest.raises(BadInputError, match="choose one"):
        given.one_profile(flags, name)


def test_nobody_is_asked_where_there_is_no_terminal():
    with pytest.raises(BadInputError, match="not a terminal"):
        prompts.confirm("?", yes=False)
    with pytest.raises(BadInputError, match="not a terminal"):
        prompts.select("?", [("a", "A")])
    prompts.confirm("?", yes=True)


def test_an_option_is_named_after_its_longest_name():
    @click.command()
    @options.option("-p", "--long-name")
    def command(long_name: str) -> None:
        """Nothing."""

    assert command.params[0].envvar == "LOCAL_OPUS_LONG_NAME"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    root = tmp_path / "root"
    root.mkdir()
    host = Host(str(root), {"HOME": "/home/u"})
    host.euid = 0
    return host


def receipt(host: Host, path: str) -> None:
    host.files.make_folders(path.rpartition("/")[0])
    host.files.write_atomic(path, b"")


SYSTEM, USER = "/var/lib/local-opus/receipt.jsonl", "/home/u/.local/state/local-opus/receipt.jsonl"


@pytest.mark.parametrize(
    ("euid", "there", "scope"),
    [
        (0, (), Scope.SYSTEM),
        (1000, (), Scope.USER),
        (0, (USER,), Scope.USER),
        (1000, (SYSTEM,), Scope.SYSTEM),
        (0, (SYSTEM, USER), Scope.SYSTEM),
        (1000, (SYSTEM, USER), Scope.USER),
    ],
)
def test_the_install_that_is_meant(host, euid, there, scope):
    host.euid = euid
    for path in there:
        receipt(host, path)
    assert context.find_install(host, None).scope is scope
    assert context.find_install(host, "user").scope is Scope.USER


def test_no_home_is_no_obstacle_for_root(tmp_path):
    host = Host(str(tmp_path), {})
    host.euid = 0
    assert context.find_install(host, None).scope is Scope.SYSTEM


def test_help_is_quick():
    """0.15 s more than an empty Python; of the processor, so that a busy machine does not decide."""

    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    def seconds(*words: str) -> float:
        before = used()
        subprocess.run([sys.executable, "-s", "-P", *words], check=True, capture_output=True)
        return used() - before

    empty = min(seconds("-c", "pass") for _ in range(5))
    told = min(seconds("-m", "local_opus.cli", "--help") for _ in range(5))
    assert told - empty < 0.15
