"""What the benchmark tools of TFLite and LiteRT print: timings, and what delegates took."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tfgraphprune.errors import UserError

_DELEGATION = re.compile(
    r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((.*?)\) node, yielding (\d+) partition"
)
_APPLIED = re.compile(
    r"xplicitly applied (.*?) delegate, and the model graph will be (completely|partially)"
)


@dataclass(frozen=True)
class Timing:
    """What one process of the tool measured, in milliseconds and megabytes; None: it didn't say."""

    latency_ms: float
    runs: int
    init_ms: float | None = None
    first_ms: float | None = None
    memory_mb: float | None = None


@dataclass(frozen=True)
class Delegation:
    """What a delegate took.

    Attributes:
        delegate: its name.
        nodes: how many nodes it runs; None: all or some, as `partitions` says.
        of_nodes: how many there were when it was asked.
        partitions: into how many parts the graph fell; 1 is the whole graph. None: several.
    """

    delegate: str
    nodes: int | None
    of_nodes: int | None
    partitions: int | None

    def __str__(self) -> str:
        if self.nodes is None:
            return f"{self.delegate}: {'all' if self.partitions == 1 else 'some'} nodes"
        return f"{self.delegate}: {self.nodes} of {self.of_nodes} nodes, {self.partitions} parts"


def parse_timing(text: str) -> Timing:
    """Read what a tool measured, in either dialect; the median of the runs where it prints one.

    Raises:
        UserError: there are no timings in it.
    """
    # Both tools log a line of microseconds for the warm-up and one for the runs; LiteRT's summary
    # is in milliseconds with two digits, too few for small networks.
    counts = re.findall(r"\bcount=\d+.*", text)
    stats = dict(re.findall(r"(\w+)=(-?[\d.]+(?:e[+-]?\d+)?)", counts[-1])) if counts else {}
    micro = _first_number(stats.get("median"), stats.get("avg"), stats.get("curr"))
    latency = None if micro is None else micro / 1e3
    runs = int(stats.get("count", 0))
    summary = re.search(r"Inference \(avg\): +([\d.e+-]+) ms \((\d+) runs\)", text)
    if latency is None and summary:
        latency, runs = float(summary[1]), int(summary[2])
    if latency is None:
        latency = _milliseconds(r"Inference \(avg\): {}", r"Inference \(avg\): +{} ms", text)
    if latency is None:
        raise UserError(
            "The benchmark tool printed no timings: run it by hand on the device to see why."
        )
    return Timing(
        latency_ms=latency,
        runs=runs,
        init_ms=_milliseconds(r"in us: Init: {}", r"initialization: {} ms", text),
        first_ms=_milliseconds(r"First inference: {}", r"Warmup \(first\): +{} ms", text),
        memory_mb=_search(r"(?:footprint delta.*overall=|Overall footprint: +){}", text),
    )


def parse_delegations(text: str) -> tuple[Delegation, ...]:
    """What each delegate took, from the log of a tool; the same line twice counts once."""
    found = dict.fromkeys(_DELEGATION.findall(text))
    if found:
        return tuple(Delegation(name, int(n), int(of), int(p)) for n, of, name, p in found)
    applied = dict.fromkeys(_APPLIED.findall(text))
    return tuple(
        Delegation(name, None, None, 1 if how == "completely" else None) for name, how in applied
    )


def _first_number(*texts: str | None) -> float | None:
    return next((float(text) for text in texts if text is not None), None)


def _milliseconds(in_microseconds: str, in_milliseconds: str, text: str) -> float | None:
    """A time by the patterns of TFLite's tool and of LiteRT's."""
    found = _search(in_microseconds, text)
    return _search(in_milliseconds, text) if found is None else found / 1e3


def _search(pattern: str, text: str) -> float | None:
    """The number at the braces of a pattern."""
    match = re.search(pattern.replace("{}", r"([\d.]+(?:e[+-]?\d+)?)"), text)
    return float(match[1]) if match else None
