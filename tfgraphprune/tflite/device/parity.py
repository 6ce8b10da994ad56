"""A file's outputs on the device compared with those of LiteRT here, on the same real inputs."""

from __future__ import annotations

import secrets
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfgraphprune.errors import ToleranceError, UserError
from tfgraphprune.tflite.device.adb import Ended
from tfgraphprune.tflite.device.benchmark import Tool, parity_line
from tfgraphprune.tflite.device.folder import DeviceFolder
from tfgraphprune.tflite.differences import scaled_errors
from tfgraphprune.tflite.runtime import Runner


@dataclass(frozen=True)
class Parity:
    """How the outputs on a device compare with those of LiteRT on the host.

    Attributes:
        max_error: largest absolute difference of an output value, in units of the standard
            deviation of the host's values of that output; over all outputs.
        mean_error: mean of the same differences.
        agreement: share of the examples whose first output is largest at the same place; None
            where that isn't of shape (batch, classes).
        examples: how many examples were run.
    """

    max_error: float
    mean_error: float
    agreement: float | None
    examples: int

    def check(self, name: str, serial: str, max_error: float) -> Parity:
        """Return this if it lies within the tolerance.

        Args:
            name: the file, for the message.
            serial: the device, likewise.
            max_error: the largest `max_error`.

        Raises:
            ToleranceError: it doesn't, or is not a number.
        """
        if not self.max_error <= max_error:
            raise ToleranceError(
                f"{name} on the device {serial} is {self.max_error:.3g} standard deviations of "
                f"the output away from the host, but at most {max_error:.3g} was asked for."
            )
        return self


def arrange_inputs(
    runner: Runner, name: str, inputs: np.ndarray | Mapping[str, np.ndarray], examples: int
) -> list[np.ndarray]:
    """The first examples of the inputs, in the order of a file, in whole batches of it.

    Args:
        runner: the file.
        name: its name, for messages.
        inputs: one array, or arrays by input name; one input may also be called `x`.
        examples: how many to use at most, but one batch at least.

    Raises:
        UserError: the inputs don't fit the file.
    """
    names = runner.input_names
    by_name = dict(inputs) if isinstance(inputs, Mapping) else {"x": inputs}
    if len(names) == 1 and names[0] not in by_name and len(by_name) == 1:
        by_name = {names[0]: next(iter(by_name.values()))}
    missing = [each for each in names if each not in by_name]
    if missing:
        raise UserError(
            f"{name} takes the inputs {', '.join(names)}, but the data have "
            f"{', '.join(by_name)}: give a .npz file with an array for each."
        )
    batch = runner.shapes[0][0]
    count = max(examples // batch, 1) * batch
    arrays = [np.asarray(by_name[each])[:count] for each in names]
    for array, each, shape in zip(arrays, names, runner.shapes, strict=True):
        if array.shape[1:] != shape[1:] or array.dtype.kind not in "fiub":
            raise UserError(
                f"The input {each!r} of {name} takes numbers of shape {shape}, but the data have "
                f"{array.dtype} of shape {array.shape}: give examples for this network."
            )
    shortest = min(len(array) for array in arrays) // batch * batch
    if not shortest:
        raise UserError(f"{name} runs {batch} examples at once: give at least as many.")
    return [array[:shortest] for array in arrays]


def check_parity(
    folder: DeviceFolder,
    tool: Tool,
    words: Sequence[str],
    runner: Runner,
    arrays: Sequence[np.ndarray],
    run: Callable[[list[str]], Ended],
) -> Parity:
    """Run the examples batch by batch on the device, and here, and compare.

    Args:
        folder: the folder on the device.
        tool: the tool there.
        words: the command line that measures the file.
        runner: the same file on this machine.
        arrays: as `arrange_inputs` gives them.
        run: runs a command line on the device, and raises where it fails.

    Raises:
        UserError: the tool can't be given inputs, or writes no outputs.
    """
    if tool.litert or not (tool.knows("input_layer_value_files") and tool.knows("output_filepath")):
        raise UserError(
            "This benchmark tool can't be given inputs: check parity with a newer "
            "benchmark_model of TFLite, or leave the inputs out."
        )
    batch = runner.shapes[0][0]
    expected: list[list[np.ndarray]] = []
    received: list[list[np.ndarray]] = []
    with tempfile.TemporaryDirectory(prefix="tfgraphprune-") as host_folder:
        for start in range(0, len(arrays[0]), batch):
            rows = [array[start : start + batch] for array in arrays]
            files = [
                folder.put_bytes(f"input_{position}", content, Path(host_folder))
                for position, content in enumerate(runner.encode(rows))
            ]
            # A name of its own: outputs of another batch, or file, must not be taken for these.
            output = f"{folder.path}/outputs-{secrets.token_hex(8)}"
            ended = run(parity_line(words, runner.shapes, files, output))
            received.append(runner.decode(_outputs(folder, output, ended, run)))
            expected.append(runner.run(rows))
    return _compare(expected, received)


def _outputs(
    folder: DeviceFolder, output: str, ended: Ended, run: Callable[[list[str]], Ended]
) -> bytes:
    found = run(["sh", "-c", f"test -s {shlex.quote(output)} && echo there || echo nothing"])
    if found.stdout.strip() != "there":
        raise UserError(
            f"The benchmark tool wrote no outputs on the device ({ended.last_line}): free some "
            "storage there, or use a newer benchmark_model."
        )
    return folder.read(output)


def _compare(expected: list[list[np.ndarray]], received: list[list[np.ndarray]]) -> Parity:
    reference = [np.concatenate(column) for column in zip(*expected, strict=True)]
    results = [np.concatenate(column) for column in zip(*received, strict=True)]
    errors = np.concatenate(
        [scaled_errors(mine, theirs) for mine, theirs in zip(reference, results, strict=True)]
    )
    classes = reference[0].ndim == 2 and reference[0].shape[1] > 1
    return Parity(
        max_error=float(errors.max()),
        mean_error=float(errors.mean()),
        agreement=float(np.mean(reference[0].argmax(1) == results[0].argmax(1)))
        if classes
        else None,
        examples=len(reference[0]),
    )
