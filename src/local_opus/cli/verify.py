"""``verify``: prove weights."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from local_opus.cli import options, sign

if TYPE_CHECKING:
    from rich.console import Console

    from local_opus.host import Host
    from local_opus.locations import Locations
    from local_opus.report.reporter import Reporter
    from local_opus.signing import Check
    from local_opus.verification import Result, Subject
    from local_opus.weights.verify import Against


@click.command()
@click.argument("target", required=False)
@options.option("--quick", is_flag=True, help="Believe files whose size, inode and times are as they were when they were hashed.")  # fmt: skip  # noqa: E501
@options.option("--against", metavar="MODEL|ORG/REPO[@REVISION]", help="Compare TARGET with an entry of the catalog, or with a repository of the hub.")  # fmt: skip  # noqa: E501
@options.option("--canary", is_flag=True, help="Also force a text through the installed model.")
@options.option("--repair", is_flag=True, help="Bring again what is not real in the store.")
@options.option("--public-key", type=click.Path(), metavar="FILE", help="Also check the signature of TARGET by this key (OpenSSF model signing).")  # fmt: skip  # noqa: E501
@options.option("--signature", type=click.Path(), metavar="FILE", help="The signature. Default: FOLDER.sig, beside the folder.")  # fmt: skip  # noqa: E501
@options.scope
@options.as_json
def command(
    target: str | None,
    *,
    quick: bool,
    against: str | None,
    canary: bool,
    repair: bool,
    public_key: str | None,
    signature: str | None,
    scope: str | None,
    as_json: bool,
) -> int:
    """Give a verdict for every file of TARGET: a folder, a file, or a model of the store.

    Without TARGET everything in the store. Any folder will do, also one never installed. Exit
    code 3 where a file is not proven real. A signature that holds speaks for files that nothing
    else proves.
    """
    import json

    from rich.console import Console

    from local_opus import verification
    from local_opus.cli.context import find_install, open_host
    from local_opus.errors import ExitCode
    from local_opus.report import reporter
    from local_opus.report.signatures import check_document
    from local_opus.report.verify import folder_document

    _refuse_contradictions(target, against, quick=quick, canary=canary, repair=repair)
    _refuse_signed_repair(public_key, repair=repair)
    host = open_host()
    locations = find_install(host, scope)
    subjects = verification.subjects(host, locations, target, one=against is not None)
    if repair:
        from local_opus import repair as repairing

        repairing.require_repairable(host, locations, subjects)
    # Now, so that a key that can't be read ends it before gigabytes are hashed.
    checks = sign.check(host, subjects, signature, public_key)
    listed = verification.against(host, locations, against) if against is not None else None
    show = reporter.QuietReporter() if as_json else reporter.make(stream=sys.stderr)
    results = _verify(host, subjects, quick=quick, against=listed, show=show)
    checks = {
        one.subject.folder: checks[one.subject.folder].of(one.examined.seen)
        for one in results
        if one.subject.folder in checks
    }
    if repair:
        results = _repair(host, locations, target, results, as_json=as_json)
    console = Console()
    if not as_json:
        _show(console, results, checks)
        if not repair and against is None:
            _tell_remedy(host, locations, results)
    document: dict[str, object] = {"folders": [folder_document(one) for one in results]}
    if repair and repairing.load_anew(host, locations, results):
        document["server_started_anew"] = True
        if not as_json:
            click.echo("The server was started anew, to load what was brought again.")
    if checks:
        document["signatures"] = [check_document(check) for check in checks.values()]
    proven = all(_is_proven(one, checks) for one in results)
    if canary:
        from local_opus.canary import ask

        figures = ask(host, locations, results) if proven else None
        document["canary"] = figures
        if not as_json:
            words = "not asked, since not every file is real"
            if figures is not None:
                words = f"{figures['canary']}, band {figures['canary_band']}"
            console.print(f"canary: {words}", highlight=False)
    if as_json:
        click.echo(json.dumps(document, indent=1))
    return int(ExitCode.DONE if proven else ExitCode.PROBLEM_FOUND)


def _verify(
    host: Host,
    subjects: Sequence[Subject],
    *,
    quick: bool,
    against: Against | None,
    show: Reporter,
) -> list[Result]:
    """Verify one after the other, with a bar for what takes long."""
    from local_opus import verification

    results = []
    try:
        for one in subjects:
            show.started("verify", f"verify {one.folder}")
            results.append(
                verification.verify(host, one, quick=quick, against=against, progress=show.progress)
            )
            show.close()
    finally:
        show.close()
    return results


def _repair(
    host: Host, locations: Locations, target: str | None, results: list[Result], *, as_json: bool
) -> list[Result]:
    from local_opus import repair
    from local_opus.report import reporter

    tell = reporter.QuietReporter() if as_json else reporter.make()
    try:
        return repair.repair(host, locations, target, results, tell)
    finally:
        tell.close()


def _show(console: Console, results: list[Result], checks: Mapping[str, Check]) -> None:
    from local_opus.report.signatures import check_lines
    from local_opus.report.verify import show_folder

    for result in results:
        show_folder(console, result)
        check = checks.get(result.subject.folder)
        for line in check_lines(check) if check else ():
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def _tell_remedy(host: Host, locations: Locations, results: list[Result]) -> None:
    """Say how what is not real comes again, where it can."""
    from local_opus import invocation, repair
    from local_opus.errors import BadInputError

    models: dict[str | None, None] = {}
    for result in results:
        if not result.proven:
            with suppress(BadInputError):  # a folder of anyone's, a model that nothing lists
                repair.require_repairable(host, locations, [result.subject])
                models[result.subject.model] = None
    for model in models:
        click.echo(
            invocation.as_typed(f"  fix: bring it again: `local-opus verify {model} --repair`")
        )


def _is_proven(result: Result, checks: Mapping[str, Check]) -> bool:
    """Whether every file is real; where a signature is asked for, it must hold too.

    One that holds speaks for files that nothing else proves.
    """
    check = checks.get(result.subject.folder)
    return result.proven if check is None else check.proves(result.examined.verdicts)


def _refuse_signed_repair(public_key: str | None, *, repair: bool) -> None:
    """Raise BadInputError where a signature would be checked of files that a repair exchanges."""
    from local_opus.errors import BadInputError

    if repair and public_key is not None:
        raise BadInputError(
            "--repair and --public-key exclude each other: what is signed are the files before it",
            "Repair first, then run this again with --public-key.",
        )


def _refuse_contradictions(
    target: str | None, against: str | None, *, quick: bool, canary: bool, repair: bool
) -> None:
    """Raise BadInputError for a target that is none, and flags that do nothing together."""
    from local_opus.errors import BadInputError

    if target == "":  # a script's empty variable, say: not the folder that it runs in
        raise BadInputError(
            "'' names nothing", "Name a model, a folder or a file; without one, all is verified."
        )
    if against is None:
        return
    if target is None:
        raise BadInputError(
            f"--against {against}: nothing is named that is to be compared",
            "Name a folder or a file: `local-opus verify FOLDER --against ...`.",
        )
    given = {"--quick": quick, "--canary": canary, "--repair": repair}
    for flag in (flag for flag, is_given in given.items() if is_given):
        raise BadInputError(
            f"--against and {flag} exclude each other: to compare is to hash every file, and no "
            "more",
            f"Leave {flag} out.",
        )
