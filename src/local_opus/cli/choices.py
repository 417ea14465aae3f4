"""From the user's words or answers to an install."""

from __future__ import annotations

import json
import os
from dataclasses import replace

from rich.markup import escape

from local_opus import answers, install, own_modules, profiles
from local_opus.answers import Answers, is_path
from local_opus.catalog.own import load_all as load_catalog
from local_opus.cli import answering, prompts, questions
from local_opus.cli.context import open_host
from local_opus.cli.given import Given, Way, parse_device
from local_opus.cli.options import USE_CASES
from local_opus.errors import BadInputError, did_you_mean
from local_opus.host import Host
from local_opus.locations import Locations, default_scope, locate
from local_opus.report import install as show
from local_opus.report import reporter
from local_opus.values import Scope


def _load_profile(given: Given) -> profiles.Profile:
    """Return the profile with what was given in place of what it says."""
    # A profile file is this machine's, also where an image is provisioned.
    files = open_host().files
    name = given.profile or profiles.DEFAULT
    loaded = profiles.load(name, lambda path: files.read_text(os.path.abspath(path)))
    if given.use_case is not None and given.use_case not in USE_CASES:
        raise BadInputError(
            f"--use-case {given.use_case}: no such use case."
            f"{did_you_mean(given.use_case, USE_CASES)}",
            f"Choose one of {', '.join(USE_CASES)}.",
        )
    said = {"device": given.device, "use_case": given.use_case}
    said = {key: value for key, value in said.items() if value is not None}
    return loaded.model_copy(update={"model": loaded.model.model_copy(update=said)})


def _require_server_for(given: Given, profile: profiles.Profile) -> None:
    """Raise BadInputError for a flag that would do nothing with this profile."""
    if given.insisted and not profile.server.enabled:
        raise BadInputError(
            f"{' and '.join(given.insisted)}: the profile {profile.name} installs no server",
            "Leave that out, or choose a profile that has one, e.g. --local-opus.",
        )


def run(given: Given, way: Way) -> None:
    """Detect, choose, show, ask, apply and report."""
    host = open_host(given.root)
    if way.save_answers is not None:
        answering.check_target(way.save_answers)
    if way.interactive:
        prompts.require_terminal()
        given = replace(given, profile=given.profile or questions.ask_profile())
        given = replace(given, scope=given.scope or questions.ask_scope(host))
    profile = _load_profile(given)
    _require_server_for(given, profile)
    scope = Scope(given.scope) if given.scope else default_scope(host.euid)
    locations = locate(scope, host.environ)
    if given.model is not None:  # an unknown one is told before anything slow happens
        load_catalog(host, locations).get(given.model)
    if not way.dry_run:
        install.require_rights(host, scope)
    if not (way.yes or way.dry_run):  # after all that is wrong in the command itself has been told
        prompts.require_terminal()
    tell = reporter.make(as_json=way.as_json, quiet=way.quiet)
    facts = install.detect(host, locations)
    tell.event("facts", facts.model_dump(mode="json"))
    show.show_machine(tell, facts)
    if way.interactive:
        given = questions.ask_rest(given, facts, profile, host, locations)
    choice = install.prepare(
        host,
        locations,
        profile,
        facts,
        model_id=given.model,
        device=parse_device(given.device or profile.model.device),
        port=given.port,
        profile_file=_profile_file(given),
        tune=given.tune,
        linger=given.linger,
    )
    go_on(host, choice, tell, way, given)


def go_on(
    host: Host,
    choice: install.Choice,
    tell: reporter.Reporter,
    way: Way,
    given: Given | None = None,
) -> None:
    """Show what is pending, ask, apply and report.

    With ``given`` the answers can be saved. Raises BadInputError where a licence must be accepted,
    and nobody does.
    """
    terms, accepts = choice.terms, way.accept_license
    if terms is not None and accepts:
        choice, terms = install.with_license(choice, terms.license), None
    elif terms is not None and way.yes and not way.dry_run:
        raise terms.refusal()
    waiting = install.pending(host, choice)
    plan = {**json.loads(choice.plan.model_dump_json()), "pending": waiting}
    if way.dry_run and way.as_json:
        tell.event("plan", plan)
    elif not waiting:
        tell.event("no_changes", {"profile": choice.profile.name})
        tell.say("no changes")
        show.show_kept(tell, install.edits(host, choice))
    else:
        tell.event("plan", plan)
        show.show_plan(tell, choice.plan, waiting)
    if terms is not None and way.dry_run:
        tell.say(escape(f"{terms.refusal().message}. {terms.refusal().remedy}"))
    elif terms is not None and waiting:
        prompts.accept(terms)
        choice, accepts = install.with_license(choice, terms.license), True
    asks = bool(waiting) and not (way.dry_run or way.yes)
    target = way.save_answers
    if asks and given is not None:
        target = prompts.go_on(target)
    elif asks:
        prompts.confirm("Go on?", yes=False)
    if target is not None and given is not None:
        answering.save(target, _chosen(given, choice, yes=way.yes or asks, accepts=accepts))
        tell.event("answers_saved", {"path": os.path.abspath(target)})
        tell.say(f"answers saved: {escape(os.path.abspath(target))}")
    if way.dry_run or not waiting:
        return
    own_modules.keep(choice.locations.prefix)  # it may be run from the environment that it replaces
    try:
        result = install.install(host, choice, tell)
    finally:
        tell.close()
    show.show_kept(tell, result.outcome.kept)
    command = _command(host, choice.locations)
    show.show_result(tell, choice.profile.name, command, result.outcome.result)


def _profile_file(given: Given) -> str | None:
    """Return the whole path of the profile, where it is a file."""
    named = given.profile
    return os.path.abspath(named) if named is not None and is_path(named) else None


def _chosen(given: Given, choice: install.Choice, *, yes: bool, accepts: bool) -> Answers:
    """Return what this install came to as answers, so that they lead to the same plan again."""
    values = {
        "profile": _profile_file(given) or given.profile or profiles.DEFAULT,
        "model": choice.model.id if choice.model else None,
        "device": choice.device_name,
        "use_case": choice.profile.model.use_case if choice.model else None,
        "port": choice.port if choice.profile.server.enabled else None,
        "scope": choice.locations.scope.value,
        "tune": given.tune,
        "linger": given.linger,
        "root": os.path.abspath(given.root),
        "yes": yes,
        "accept_license": True if accepts else None,
    }
    return answers.of(values, "what was chosen", answering.pinned())


def _command(host: Host, locations: Locations) -> str:
    """Return what to type for the installed program: its name where the PATH finds it."""
    found = locations.commands in host.environ.get("PATH", "").split(":")
    return "local-opus" if found else f"{locations.commands}/local-opus"
