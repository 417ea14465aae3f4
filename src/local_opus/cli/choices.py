"""From the user's words or answers to an install."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from local_opus import install, own_modules, profiles
from local_opus.catalog import load as load_catalog
from local_opus.catalog.choose import choose, fit
from local_opus.cli import prompts
from local_opus.cli.context import open_host
from local_opus.cli.options import USE_CASES
from local_opus.errors import BadInputError, did_you_mean
from local_opus.host import Host
from local_opus.locations import Locations, default_scope, locate
from local_opus.report import install as show
from local_opus.report import reporter
from local_opus.values import Device, HostFacts, Scope
from local_opus.weights.sources import SOURCES

_GIB = 1024**3


@dataclass(frozen=True)
class Given:
    """What the user gave; None: not given."""

    profile: str | None
    model: str | None
    device: Device | None
    use_case: str | None
    port: int | None
    scope: str | None
    root: str


def one_profile(flags: Sequence[str], name: str | None) -> str | None:
    """Return the one profile that was named. Raises BadInputError for several."""
    named = [*flags, *([name] if name else [])]
    if len(named) > 1:
        raise BadInputError(f"profiles {' and '.join(named)}: choose one", "Give one of them.")
    return named[0] if named else None


def parse_device(word: str) -> Device | None:
    """Return the device; None for auto. Raises BadInputError with the nearest name."""
    if word.casefold() == "auto":
        return None
    try:
        return Device(word.upper())
    except ValueError:
        names = ["auto", *(device.value for device in Device)]
        raise BadInputError(
            f"--device {word}: no such device.{did_you_mean(word, names)}",
            f"Choose one of {', '.join(names)}.",
        ) from None


def _load_profile(name: str, use_case: str | None) -> profiles.Profile:
    # A profile file is this machine's, also where an image is provisioned.
    files = open_host().files
    loaded = profiles.load(name, lambda path: files.read_text(os.path.abspath(path)))
    if use_case is None:
        return loaded
    if use_case not in USE_CASES:
        raise BadInputError(
            f"--use-case {use_case}: no such use case.{did_you_mean(use_case, USE_CASES)}",
            f"Choose one of {', '.join(USE_CASES)}.",
        )
    model = loaded.model.model_copy(update={"use_case": use_case})
    return loaded.model_copy(update={"model": model})


def _ask_profile() -> str:
    names = sorted(profiles.names(), key=lambda name: name != profiles.DEFAULT)
    texts = [
        (name, f"{name:<13} {profiles.load(name, lambda path: path).description}") for name in names
    ]
    return prompts.select("Which profile?", texts, profiles.DEFAULT)


def _ask_rest(given: Given, facts: HostFacts, profile: profiles.Profile) -> Given:
    if not profile.server.enabled:
        return given
    model, device = given.model, given.device
    if device is None:
        names = [d.name for d in facts.openvino.devices if d.name in {x.value for x in Device}]
        if len(names) > 1:
            options = [("auto", "auto (the fastest that fits)"), *((name, name) for name in names)]
            device = parse_device(prompts.select("Which device?", options, "auto"))
    if model is None:
        catalog = load_catalog()
        best = choose(catalog, facts, profile.model.use_case, device, sources=frozenset(SOURCES))
        fitting = [one for one in catalog.models if fit(one, facts, device).fits]
        width = max(len(one.id) for one in fitting)
        texts = [
            (one.id, f"{one.id:<{width}} {one.size / _GIB:6.2f} GiB  {one.license.id}"
             + ("  (recommended here)" if one.id == best.id else ""))
            for one in sorted(fitting, key=lambda one: one.size)
        ]  # fmt: skip
        model = prompts.select("Which model?", texts, best.id)
    return replace(given, model=model, device=device)


def _ask_scope(host: Host) -> str:
    if host.euid != 0:
        return Scope.USER.value
    texts = [("system", "system  for everyone, under /opt, /etc and /var/lib"),
             ("user", "user    for this user alone, in the XDG folders")]  # fmt: skip
    return prompts.select("For whom?", texts, "system")


def run(
    given: Given, *, interactive: bool, yes: bool, dry_run: bool, quiet: bool, as_json: bool
) -> None:
    """Detect, choose, show, ask, apply and report."""
    host = open_host(given.root)
    if interactive:
        prompts.require_terminal()
        given = replace(given, profile=_ask_profile())
        given = replace(given, scope=given.scope or _ask_scope(host))
    profile = _load_profile(given.profile or profiles.DEFAULT, given.use_case)
    if given.model is not None:
        load_catalog().get(given.model)  # an unknown one is told before anything slow happens
    scope = Scope(given.scope) if given.scope else default_scope(host.euid)
    locations = locate(scope, host.environ)
    if not dry_run:
        install.require_rights(host, scope)
    if not (yes or dry_run):  # after all that is wrong in the command itself has been told
        prompts.require_terminal()
    tell = reporter.make(as_json=as_json, quiet=quiet)
    facts = install.detect(host, locations)
    tell.event("facts", facts.model_dump(mode="json"))
    show.show_machine(tell, facts)
    if interactive:
        given = _ask_rest(given, facts, profile)
    choice = install.prepare(
        host,
        locations,
        profile,
        facts,
        model_id=given.model,
        device=given.device,
        port=given.port,
    )
    go_on(host, choice, tell, yes=yes, dry_run=dry_run, as_json=as_json)


def go_on(
    host: Host,
    choice: install.Choice,
    tell: reporter.Reporter,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Show what is pending, ask, apply and report."""
    waiting = install.pending(host, choice)
    if dry_run and as_json:
        tell.event("plan", json.loads(choice.plan.model_dump_json()))
        return
    if not waiting:
        tell.event("no_changes", {"profile": choice.profile.name})
        tell.say("no changes")
        show.show_kept(tell, install.edits(host, choice))
        return
    tell.event("plan", json.loads(choice.plan.model_dump_json()))
    show.show_plan(tell, choice.plan, waiting)
    if dry_run:
        return
    prompts.confirm("Go on?", yes=yes)
    own_modules.keep(choice.locations.prefix)  # it may be run from the environment that it replaces
    try:
        result = install.install(host, choice, tell)
    finally:
        tell.close()
    show.show_kept(tell, result.outcome.kept)
    command = _command(host, choice.locations)
    show.show_result(tell, choice.profile.name, command, result.outcome.result)


def _command(host: Host, locations: Locations) -> str:
    """Return what to type for the installed program: its name where the PATH finds it."""
    found = locations.commands in host.environ.get("PATH", "").split(":")
    return "local-opus" if found else f"{locations.commands}/local-opus"
