"""Where a TFLite file loses accuracy: its tensors beside the Keras model's, layer by layer."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import tf_keras as keras

from tfgraphprune.errors import UserError
from tfgraphprune.keras3 import is_keras3_model, twin
from tfgraphprune.tflite.causes import cause_of, weights_of
from tfgraphprune.tflite.matching import Match, Reference
from tfgraphprune.tflite.runtime import Runner
from tfgraphprune.tflite.signature import iterate, model_inputs, model_outputs

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class LayerError:
    """What one operation of a file gives, compared with the Keras layer that it came from.

    Attributes:
        layer: the last Keras layer whose work the operation has done; `outer/inner` in a nested
            model.
        operation: its name in TFLite.
        error: root mean square of the differences, in units of the standard deviation of the
            layer's output in Keras.
        increase: how much larger that is than the largest error among the operation's inputs.
        cause: why it loses, one of the names in `tfgraphprune.tflite.causes`; empty where the
            increase is below the threshold.
        advice: what to do about it, in a sentence; likewise.
    """

    layer: str
    operation: str
    error: float
    increase: float
    cause: str = ""
    advice: str = ""


@dataclass(frozen=True)
class LayerComparison:
    """All operations of a file that could be compared, in the order in which they run.

    Attributes:
        layers: one entry an operation.
        threshold: the increase above which one counts as losing.
        unmatched: operations for which no tensor of the Keras model was found.
    """

    layers: tuple[LayerError, ...]
    threshold: float
    unmatched: int

    @property
    def losing(self) -> list[LayerError]:
        """The operations that lose more than the threshold, the worst first."""
        found = [each for each in self.layers if each.increase > self.threshold]
        return sorted(found, key=lambda each: -each.increase)

    def __str__(self) -> str:
        wide = max([5, *(len(each.layer) for each in self.layers)])
        lines = [f"{'layer':<{wide}}  {'operation':<24}  error  increase"]
        for each in self.layers:
            mark = f"  {each.cause}" if each.cause else ""
            lines.append(
                f"{each.layer:<{wide}}  {each.operation:<24}  {each.error:5.3f}  "
                f"{each.increase:+8.3f}{mark}"
            )
        advice = {each.cause: each.advice for each in self.losing}
        lines += [f"{cause}: {text}" for cause, text in advice.items()]
        return "\n".join(lines)


def compare_layers(
    path: str | os.PathLike[str],
    model: keras.Model,
    data: Any,
    *,
    threshold: float = 0.05,
    examples: int = 50,
) -> LayerComparison:
    """Run a TFLite file and its Keras model, and compare what each operation gives.

    Tensors in the file carry the names of the TensorFlow operations that they come from. Where
    several were fused into one, it is the last of them that is compared.

    Args:
        path: a file that `export_tflite` wrote.
        model: the model that it was made from.
        data: `(x, y)` arrays, whose labels may be None, or a `tf.data.Dataset` of batches of `x`
            or `(x, y)`.
        threshold: the increase of an error above which an operation counts as losing.
        examples: how many examples to run, from the first on.

    Raises:
        UserError: a file that is missing, broken or of another model, no examples, or a count or
            threshold out of range.
    """
    if examples < 1 or not threshold > 0:
        raise UserError(
            f"examples must be at least 1 and threshold above 0, not {examples!r} and "
            f"{threshold!r}."
        )
    model = twin(model) if is_keras3_model(model) else model
    inputs = model_inputs(model)
    names = [each.name for each in inputs], model_outputs(model)
    runner = Runner(path, inputs=names[0], outputs=names[1], keep_tensors=True)
    if [shape[1:] for shape in runner.shapes] != [each.shape for each in inputs]:
        raise UserError(
            f"The file {os.fspath(path)!r} takes inputs of shape {runner.shapes}, but the model "
            f"takes examples of shape {[each.shape for each in inputs]}: "
            "give the model it was made from."
        )
    batch = runner.shapes[0][0]
    reference = Reference(model, inputs, batch)
    matches: dict[int, Match] = {}
    sums: dict[int, _Sums] = {}
    used = 0
    for arrays, _ in iterate(data, inputs, batch, "data"):
        for start in range(0, len(arrays[0]) - batch + 1, batch):
            part = [array[start : start + batch] for array in arrays]
            runner.run(part)
            if not matches:
                matches = reference.match(runner, part)
                sums = {index: _Sums() for index in matches}
            details = runner.tensors()
            for index, expected in reference.values(matches, part).items():
                sums[index].add(expected, runner.tensor(details[index]), details[index])
            used += batch
            if used >= examples:
                break
        if used >= examples:
            break
    if not used:
        raise UserError(f"data has no full batch of {batch} examples: give at least one.")
    return _summarise(runner, matches, sums, threshold)


class _Sums:
    """Running sums over the examples of one tensor."""

    def __init__(self) -> None:
        self.count = 0
        self.total = self.squares = self.differences = 0.0
        self.clipped = 0

    def add(self, expected: np.ndarray, received: np.ndarray, details: dict[str, Any]) -> None:
        expected = expected.astype(np.float64)
        self.count += expected.size
        self.total += float(expected.sum())
        self.squares += float(np.square(expected).sum())
        self.differences += float(np.square(expected - received).sum())
        scale, zero_point = details["quantization"]
        if scale and np.issubdtype(details["dtype"], np.integer):
            limits = np.iinfo(details["dtype"])
            # A value that rounds to the last step is not clipped yet.
            low, high = ((limit - zero_point) * scale for limit in (limits.min, limits.max))
            self.clipped += int(((expected < low - scale) | (expected > high + scale)).sum())

    @property
    def spread(self) -> float:
        mean = self.total / self.count
        return float(np.sqrt(max(self.squares / self.count - mean**2, 0.0)))

    @property
    def error(self) -> float:
        difference = float(np.sqrt(self.differences / self.count))
        if self.spread == 0.0:
            # A constant has no scale: equal is no error, anything else is beyond measure.
            return 0.0 if difference == 0.0 else float("inf")
        return difference / self.spread


def _summarise(
    runner: Runner, matches: dict[int, Match], sums: dict[int, _Sums], threshold: float
) -> LayerComparison:
    nodes, details = runner.nodes(), runner.tensors()
    errors: dict[int, float] = {}
    rows = []
    unmatched = 0
    for node in nodes:
        before = max((errors.get(int(each), 0.0) for each in node["inputs"]), default=0.0)
        for output in (int(each) for each in node["outputs"]):
            if output not in sums:
                errors[output] = before  # what was not compared hands on the error of its inputs
                unmatched += node["op_name"] not in _CONVERSIONS
                continue
            errors[output] = sums[output].error
            if node["op_name"] in _CONVERSIONS:
                continue
            increase = errors[output] - before
            cause, advice = "", ""
            if increase > threshold:
                cause, advice = cause_of(
                    increase=increase,
                    scale=float(details[output]["quantization"][0]),
                    spread=sums[output].spread,
                    clipped=sums[output].clipped / sums[output].count,
                    weights=weights_of(node, runner, nodes),
                )
            layer = matches[output].layer
            rows.append(LayerError(layer, node["op_name"], errors[output], increase, cause, advice))
    return LayerComparison(tuple(rows), threshold, unmatched)


def worst(comparison: LayerComparison, count: int = 3) -> str:
    """The layers that lose most, in half a sentence; empty where none does."""
    losing = list(itertools.islice(comparison.losing, count))
    return ", ".join(f"{each.layer!r} ({each.increase:+.2f}, {each.cause})" for each in losing)
