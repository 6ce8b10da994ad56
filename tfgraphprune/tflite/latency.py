"""Latency of TFLite files on this machine, measured so that ratios hold while it is busy."""

from __future__ import annotations

import os
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from tfgraphprune.errors import UserError
from tfgraphprune.tflite.runtime import Runner

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class Latency:
    """Latency of one file, on this machine or on a device.

    Attributes:
        median_ms: median of the runs, in milliseconds.
        p10_ms: their tenth percentile.
        p90_ms: their ninetieth percentile.
        runs: how many there were.
        samples_ms: each run; equal positions of files measured together were neighbours in time.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    runs: int
    samples_ms: tuple[float, ...] = field(repr=False)


def host_latency(
    paths: Mapping[str, str | os.PathLike[str]],
    *,
    runs: int = 50,
    warmup: int = 5,
    threads: int = 1,
) -> dict[str, Latency]:
    """Time TFLite files through LiteRT (XNNPACK), one example a run.

    The files take turns run by run, in an order that is reversed each time, so that a slow moment
    of the machine meets them all: take ratios with `latency_ratio`. int8 figures of an x86
    machine say little about a phone.

    Args:
        paths: TFLite files by name; a free batch counts as 1.
        runs: timed runs of each file.
        warmup: runs of each file before those.
        threads: threads of LiteRT.

    Raises:
        UserError: no files, a file that is missing or broken, or a count out of range.
    """
    return host_latency_by_threads(paths, [threads], runs=runs, warmup=warmup)[threads]


def host_latency_by_threads(
    paths: Mapping[str, str | os.PathLike[str]],
    threads: Sequence[int] = (1, 2, 4),
    *,
    runs: int = 50,
    warmup: int = 5,
) -> dict[int, dict[str, Latency]]:
    """Time TFLite files with several numbers of threads, all taking turns as in `host_latency`.

    Args:
        paths: TFLite files by name; a free batch counts as 1.
        threads: numbers of threads of LiteRT, each once; more than the machine has cores is slow.
        runs: timed runs of each file and number of threads.
        warmup: runs before those.

    Returns:
        For each number of threads the latencies by name.

    Raises:
        UserError: no files or numbers, a file that is missing or broken, or a count out of range.
    """
    if not paths:
        raise UserError("paths must name at least one TFLite file, but it is empty.")
    if not threads or len(set(threads)) != len(threads):
        raise UserError(f"threads must hold different numbers, at least one, not {[*threads]}.")
    for name, number, least in (
        ("runs", runs, 1),
        ("warmup", warmup, 0),
        ("threads", min(threads), 1),
    ):
        if number < least:
            raise UserError(f"{name} must be at least {least}, not {number!r}.")
    runners = {
        (count, name): Runner(path, threads=count)
        for count in threads
        for name, path in paths.items()
    }
    found = _take_turns(runners, runs, warmup)
    return {count: {name: found[count, name] for name in paths} for count in threads}


def latency_ratio(latency: Latency, baseline: Latency) -> float:
    """Median over the runs of `latency / baseline`, paired in time: below 1 is faster.

    Args:
        latency: a file's latency.
        baseline: that of another, from the same call of `host_latency` or `device_latency`.

    Raises:
        UserError: different numbers of runs: they were not measured together.
    """
    if latency.runs != baseline.runs:
        raise UserError(
            f"A ratio needs latencies of one call, but these have {latency.runs} and "
            f"{baseline.runs} runs: measure both files together."
        )
    return float(np.median(np.divide(latency.samples_ms, baseline.samples_ms)))


def _take_turns(runners: Mapping[_Key, Runner], runs: int, warmup: int) -> dict[_Key, Latency]:
    for runner in runners.values():
        generator = np.random.default_rng(0)
        runner.set_inputs([generator.random(shape, np.float32) for shape in runner.shapes])
        for _ in range(warmup):
            runner.invoke()
    samples: dict[_Key, list[float]] = {name: [] for name in runners}
    order = list(runners)
    for _ in range(runs):
        for name in order:
            started = time.perf_counter_ns()
            runners[name].invoke()
            samples[name].append((time.perf_counter_ns() - started) / 1e6)
        order.reverse()
    return {name: summarise(each) for name, each in samples.items()}


def summarise(samples: list[float]) -> Latency:
    """The figures of some runs, in milliseconds."""
    low, median, high = np.percentile(samples, [10, 50, 90])
    return Latency(float(median), float(low), float(high), len(samples), tuple(samples))
