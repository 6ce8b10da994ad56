"""Budget: what the pruned model may cost."""

from __future__ import annotations

from dataclasses import dataclass

from tfgraphprune.errors import UserError
from tfgraphprune.settings.checks import is_number, positive_integer

LIMITS = (
    "macs", "macs_ratio", "params", "params_ratio", "file_bytes", "file_bytes_ratio", "latency_ms",
    "latency_ratio",
)  # fmt: skip
"""Entries of a `Budget` that limit something."""


@dataclass(frozen=True)
class Budget:
    """What the pruned model may cost; all entries that are given hold at once.

    Attributes:
        macs: multiply-accumulates for one example, at most.
        macs_ratio: the same as a share of the dense model's, in (0, 1].
        params: parameters, at most.
        params_ratio: the same as a share of the dense model's, in (0, 1].
        file_bytes: bytes of the float32 TFLite file, at most.
        file_bytes_ratio: the same as a share of the dense model's, in (0, 1].
        latency_ms: milliseconds of the float32 TFLite file for one example on `device`, at most.
        latency_ratio: the same as a share of the dense model's, in (0, 1].
        device: what latency is measured on: `host` is this machine, `android` the only device that
            adb knows, and anything else a device's serial.
        benchmark: for a device, TFLite's `benchmark_model` built for it, on this machine.
        threads: threads that a latency is measured with.
        latency_table: file that keeps the device's latencies of single operators between runs; in
            the run's folder by default.

    Raises:
        UserError: nothing is given, a number is out of range, or a cost is given twice.
    """

    macs: float | None = None
    macs_ratio: float | None = None
    params: float | None = None
    params_ratio: float | None = None
    file_bytes: float | None = None
    file_bytes_ratio: float | None = None
    latency_ms: float | None = None
    latency_ratio: float | None = None
    device: str = "host"
    benchmark: str | None = None
    threads: int = 1
    latency_table: str | None = None

    def __post_init__(self) -> None:
        given = self.limits
        if not given:
            raise UserError("a Budget must limit something: write for example macs_ratio=0.5.")
        for name, value in given.items():
            if not is_number(value) or value <= 0:
                raise UserError(f"{name} must be a positive number, not {value!r}.")
            if name.endswith("_ratio") and value > 1:
                raise UserError(f"{name} is a share of the dense model in (0, 1], not {value!r}.")
        for name, other in (
            ("macs", "macs_ratio"), ("params", "params_ratio"),
            ("file_bytes", "file_bytes_ratio"), ("latency_ms", "latency_ratio"),
        ):  # fmt: skip
            if name in given and other in given:
                raise UserError(f"give {name} or {other}, not both.")
        positive_integer("threads", self.threads)
        if not isinstance(self.device, str) or not self.device:
            raise UserError(f"device must be 'host', 'android' or a serial, not {self.device!r}.")
        if self.limits_latency and self.device != "host" and self.benchmark is None:
            raise UserError(
                f"latency on the device {self.device!r} needs a benchmark tool: set benchmark to "
                "the file of TFLite's benchmark_model for it."
            )

    @property
    def limits(self) -> dict[str, float]:
        """The entries that limit something, by name."""
        return {name: v for name in LIMITS if (v := getattr(self, name)) is not None}

    @property
    def limits_file(self) -> bool:
        """Whether the size of the file is limited."""
        return self.file_bytes is not None or self.file_bytes_ratio is not None

    @property
    def limits_latency(self) -> bool:
        """Whether a latency is limited."""
        return self.latency_ms is not None or self.latency_ratio is not None
