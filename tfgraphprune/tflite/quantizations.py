"""The number formats of a TFLite file: names, what they need, the converter's settings."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfgraphprune.errors import UserError

QUANTIZATIONS = ("float32", "float16", "dynamic_range", "int8", "int16x8", "int4")
"""float32: as trained; float16: weights halved; dynamic_range: int8 weights, float activations;
int8: int8 weights and activations, scaled on representative data; int16x8: int8 weights, int16
activations, likewise; int4: int4 weights, float activations (needs the extra `int4`)."""

CALIBRATED = ("int8", "int16x8")
"""Those whose activations are integers, with ranges taken from representative data."""

_ENDS = {"int8": tf.int8, "int16x8": tf.int16}
_WRAPPERS = ("QuantizeWrapper", "QuantizeWrapperV2", "QuantizeLayer")


def is_quantization_aware(model: keras.Model) -> bool:
    """Whether tfmot's quantization-aware training made this model: it brings its own ranges."""
    return any(type(module).__name__ in _WRAPPERS for module in model.submodules)


def needs_data(quantization: str, model: keras.Model) -> bool:
    """Whether an export of this kind can't do without representative data."""
    return quantization in CALIBRATED and not is_quantization_aware(model)


def check_quantization(quantization: str, integer_io: bool, model: keras.Model) -> None:
    """Refuse a kind that does not exist, or one that the other settings or the model rule out.

    Raises:
        UserError: such a combination.
    """
    if quantization not in QUANTIZATIONS:
        raise UserError(
            f"quantization must be one of {', '.join(QUANTIZATIONS)}, not {quantization!r}."
        )
    if integer_io and quantization not in CALIBRATED:
        raise UserError(
            f"integer_io needs quantization='int8' or 'int16x8', not {quantization!r}: change one "
            "of the two."
        )
    if quantization != "int8" and is_quantization_aware(model):
        raise UserError(
            f"The model {model.name!r} was trained for int8, but quantization is {quantization!r}: "
            "set quantization='int8', or export the model from before that training."
        )


def configure(converter: Any, quantization: str, examples: Any, integer_io: bool) -> None:
    """Set a TFLite converter up for a kind.

    Args:
        converter: a `tf.lite.TFLiteConverter`.
        quantization: one of `QUANTIZATIONS`; int4 converts as float32 first.
        examples: the representative set; None leaves in float what has no ranges of its own.
        integer_io: whether inputs and outputs of the file are integers too.
    """
    if quantization in ("float32", "int4"):
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if examples is not None:
        sets = tf.lite.OpsSet
        converter.representative_dataset = examples
        converter.target_spec.supported_ops = [
            sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            if quantization == "int16x8"
            else sets.TFLITE_BUILTINS_INT8
        ]
    if integer_io:
        converter.inference_input_type = _ENDS[quantization]
        converter.inference_output_type = _ENDS[quantization]
