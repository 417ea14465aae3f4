"""``verify``: prove weights."""

from __future__ import annotations

import click

from local_opus.cli import options, sign


@click.command()
@click.argument("target", required=False)
@options.option("--quick", is_flag=True, help="Believe files whose size, inode and times are as they were when they were hashed.")  # fmt: skip  # noqa: E501
@options.option("--canary", is_flag=True, help="Also force a text through the installed model.")
@options.option("--public-key", type=click.Path(), metavar="FILE", help="Also check the signature of TARGET by this key (OpenSSF model signing).")  # fmt: skip  # noqa: E501
@options.option("--signature", type=click.Path(), metavar="FILE", help="The signature. Default: FOLDER.sig, beside the folder.")  # fmt: skip  # noqa: E501
@options.scope
@options.as_json
def command(
    target: str | None,
    *,
    quick: bool,
    canary: bool,
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
    from local_opus.report.signatures import check_document, check_lines
    from local_opus.report.verify import verdict_document, verdict_line, verdict_table

    host = open_host()
    console = Console()
    locations = find_install(host, scope)
    proven = True
    documents = []
    subjects = verification.subjects(host, locations, target)
    checks = sign.check(host, subjects, signature, public_key)
    for subject in subjects:
        verdicts = verification.verify(host, subject, quick=quick)
        check = checks.get(subject.folder)
        proven = proven and (check.proves(verdicts) if check else verification.is_proven(verdicts))
        documents.append(verdict_document(subject.folder, verdicts, quick=quick))
        if not as_json:
            console.print(verdict_line(subject.folder, verdicts), style="bold", highlight=False)
            console.print(verdict_table(verdicts))
            for line in check_lines(check) if check else ():
                console.print(line, markup=False, highlight=False, soft_wrap=True)
    result: dict[str, object] = {"folders": documents}
    if checks:
        result["signatures"] = [check_document(check) for check in checks.values()]
    if canary and proven:
        result["canary"] = figures = verification.canary(host, locations)
        if not as_json:
            console.print(f"canary: {figures['canary']}, band {figures['canary_band']}")
    if as_json:
        click.echo(json.dumps(result, indent=1))
    return int(ExitCode.DONE if proven else ExitCode.PROBLEM_FOUND)
