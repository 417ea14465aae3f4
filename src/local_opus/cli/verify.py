"""``verify``: prove weights."""

from __future__ import annotations

import click

from local_opus.cli import options


@click.command()
@click.argument("target", required=False)
@options.option("--quick", is_flag=True, help="Believe files whose size, inode and times are as they were when they were hashed.")  # fmt: skip  # noqa: E501
@options.option("--canary", is_flag=True, help="Also force a text through the installed model.")
@options.scope
@options.as_json
def command(
    target: str | None, *, quick: bool, canary: bool, scope: str | None, as_json: bool
) -> int:
    """Give a verdict for every file of TARGET: a folder, a file, or a model of the store.

    Without TARGET everything in the store. Any folder will do, also one never installed. Exit
    code 3 where a file is not proven real.
    """
    import json

    from rich.console import Console

    from local_opus import verification
    from local_opus.cli.context import find_install, open_host
    from local_opus.errors import ExitCode
    from local_opus.report.verify import verdict_document, verdict_line, verdict_table

    host = open_host()
    console = Console()
    locations = find_install(host, scope)
    proven = True
    documents = []
    for subject in verification.subjects(host, locations, target):
        verdicts = verification.verify(host, subject, quick=quick)
        proven = proven and verification.is_proven(verdicts)
        documents.append(verdict_document(subject.folder, verdicts, quick=quick))
        if not as_json:
            console.print(verdict_line(subject.folder, verdicts), style="bold", highlight=False)
            console.print(verdict_table(verdicts))
    result: dict[str, object] = {"folders": documents}
    if canary and proven:
        result["canary"] = figures = verification.canary(host, locations)
        if not as_json:
            console.print(f"canary: {figures['canary']}, band {figures['canary_band']}")
    if as_json:
        click.echo(json.dumps(result, indent=1))
    return int(ExitCode.DONE if proven else ExitCode.PROBLEM_FOUND)
