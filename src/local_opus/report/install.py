"""What an install shows a person: the machine, the plan, the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue
from rich.markup import escape

from local_opus.report import fits
from local_opus.report.reporter import Reporter
from local_opus.units import size_text
from local_opus.values import HostFacts, Plan


def show_machine(tell: Reporter, facts: HostFacts) -> None:
    """One line each for what decides the choice."""
    cpu = facts.cpu
    isa = ", ".join(word for word in cpu.isa if word.startswith(("avx", "amx"))) or "no AVX"
    name = escape(f"{facts.os.name}, {cpu.model}, {cpu.usable_cores:g} cores")
    tell.say(f"[bold]This machine[/bold]  {name}")
    tell.say(f"              {isa}")
    tell.say(
        f"              {size_text(facts.memory.usable)} memory, "
        f"{size_text(facts.disk.free)} disk free"
    )
    names = [f"{device.name} ({device.full_name})" for device in facts.openvino.devices]
    usable = escape(", ".join(names) or f"nothing: {facts.openvino.problem}")
    version = (facts.openvino.version or "-").partition("-")[0]
    tell.say(f"              OpenVINO {version} can use: {usable}")


def show_plan(tell: Reporter, plan: Plan, pending: Sequence[str]) -> None:
    """List the actions that will run; a settled one is counted only."""
    settled = len(plan.actions) - sum(action.id in pending for action in plan.actions)
    on = plan.device_name or plan.device
    model = f", model {plan.model} on {on}" if plan.model else ", no model"
    tell.say(f"[bold]Plan[/bold]          profile {plan.profile}, scope {plan.scope}{model}")
    for number, line in enumerate(plan.reasons):
        tell.say(f"{'              ' if number else '[bold]Why[/bold]           '}{escape(line)}")
    if plan.memory is not None:
        tell.say(f"  memory: {escape(fits.memory_text(plan.memory))}")
    if plan.disk is not None:
        tell.say(f"  disk: {escape(fits.disk_text(plan.disk))}")
    for action in plan.actions:
        if action.id in pending:
            tell.say(f"  • {escape(action.summary)}")
    if settled:
        tell.say(f"  ({settled} already as planned)")


def show_kept(tell: Reporter, kept: Sequence[str]) -> None:
    """Name what was left as the user made it."""
    for line in kept:
        tell.event("kept", {"text": line})
        tell.say(f"[yellow]kept[/yellow] {escape(line)}")


def show_result(
    tell: Reporter, profile: str, command: str, result: Mapping[str, JsonValue]
) -> None:
    """Say what works now, by what it was seen, and what to type next (with ``command``)."""
    tell.event("installed", {"profile": profile, **result})
    if "url" not in result:
        program = escape(str(result.get("program") or f"self-test {result.get('self_test')}"))
        tell.say(f"[bold green]Done.[/bold green] Profile {profile}; {program}")
        tell.say("Next:")
        for words in ("detect", "models list", "uninstall"):
            tell.say(f"  {escape(command)} {words}")
        return
    trust = result.get("trust")
    kinds = ", ".join(map(str, trust)) if isinstance(trust, list) else ""
    tell.say("[bold green]It works.[/bold green]")
    tell.say(f"  endpoint    {result['url']}/v1 (OpenAI's API)")
    tell.say(f"  model       {result['model']}: this model answers, and no other")
    tell.say(f"  verified    {result['files']} files by size, sha256 and structure ({kinds})")
    if result.get("canary") is not None:
        band = result["canary_band"]
        tell.say(f"  canary      mean log-probability {result['canary']}, band {escape(str(band))}")
    else:
        tell.say("  canary      none: no band was measured for this model")
    tell.say(
        f"  speed       {result['tokens_per_second']} tokens/s, "
        f"first token after {result['first_token_seconds']} s"
    )
    if result.get("tuned") is not None:
        tell.say(f"  tuned       {escape(str(result['tuned']))}")
    if result.get("lingering") is not None:
        tell.say(f"  lingering   {escape(str(result['lingering']))}")
    tell.say("Next:")
    for words in ('chat "What is the capital of France?"', "status", "verify", "uninstall"):
        tell.say(f"  {escape(command)} {words}")
