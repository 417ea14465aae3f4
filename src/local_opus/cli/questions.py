"""The questions of an install, in the order in which they are asked."""

from __future__ import annotations

from dataclasses import replace

from local_opus import profiles
from local_opus.catalog.fitting import fit
from local_opus.catalog.own import load_all as load_catalog
from local_opus.catalog.pick import choose
from local_opus.cli import prompts
from local_opus.cli.given import Given, parse_device
from local_opus.devices import ranking
from local_opus.devices.reasons import figures
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.planner import serving_of
from local_opus.units import size_text
from local_opus.values import HostFacts, Scope
from local_opus.weights.sources import KINDS

_GIB = 1024**3


def ask_profile() -> str:
    """Ask which profile."""
    names = sorted(profiles.names(), key=lambda name: name != profiles.DEFAULT)
    texts = [
        (name, f"{name:<13} {profiles.load(name, lambda path: path).description}") for name in names
    ]
    return prompts.select("Which profile?", texts, profiles.DEFAULT)


def ask_rest(
    given: Given,
    facts: HostFacts,
    profile: profiles.Profile,
    host: Host,
    locations: Locations,
) -> Given:
    """Ask for device and model, where the profile has a server and nothing says which."""
    if not profile.server.enabled:
        return given
    model, device = given.model or profile.model.id, given.device
    if device is None and profile.model.device == "auto":
        there = ranking.ranked(ranking.candidates(facts))
        if len(there) > 1:
            options = [("auto", "auto (the best for the model)")]
            options += [(one.name, figures(one)) for one in there]
            device = prompts.select("Which device?", options, "auto")
    if model is None:
        on = parse_device(device or profile.model.device)
        catalog = load_catalog(host, locations)
        serving = serving_of(profile)
        best = choose(
            catalog, facts, profile.model.use_case, on,
            sources=frozenset(KINDS), serving=serving,
        ).taken.model  # fmt: skip
        found = [(one, fit(one, facts, on, serving)) for one in catalog.models]
        fitting = [(one, its.memory) for one, its in found if its.fits]
        width = max(len(one.id) for one, _ in fitting)
        texts = [
            (one.id, f"{one.id:<{width}} {one.size / _GIB:6.2f} GiB, about {size_text(memory)}"
             f" memory  {one.license.id}" + ("  (recommended here)" if one.id == best.id else ""))
            for one, memory in sorted(fitting, key=lambda each: each[0].size)
        ]  # fmt: skip
        model = prompts.select("Which model?", texts, best.id)
    return replace(given, model=model, device=device)


def ask_scope(host: Host) -> str:
    """Ask for whom; only root can choose."""
    if host.euid != 0:
        return Scope.USER.value
    texts = [("system", "system  for everyone, under /opt, /etc and /var/lib"),
             ("user", "user    for this user alone, in the XDG folders")]  # fmt: skip
    return prompts.select("For whom?", texts, "system")
