"""What each JSON line holds: docs/events.schema.json is made from this, tests hold to it."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter

from local_opus.values import HostFacts, Plan, Value

_SCHEMA_ID = "events.schema.json"
_Steps = tuple[str, ...]


class _Line(Value):
    seq: int = Field(ge=1, description="number of the line; grows by one, so that a gap is a loss")


class Begin(_Line):
    """The first line of every run."""

    event: Literal["begin"]
    schema_version: int = Field(description="of these lines: grows when a field changes or goes")
    program: str = Field(description="version of the program")
    command: str = Field(description="e.g. install, uninstall")


class Message(_Line):
    """A line for people; its words may change in any version."""

    event: Literal["message"]
    text: str = Field(description="without markup")


class Facts(HostFacts, _Line):
    """What the machine is, as `detect --json` tells it (detect.schema.json)."""

    event: Literal["facts"]


class Planned(Plan, _Line):
    """What an install will do."""

    event: Literal["plan"]
    pending: _Steps = Field(
        description="ids of what is still to be done or taken back, self-test where only that is; "
        "empty: no changes"
    )


class NoChanges(_Line):
    """The machine is as planned: the end of an install."""

    event: Literal["no_changes"]
    profile: str = Field(description="its name")


class AnswersSaved(_Line):
    """The file of --save-answers holds what was chosen."""

    event: Literal["answers_saved"]
    path: str = Field(description="absolute")


class Started(_Line):
    """A step begins: an action is done or taken back, or the self-test runs."""

    event: Literal["started"]
    step: str = Field(description="the action's id in the plan, or self-test")
    summary: str = Field(description="for people")


class Progress(_Line):
    """How far the step that started last has come; of one part ten lines a second at most."""

    event: Literal["progress"]
    step: str = Field(description="the part of the step, e.g. download; words for people")
    done: int = Field(description="bytes, or parts")
    total: int | None = Field(description="null: not known")
    rate: float | None = Field(description="of done, a second; null: not known yet")
    seconds_left: float | None = Field(description="at that rate; null: not known")


class Finished(_Line):
    """A step has ended. A step that fails has no such line: `error` or `take back` follow."""

    event: Literal["finished"]
    step: str = Field(description="as in started")
    outcome: Literal["done", "taken back", "kept"] = Field(
        description="kept: not taken back, a kept or error line says why"
    )


class Kept(_Line):
    """What was left as the user made it, or could not be taken back."""

    event: Literal["kept"]
    text: str = Field(description="the path, and why")


class Installed(_Line):
    """An install has ended well; the fields from `url` on are those of a server."""

    event: Literal["installed"]
    profile: str = Field(description="its name")
    self_test: str | None = Field(default=None, description="in an image: why it was not run")
    program: str | None = Field(default=None, description="what the installed program says it is")
    url: str | None = Field(default=None, description="of the server, without /v1")
    model: str | None = Field(default=None, description="the model that answered")
    files: int | None = Field(default=None, description="weights files that were verified")
    trust: tuple[str, ...] | None = Field(default=None, description="how they were proven")
    canary: float | None = Field(default=None, description="mean log-probability; null: no band")
    canary_band: tuple[float, float] | None = Field(default=None, description="low and high")
    tokens: int | None = Field(default=None, description="of the answer that was timed")
    tokens_per_second: float | None = Field(default=None, description="after the first token")
    first_token_seconds: float | None = Field(default=None, description="over HTTP")
    tuned: str | None = Field(
        default=None, description="what OpenVINO is tuned to; null: nothing was tuned"
    )
    lingering: str | None = Field(
        default=None,
        description="whether a user's node goes on without a login, and how to have that; null: "
        "nobody's login matters",
    )


class StepBack(Value):
    """An action that would be taken back."""

    step: str = Field(description="the action's id in the plan")
    summary: str = Field(description="for people")


class WayBack(_Line):
    """What an uninstall would do: the end of one with --dry-run, but for `kept` and `message`."""

    event: Literal["way_back"]
    steps: tuple[StepBack, ...] = Field(description="in their order; empty: nothing is installed")
    kept: tuple[str, ...] = Field(description="what would be left as the user made it, and why")
    weights_left: int = Field(description="bytes that would stay in the store")
    weights_removed: int = Field(description="bytes that would go from the store: --purge")


class Uninstalled(_Line):
    """An uninstall has ended well."""

    event: Literal["uninstalled"]
    nothing: bool = Field(description="whether nothing was installed")
    kept: tuple[str, ...] = Field(description="what was left as the user made it, and why")
    weights_left: int = Field(description="bytes that stay in the store; --purge removes them")


class Error(_Line):
    """The last line of a run that fails."""

    event: Literal["error"]
    message: str = Field(description="one line that names the file, field or host")
    remedy: str = Field(description="one line that says what to do")
    details: tuple[str, ...] = Field(description="further problems of the same kind")
    exit_code: int = Field(description="of the process")


Line = Annotated[
    Begin | Message | Facts | Planned | NoChanges | AnswersSaved | Started | Progress | Finished
    | Kept | Installed | WayBack | Uninstalled | Error,
    Field(discriminator="event"),
]  # fmt: skip
_LINE: TypeAdapter[Line] = TypeAdapter(Line)


def read(line: str) -> Line:
    """Return one line of --json as its value. Raises ValueError where it holds to no event."""
    return _LINE.validate_json(line)


def schema_text() -> str:
    """Return the schema as docs/events.schema.json holds it."""
    schema: dict[str, JsonValue] = _LINE.json_schema(mode="validation")
    title = "One line of `local-opus install --json`, of `upgrade` or of `uninstall`"
    head: dict[str, JsonValue] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": _SCHEMA_ID,
        "title": title,
    }
    return json.dumps(head | schema, indent=2) + "\n"
