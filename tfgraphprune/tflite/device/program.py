"""The logic of the program `check_on_device`: files and flags in, tables and JSON out."""

from __future__ import annotations

import json as json_format
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tfgraphprune.errors import UserError
from tfgraphprune.tflite.device.adb import Device
from tfgraphprune.tflite.device.benchmark import RunSettings
from tfgraphprune.tflite.device.check import check_on_device
from tfgraphprune.tflite.device.report import DeviceReport
from tfgraphprune.workdir import write_atomically


def check_files(
    paths: Sequence[str | os.PathLike[str]],
    *,
    benchmark: str | os.PathLike[str],
    devices: Sequence[Device],
    settings: RunSettings,
    inputs: str | os.PathLike[str] | None = None,
    examples: int = 8,
    max_error: float = 0.1,
    profile: bool = False,
    json: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    show: Callable[[str], None] = print,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Run files on devices, one device after the other, and show what came of it.

    Args:
        paths: TFLite files; the first is what the others are compared with.
        benchmark: the benchmark tool for Android.
        devices: which devices.
        settings: how the files are run.
        inputs: a `.npy` file of examples, or a `.npz` file with an array for each input.
        examples: how many of them to run.
        max_error: how far outputs may be from the host's, in standard deviations of the output.
        profile: also time each operation.
        json: a file for the figures; it is written after each device.
        overwrite: whether that may exist.
        show: takes the tables.
        progress: is told what happens.

    Raises:
        UserError: something that can't be used.
        ToleranceError: outputs too far from the host's; table and file are complete then.
    """
    output = None if json is None else Path(json)
    if output is not None:
        _check_output(output, overwrite)
    arrays = None if inputs is None else _read_inputs(Path(inputs))
    reports: list[DeviceReport] = []
    for device in devices:
        report = check_on_device(
            {os.fspath(path): path for path in paths},
            benchmark=benchmark,
            device=device,
            settings=settings,
            inputs=arrays,
            examples=examples,
            profile=profile,
            progress=progress,
        )
        reports.append(report)
        show(report.table())
        if output is not None:
            content = {"devices": [each.to_dict() for each in reports]}
            write_atomically(output, json_format.dumps(content, indent=2) + "\n")
    for report in reports:
        report.check(max_error=max_error)


def _check_output(path: Path, overwrite: bool) -> None:
    if not path.parent.is_dir():
        raise UserError(f"The folder of {str(path)!r} does not exist: make it first.")
    if path.exists() and not overwrite:
        raise UserError(f"{str(path)!r} exists: give another name, or --overwrite.")


def _read_inputs(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    try:
        content = np.load(path)
        if isinstance(content, np.ndarray):
            arrays: np.ndarray | dict[str, np.ndarray] = content
            each = [content]
        else:
            with content:
                arrays = {name: content[name] for name in content.files}
            each = [*arrays.values()]
    except (OSError, ValueError) as error:
        raise UserError(
            f"Can't read examples from {str(path)!r} ({error}): give a .npy file, or a .npz file "
            "with an array for each input."
        ) from error
    if not each or any(array.ndim < 1 or not len(array) for array in each):
        raise UserError(f"{str(path)!r} must hold a batch of examples, at least one.")
    return arrays
