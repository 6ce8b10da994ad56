"""Why an operation with integers is far from Keras, and what helps: one sentence a cause."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfgraphprune.tflite.runtime import Runner

ADVICE = {
    "clipping": "values lie outside the range that was measured: give more representative data, "
    "of the kind that the app will see",
    "activation range": "a few large values make the steps of the activations coarse: export "
    "int16x8, bound the activation as ReLU6 does, or train quantization-aware",
    "weight ranges": "one scale serves weights whose range differs widely between channels: train "
    "quantization-aware, or leave the layer in float with dynamic_range or float16",
    "weights": "the steps of the weights are too coarse, and int16x8 has the same: train "
    "quantization-aware, or leave the layer in float with float16",
    "arithmetic": "neither ranges nor weights explain it: compare on more examples, and check that "
    "the file was made from this very model",
}
"""What to do, by cause."""

_CLIPPED_SHARE = 1e-3
_WIDE = 8.0
_OUTPUT_AXIS = {"DEPTHWISE_CONV_2D": 3}


def cause_of(
    *,
    increase: float,
    scale: float,
    spread: float,
    clipped: float,
    weights: list[tuple[np.ndarray, int]],
) -> tuple[str, str]:
    """The likeliest cause of a loss, and the advice.

    Args:
        increase: the loss, in standard deviations of the output.
        scale: the step of the output's integers; 0 where it is float.
        spread: the output's standard deviation.
        clipped: share of the values outside what the integers can hold.
        weights: the operation's integer weights, each dequantized, channels last, with the number
            of its scales.
    """
    # Rounding to a step is an error spread evenly over it, of standard deviation step / sqrt(12).
    rounding = scale / np.sqrt(12) / spread if spread else 0.0
    if clipped > _CLIPPED_SHARE:
        cause = "clipping"
    elif rounding > increase / 2:
        cause = "activation range"
    elif any(scales == 1 and _ratio(values) > _WIDE for values, scales in weights):
        cause = "weight ranges"
    else:
        cause = "weights" if weights else "arithmetic"
    return cause, ADVICE[cause]


def weights_of(
    node: dict[str, Any], runner: Runner, nodes: list[dict[str, Any]]
) -> list[tuple[np.ndarray, int]]:
    """An operation's integer weights, dequantized, channels last, and how many scales each has.

    Args:
        node: the operation.
        runner: the interpreter of its file.
        nodes: all operations, which make what is no weight.
    """
    details = runner.tensors()
    made = {int(output) for each in nodes for output in each["outputs"]}
    found = []
    for index in (int(each) for each in node["inputs"]):
        each = details.get(index)
        if each is None or index in made or len(each["shape"]) < 2:
            continue
        scales = each["quantization_parameters"]["scales"]
        if not len(scales) or each["dtype"] is not np.int8:
            continue
        axis = _OUTPUT_AXIS.get(node["op_name"], 0)
        values = np.moveaxis(runner.raw(each).astype(np.float32), axis, -1) * scales
        found.append((values, len(scales)))
    return found


def _ratio(weights: np.ndarray) -> float:
    """The largest range of a channel over the median one."""
    ranges = np.abs(weights).reshape(-1, weights.shape[-1]).max(axis=0)
    median = float(np.median(ranges))
    return float(ranges.max() / median) if median else float("inf")
