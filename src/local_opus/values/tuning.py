"""What tuning tries, what it measured, and what it chose."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from local_opus.values.base import Sha256, Value

#: What a machine is tuned for: one answer as soon as possible, or many at once.
Goal = Literal["latency", "throughput"]


class Setting(Value):
    """One change of the default that is tried."""

    name: str = Field(description="as a person reads it, e.g. INFERENCE_NUM_THREADS=4")
    group: str = Field(description="what it changes; of each group one is chosen at most")
    properties: dict[str, JsonValue] = Field(default={}, description="OpenVINO's own")
    scheduler: dict[str, JsonValue] = Field(
        default={},
        description="max_num_seqs, max_num_batched_tokens, dynamic_split_fuse, "
        "enable_prefix_caching",
    )
    how: Literal["batched", "sequential", "graph"] | None = Field(
        default=None, description="null: as the server runs the model"
    )
    changes_answers: bool = Field(
        default=False, description="it calculates otherwise, so the canary is asked"
    )
    never: str | None = Field(default=None, description="why it is measured and never chosen")


class Speed(Value):
    """What one setting came to; a rate is of whole answers, with their prompt."""

    tokens_per_second: float
    decode_tokens_per_second: float
    first_token_seconds: float
    load_seconds: float
    peak_bytes: int


class Ratio(Value):
    """How many times as fast as the default: the median of paired rounds, and its interval."""

    median: float
    low: float
    high: float
    rounds: int
    confidence: float = Field(description="that the true median lies within; 0.95 at least")


class Tried(Value):
    """One row of the table."""

    setting: str
    properties: dict[str, JsonValue] = Field(default={})
    scheduler: dict[str, JsonValue] = Field(default={})
    default_tokens_per_second: float | None = Field(
        default=None, description="the default's, in the same rounds"
    )
    speed: Speed | None = Field(default=None, description="null: it could not be measured")
    ratio: Ratio | None = None
    kept: bool = False
    why: str = Field(description="why it was kept, or why not; one line")


class Chosen(Value):
    """Settings that were chosen; both empty: the default."""

    properties: dict[str, JsonValue] = Field(default={})
    scheduler: dict[str, JsonValue] = Field(default={})

    @property
    def is_default(self) -> bool:
        """Whether nothing was chosen."""
        return not (self.properties or self.scheduler)


class TunedFor(Value):
    """What a result holds for; where one of these is another, it is not used."""

    model: str | None = Field(description="null: a generated graph")
    weights_sha256: Sha256 | None = Field(description="of the weights manifest")
    device: str = Field(description="OpenVINO's name, e.g. CPU or GPU.1")
    device_name: str
    driver: str | None = Field(description="null: the device has none of its own")
    openvino: str = Field(description="version of the package")


class Judged(Value):
    """What the canary text said of the chosen settings."""

    how: Literal["band", "tolerance"] = Field(
        description="the model's measured band, or a distance from the default's mean"
    )
    mean_log_probability: float
    low: float
    high: float


class Tuned(Value):
    """``tuned.json``: what was chosen, for what, and all that was tried."""

    schema_version: Literal[1] = 1
    tuned_for: TunedFor
    goal: Goal
    #: The properties that the profile gave when this was measured: who edits one of them since in
    #: openvino.json means it.
    base: dict[str, JsonValue]
    chosen: Chosen
    gain: Ratio | None = Field(default=None, description="of the chosen, verified; null: none is")
    judged: Judged | None = None
    noise: float | None = Field(default=None, description="a gain must be above it; 0.03 is 3 %")
    tried: list[Tried] = Field(default=[])
    seconds: float
    at: str = Field(description="when, ISO 8601 in UTC")
    problem: str | None = Field(default=None, description="why nothing could be measured")
    sum: Sha256 | None = Field(
        default=None, description="of all the rest; another one: edited since it was written"
    )


class TuningOrder(Value):
    """What is to be tuned, and what may be tried: plain data for a plan and its receipt."""

    goal: Goal
    seconds: int = Field(ge=1, le=600, description="of all of it, at most")
    settings: tuple[Setting, ...]
    device: str = Field(description="OpenVINO's name, e.g. CPU or GPU.1")
    device_name: str
    driver: str | None
    openvino: str
    base: dict[str, JsonValue] = Field(description="the profile's properties: the default here")
    model: str | None = Field(description="null: a generated graph")
    folder: str | None = Field(default=None, description="of the variant; null: a generated graph")
    context_length: int = 2048
    cache_size_gb: int = 1
    memory: int = Field(default=0, description="bytes that one such server needs")
    text: str | None = Field(default=None, description="of the canary")
    band: tuple[float, float] | None = Field(
        default=None, description="of its mean log-probability; null: none was measured"
    )

    def holds_for(self, weights_sha256: str | None) -> TunedFor:
        """Return what a result of this order holds for."""
        return TunedFor(
            model=self.model,
            weights_sha256=weights_sha256,
            device=self.device,
            device_name=self.device_name,
            driver=self.driver,
            openvino=self.openvino,
        )
