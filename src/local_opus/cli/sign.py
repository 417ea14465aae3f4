"""``models sign``, and what ``verify`` needs to check signatures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from local_opus.cli import options

if TYPE_CHECKING:
    from local_opus.host import Host
    from local_opus.report.setting_up import SetUpScreen
    from local_opus.signing import Check
    from local_opus.verification import Subject

#: Holds the password of a private key. Never an option: other users can list a program's words.
PASSWORD = "LOCAL_OPUS_KEY_PASSWORD"  # noqa: S105 - the name of a variable


@click.command()
@click.argument("target", metavar="MODEL|FOLDER", required=False)
@options.option("--private-key", type=click.Path(), metavar="FILE", help="An EC key in PEM: P-256, P-384 or P-521.")  # fmt: skip  # noqa: E501
@options.option("--signature", type=click.Path(), metavar="FILE", help="Where the signature goes. Default: FOLDER.sig, beside the folder.")  # fmt: skip  # noqa: E501
@options.option("--prepare", is_flag=True, help="Only make the environment that signing needs.")
@options.scope
@options.as_json
def command(
    target: str | None,
    *,
    private_key: str | None,
    signature: str | None,
    prepare: bool,
    scope: str | None,
    as_json: bool,
) -> None:
    """Sign every file of a model's folders, as OpenSSF model signing does.

    The password of an encrypted key is asked for, or taken from LOCAL_OPUS_KEY_PASSWORD. A folder
    with a file that verify calls worse than unproven is not signed.
    """
    import json

    # Taken away before there is a host: its children inherit what is called LOCAL_OPUS_*.
    password = os.environ.pop(PASSWORD, None)
    from local_opus import signing, verification
    from local_opus.cli.context import find_install, open_host
    from local_opus.errors import BadInputError
    from local_opus.report.signatures import signed_document, signed_lines
    from local_opus.signing_environment import workers

    host = open_host()
    if prepare:
        with workers(host, _screen()) as python:
            click.echo(json.dumps({"python": python}) if as_json else f"{python}: ready to sign")
        return
    if target is None or private_key is None:
        raise BadInputError(
            "a model or a folder to sign, and --private-key, are needed",
            "See `local-opus models sign --help`.",
        )
    subjects = verification.subjects(host, find_install(host, scope), target)
    key = os.path.abspath(private_key)
    password = _password(key, password) if signing.is_encrypted(host, key) else None
    pairs = list(zip(subjects, _paths(subjects, signature), strict=True))
    for subject, path in pairs:
        signing.require_target(host, subject.folder, path)
        _require_sound(host, subject)
    made = []
    with workers(host, _screen()):
        for subject, path in pairs:
            made.append(signing.sign(host, subject.folder, key=key, password=password, path=path))
    if as_json:
        click.echo(json.dumps({"signatures": [signed_document(one) for one in made]}, indent=1))
    else:
        for line in (line for one in made for line in signed_lines(one)):
            click.echo(line)


def check(
    host: Host, subjects: Sequence[Subject], signature: str | None, public_key: str | None
) -> dict[str, Check]:
    """Return what the signature of each folder says, by folder; nothing where no key is given.

    Raises BadInputError for a key or a signature that can't be read.
    """
    from local_opus import signing
    from local_opus.errors import BadInputError
    from local_opus.signing_environment import workers

    if public_key is None:
        if signature is None:
            return {}
        raise BadInputError(
            "--signature: whose it should be is not said", "Name the signer's key by --public-key."
        )
    key = os.path.abspath(public_key)
    paths = _paths(subjects, signature)
    with workers(host, _screen()):
        return {
            one.folder: signing.check(host, one.folder, key=key, path=path)
            for one, path in zip(subjects, paths, strict=True)
        }


def _screen() -> SetUpScreen:
    from local_opus.report.setting_up import SetUpScreen
    from local_opus.signing_environment import SIZE_MB

    return SetUpScreen(f"Making an environment for signing: {SIZE_MB} MB, once")


def _paths(subjects: Sequence[Subject], signature: str | None) -> list[str]:
    """Return where the signature of each folder is. Raises BadInputError for one of several."""
    from local_opus.errors import BadInputError
    from local_opus.signing import default_path

    if signature is None:
        return [default_path(subject.folder) for subject in subjects]
    if len(subjects) > 1:
        raise BadInputError(
            f"--signature: one file, and {len(subjects)} folders",
            f"Name one of the folders, {subjects[0].folder} say.",
        )
    return [os.path.abspath(signature)]


def _password(key: str, given: str | None) -> str:
    """Return the key's password. Raises BadInputError where it is not given and can't be asked."""
    from local_opus.cli.prompts import on_terminal
    from local_opus.errors import BadInputError

    if given is not None:
        return given
    if not on_terminal():
        raise BadInputError(
            f"{key}: is encrypted, and nobody can be asked for its password",
            f"Set {PASSWORD}, or run it on a terminal.",
        )
    return str(click.prompt(f"Password of {key}", hide_input=True, err=True))


def _require_sound(host: Host, subject: Subject) -> None:
    """Raise ProblemFoundError for a file that nobody should vouch for."""
    from local_opus import verification
    from local_opus.errors import ProblemFoundError
    from local_opus.values import Verdict

    for item in verification.verify(host, subject, quick=False).examined.verdicts:
        if item.verdict not in {Verdict.REAL, Verdict.UNPROVEN}:
            raise ProblemFoundError(
                f"{subject.folder}/{item.path}: {item.verdict.value}, {item.evidence}",
                "Only what is sound is signed: repair or remove that file.",
            )
