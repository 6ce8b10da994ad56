"""TFLite files on an Android device, the whole way: push, run, compare with the host, time."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tfgraphprune.errors import UserError
from tfgraphprune.tflite.device.adb import Device
from tfgraphprune.tflite.device.benchmark import RunSettings, profile_flags
from tfgraphprune.tflite.device.output import Timing, parse_delegations
from tfgraphprune.tflite.device.parity import Parity, arrange_inputs, check_parity
from tfgraphprune.tflite.device.profile import OpTime, parse_profile
from tfgraphprune.tflite.device.report import DeviceReport, FileReport
from tfgraphprune.tflite.device.session import Measured, Session, open_session
from tfgraphprune.tflite.latency import Latency, latency_ratio, summarise
from tfgraphprune.tflite.runtime import Runner

Paths = Mapping[str, str | os.PathLike[str]]


def device_latency(
    paths: Paths,
    *,
    benchmark: str | os.PathLike[str],
    device: Device | None = None,
    settings: RunSettings | None = None,
) -> dict[str, Latency]:
    """Time TFLite files on an Android device, as `host_latency` does here.

    The files take turns, in an order that is reversed each time: take ratios with
    `latency_ratio`. A sample is what one process of the tool measured: the median of its runs
    where it prints that, or else their mean.

    Args:
        paths: TFLite files by name.
        benchmark: TFLite's `benchmark_model`, or LiteRT's, built for the device.
        device: which device; None takes the only one that is attached.
        settings: backend, threads, runs and repeats; `settings.repeats` are the samples.

    Raises:
        UserError: a file, tool or device that can't be used, or a device that went away.
    """
    _read(paths)
    with open_session(device or Device(), benchmark, settings or RunSettings()) as session:
        measured = session.measure({name: session.words(Path(p)) for name, p in paths.items()})
    return {name: _latency(each) for name, each in measured.items()}


def check_on_device(
    paths: Paths,
    *,
    benchmark: str | os.PathLike[str],
    device: Device | None = None,
    settings: RunSettings | None = None,
    inputs: np.ndarray | Mapping[str, np.ndarray] | None = None,
    examples: int = 8,
    profile: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> DeviceReport:
    """Run TFLite files on an Android device: outputs against LiteRT here, latency, delegates.

    Everything goes through the `adb` client into a folder of its own under /data/local/tmp, which
    is removed at the end, also after an error, a lost cable or a killed program.

    Args:
        paths: TFLite files by name; the first is what the others are compared with.
        benchmark: TFLite's `benchmark_model`, or LiteRT's, built for the device.
        device: which device; None takes the only one that is attached.
        settings: backend, threads, runs and repeats.
        inputs: real examples, one array or arrays by input name; None compares no outputs.
        examples: how many of them to run.
        profile: also time each operation, in a process of its own.
        progress: is told what happens.

    Returns:
        The report; its `check` says whether the outputs lie within a tolerance.

    Raises:
        UserError: a file, tool, input or device that can't be used, or a device that went away.
    """
    if examples < 1:
        raise UserError(f"examples must be at least 1, not {examples!r}.")
    runners = _read(paths)
    arrays = {
        name: arrange_inputs(runner, name, inputs, examples)
        for name, runner in runners.items()
        if inputs is not None
    }
    settings = settings or RunSettings()
    with open_session(device or Device(), benchmark, settings, progress) as session:
        commands = {name: session.words(Path(path)) for name, path in paths.items()}
        parities: dict[str, Parity] = {}
        for name, rows in arrays.items():
            progress(f"{session.adb.serial}: {name}, outputs of {len(rows[0])} examples")
            parities[name] = check_parity(
                session.folder, session.tool, commands[name], runners[name], rows, session.run
            )
        measured = session.measure(commands)
        profiles = {name: _profile(session, words) for name, words in commands.items() if profile}
    latencies = {name: _latency(each) for name, each in measured.items()}
    baseline = next(iter(latencies.values()))
    files = tuple(
        FileReport(
            name=name,
            bytes=os.stat(path).st_size,
            latency=latencies[name],
            ratio=latency_ratio(latencies[name], baseline),
            runs=min(timing.runs for timing in measured[name].timings),
            init_ms=_median(measured[name], lambda timing: timing.init_ms),
            first_ms=_median(measured[name], lambda timing: timing.first_ms),
            memory_mb=_median(measured[name], lambda timing: timing.memory_mb),
            delegations=parse_delegations(measured[name].logs[-1]),
            parity=parities.get(name),
            profile=profiles.get(name, ()),
        )
        for name, path in paths.items()
    )
    return DeviceReport(
        device=session.facts,
        backend=settings.backend,
        threads=settings.threads,
        files=files,
        notes=_notes(session, files),
    )


def _read(paths: Paths) -> dict[str, Runner]:
    if not paths:
        raise UserError("paths must name at least one TFLite file, but it is empty.")
    return {name: Runner(path) for name, path in paths.items()}


def _profile(session: Session, words: list[str]) -> tuple[OpTime, ...]:
    output = f"{session.folder.path}/profile.csv"
    session.run([*words, *profile_flags(session.tool, output)])
    return parse_profile(session.folder.read(output).decode("utf-8", "replace"))


def _latency(measured: Measured) -> Latency:
    return summarise([timing.latency_ms for timing in measured.timings])


def _median(measured: Measured, figure: Callable[[Timing], float | None]) -> float | None:
    figures = [value for value in map(figure, measured.timings) if value is not None]
    return float(np.median(figures)) if figures else None


def _notes(session: Session, files: tuple[FileReport, ...]) -> tuple[str, ...]:
    notes = []
    if session.throttled:
        notes.append(
            f"{session.throttled} processes started while the device was throttled: let it cool "
            "and measure again, or allow a longer --cool_seconds"
        )
    if session.settings.backend != "cpu":
        for file in files:
            if all("xnnpack" in each.delegate.lower() for each in file.delegations):
                notes.append(
                    f"the tool didn't say that {session.settings.backend} runs any node of "
                    f"{file.name}: the figures may be those of the CPU"
                )
    if session.folder.left:
        notes.append(
            f"{session.folder.path} could not be removed from the device: remove it with adb shell"
        )
    return tuple(notes)
