"""What `bench device` measured, as a value. Pure."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from local_opus.values import Value


class What(StrEnum):
    """The figures, in the order in which they are measured."""

    INT8 = "int8"
    HALF = "half"
    FP32 = "fp32"
    #: A product with one row: it reads every weight once, as the making of each token does.
    DECODE = "decode"
    DECODE_INT8 = "decode-int8"
    #: Without OpenVINO, for comparison; the CPU only.
    BLAS = "blas-fp32"
    READ = "read"
    COPY = "copy"


UNITS = {
    What.INT8: "TOPS",
    What.HALF: "TFLOPS",
    What.FP32: "TFLOPS",
    What.DECODE: "GB/s",
    What.DECODE_INT8: "GB/s",
    What.BLAS: "TFLOPS",
    What.READ: "GB/s",
    What.COPY: "GB/s",
}
#: What only the processor is asked for: it has no OpenVINO in it.
WITHOUT_OPENVINO = (What.BLAS, What.READ, What.COPY)


class Measurement(Value):
    """One figure of one device, in the unit of ``UNITS``; or why there is none."""

    what: What
    best: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    median: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    low: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="a quarter of the runs was slower"
    )
    high: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="a quarter of the runs was faster"
    )
    runs: int = Field(default=0, ge=0, description="runs that were counted, warm-up not")
    size: str = Field(default="", description="e.g. 4 x [1024,2048]x[2048,2048]")
    precision: str | None = Field(
        default=None, description="in which the products really ran; null: the plugin does not tell"
    )
    kernels: tuple[str, ...] = Field(default=(), description="what ran them, in the plugin's words")
    right: bool | None = Field(default=None, description="the result was right; null: not compared")
    seconds: float = Field(default=0, ge=0, allow_inf_nan=False, description="all it took")
    lacks: str | None = Field(
        default=None, description="why a device can't have this figure; null: it can"
    )
    problem: str | None = Field(default=None, description="what went wrong; null: nothing")

    @model_validator(mode="after")
    def _one_answer(self) -> Measurement:
        figures = (self.best, self.median, self.low, self.high)
        if None in figures and not (self.lacks or self.problem):
            raise ValueError(f"{self.what}: neither a figure nor why there is none")
        return self

    @property
    def spread(self) -> float | None:
        """Half the way between the quartiles, as a share of the median: what one hiccup leaves."""
        if self.high is None or self.median is None or self.low is None:
            return None
        return (self.high - self.low) / 2 / self.median

    @property
    def counts(self) -> bool:
        """There is a figure, of the precision that was asked for, and it was right."""
        return self.median is not None and not (self.lacks or self.problem)


class MeasuredDevice(Value):
    """The figures of one device."""

    name: str = Field(description="OpenVINO's name, e.g. GPU.1")
    full_name: str
    figures: tuple[Measurement, ...]

    @property
    def failed(self) -> bool:
        """Something went wrong; what a device can't have is no failure."""
        return any(figure.problem for figure in self.figures)

    def figure(self, what: What) -> Measurement | None:
        """Return one figure if it counts."""
        found = (one for one in self.figures if one.what is what and one.counts)
        return next(found, None)


class MeasuredMachine(Value):
    """What was measured on this machine."""

    schema_version: int = Field(default=1, description="grows when a field changes or goes")
    openvino: str = Field(description="version of the runtime")
    beside_server: bool = Field(description="a server of this machine ran and competed")
    devices: tuple[MeasuredDevice, ...]
