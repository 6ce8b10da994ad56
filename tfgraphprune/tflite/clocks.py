"""What TFLite files are timed on: this machine, or a device behind adb."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from tfgraphprune.errors import UserError
from tfgraphprune.settings import Budget
from tfgraphprune.tflite.latency import Latency, host_latency
from tfgraphprune.tflite.latency_table import Clock

_NETWORKS_MS = 4000.0
"""Time for whole networks on this machine; slow ones run less often, and vary less."""


@dataclass(frozen=True)
class Clocks:
    """How a device is asked for latencies.

    Attributes:
        device: what is measured: the device, its runtime, threads.
        operators: quick, for the many files of a table.
        networks: careful, for whole networks.
    """

    device: str
    operators: Clock
    networks: Clock


def clocks(budget: Budget) -> Clocks:
    """The clocks of a budget's device.

    Raises:
        UserError: the benchmark tool is missing, or the device can't be reached.
    """
    return _host(budget.threads) if budget.device == "host" else _device(budget)


def _host(threads: int) -> Clocks:
    def operators(paths: Mapping[str, Path]) -> dict[str, Latency]:
        return host_latency(paths, runs=20, warmup=3, threads=threads)

    def networks(paths: Mapping[str, Path]) -> dict[str, Latency]:
        first = host_latency(paths, runs=1, warmup=1, threads=threads)
        round_ms = sum(each.median_ms for each in first.values())
        runs = int(np.clip(_NETWORKS_MS / round_ms, 15, 100))
        return host_latency(paths, runs=runs, warmup=3, threads=threads)

    runtime = metadata.version("ai-edge-litert")
    device = f"{platform.machine()} host, LiteRT {runtime}, {threads} threads"
    return Clocks(device, operators, networks)


def _device(budget: Budget) -> Clocks:
    from tfgraphprune.tflite.device.adb import Device
    from tfgraphprune.tflite.device.benchmark import RunSettings
    from tfgraphprune.tflite.device.check import device_latency

    tool = budget.benchmark
    if tool is None or not Path(tool).is_file():
        raise UserError(f"there is no benchmark tool {tool}: give the file of benchmark_model.")
    device = Device(None if budget.device == "android" else budget.device)
    quick = RunSettings(threads=budget.threads, runs=20, warmup=2, min_seconds=0.0, repeats=1)
    slow = RunSettings(threads=budget.threads)

    def operators(paths: Mapping[str, Path]) -> dict[str, Latency]:
        return device_latency(paths, benchmark=tool, device=device, settings=quick)

    def networks(paths: Mapping[str, Path]) -> dict[str, Latency]:
        return device_latency(paths, benchmark=tool, device=device, settings=slow)

    name = f"{budget.device}, {Path(tool).name}, {budget.threads} threads"
    return Clocks(name, operators, networks)
