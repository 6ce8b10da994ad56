"""What was found on a device: as a table, and as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tfgraphprune.tflite.device.facts import DeviceFacts
from tfgraphprune.tflite.device.output import Delegation
from tfgraphprune.tflite.device.parity import Parity
from tfgraphprune.tflite.device.profile import OpTime
from tfgraphprune.tflite.latency import Latency

_OPERATIONS_SHOWN = 10


@dataclass(frozen=True)
class FileReport:
    """One TFLite file on one device.

    Attributes:
        name: what the caller calls it.
        bytes: its size.
        latency: a sample is what one process of the tool measured: the median of its runs where
            it prints that, or else their mean.
        ratio: the latency over that of the first file, paired in time: below 1 is faster.
        runs: runs of each process, at least.
        init_ms: loading and preparing; None where the tool doesn't say, here and below.
        first_ms: the first run.
        memory_mb: memory that the file and its runtime take.
        delegations: what each delegate took.
        parity: the comparison with the host, if there were inputs.
        profile: operations in the order in which they run, if asked for.
    """

    name: str
    bytes: int
    latency: Latency
    ratio: float
    runs: int
    init_ms: float | None
    first_ms: float | None
    memory_mb: float | None
    delegations: tuple[Delegation, ...]
    parity: Parity | None
    profile: tuple[OpTime, ...]


@dataclass(frozen=True)
class DeviceReport:
    """TFLite files on one device.

    Attributes:
        device: the device.
        backend: where they ran: `cpu`, `gpu`, `npu` or `nnapi`.
        threads: CPU threads.
        files: one report each.
        notes: what the reader of the figures must know.
    """

    device: DeviceFacts
    backend: str
    threads: int
    files: tuple[FileReport, ...]
    notes: tuple[str, ...]

    def check(self, *, max_error: float) -> DeviceReport:
        """Return this if every comparison with the host lies within a tolerance.

        Args:
            max_error: largest difference, in standard deviations of the output.

        Raises:
            ToleranceError: one doesn't.
        """
        for file in self.files:
            if file.parity is not None:
                file.parity.check(file.name, self.device.serial, max_error)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def table(self) -> str:
        """The figures for people."""
        device = self.device
        title = ", ".join(
            part
            for part in (
                device.name or "unknown device",
                f"Android {device.android}" if device.android else "",
                device.chip,
                device.serial,
                f"{self.backend} with {self.threads} CPU thread{'s' * (self.threads > 1)}",
            )
            if part
        )
        rows = [
            ["file", "bytes", "median ms", "p10-p90", "ratio", "init ms", "MB", "error", "same"],
            *(_row(file) for file in self.files),
        ]
        lines = [title, *_aligned(rows)]
        for file in self.files:
            lines += [f"{file.name}: {delegation}" for delegation in file.delegations]
        for file in self.files:
            if file.profile:
                lines += _operations(file)
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _row(file: FileReport) -> list[str]:
    latency, parity = file.latency, file.parity
    agreement = None if parity is None else parity.agreement
    return [
        file.name,
        f"{file.bytes:,}",
        f"{latency.median_ms:.3f}",
        f"{latency.p10_ms:.3f}-{latency.p90_ms:.3f}",
        f"{file.ratio:.3f}",
        "-" if file.init_ms is None else f"{file.init_ms:.1f}",
        "-" if file.memory_mb is None else f"{file.memory_mb:.1f}",
        "-" if parity is None else f"{parity.max_error:.1e}",
        "-" if agreement is None else f"{agreement:.1%}",
    ]


def _operations(file: FileReport) -> list[str]:
    slowest = sorted(file.profile, key=lambda each: -each.average_ms)[:_OPERATIONS_SHOWN]
    rows = [
        [f"{each.average_ms:.3f}", f"{each.percent:.1f}%", each.kind, each.name] for each in slowest
    ]
    title = f"{file.name}: slowest of {len(file.profile)} operations"
    return [title, *_aligned([["ms", "share", "type", "name"], *rows])]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if cell == row[0] else cell.rjust(width)
            for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
