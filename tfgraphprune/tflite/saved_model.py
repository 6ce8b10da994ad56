"""A Keras model as a traced function and as a SavedModel that TFLite's converter reads quickly."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tfgraphprune.tflite.signature import SIGNATURE, ModelInput, model_outputs

_LOOPS = frozenset(("While", "StatelessWhile", "Enter"))


def frozen_function(model: keras.Model, inputs: list[ModelInput], batch_size: int | None) -> Any:
    """The model in inference, traced once: a concrete function of constants.

    It takes the inputs by position and returns the flat list of outputs; its operations are named
    after the layers' name scopes.
    """
    specs = _specs(inputs, batch_size)
    traced = tf.function(_caller(model)).get_concrete_function(*specs.values())
    return convert_variables_to_constants_v2(traced)


def has_loop(frozen: Any) -> bool:
    """Whether a loop is left in a frozen function, such as one over the steps of a sequence."""
    return any(operation.type in _LOOPS for operation in frozen.graph.get_operations())


def save_frozen(
    model: keras.Model, inputs: list[ModelInput], batch_size: int | None, folder: str
) -> bool:
    """Write a SavedModel of constants only, and tell whether it has a loop.

    Tracing the Keras model once and saving the frozen function converts several times faster than
    `from_keras_model`, which traces it again and again, and, unlike `from_concrete_functions`,
    keeps the signature.
    """
    frozen = frozen_function(model, inputs, batch_size)
    _save(lambda *tensors: frozen(*tensors), model, inputs, batch_size, folder, tf.Module())
    return has_loop(frozen)


def save_with_variables(
    model: keras.Model, inputs: list[ModelInput], batch_size: int | None, folder: str
) -> None:
    """Write a SavedModel with variables.

    Freezing inlines the functions by which the converter recognises an LSTM, and would leave a
    loop over the steps in place of the one fused operation.
    """
    module = tf.Module()
    module.kept = model.variables
    _save(_caller(model), model, inputs, batch_size, folder, module)


def _specs(inputs: list[ModelInput], batch_size: int | None) -> dict[str, tf.TensorSpec]:
    return {
        each.name: tf.TensorSpec((batch_size, *each.shape), each.dtype, name=each.name)
        for each in inputs
    }


def _caller(model: keras.Model) -> Any:
    def call(*tensors: tf.Tensor) -> list[tf.Tensor]:
        arguments = list(tensors) if len(tensors) > 1 else tensors[0]
        return tf.nest.flatten(model(arguments, training=False))

    return call


def _save(
    call: Any,
    model: keras.Model,
    inputs: list[ModelInput],
    batch_size: int | None,
    folder: str,
    module: tf.Module,
) -> None:
    outputs = model_outputs(model)

    def serve(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        results = tf.nest.flatten(call(*(tensors[each.name] for each in inputs)))
        # An output that is an input handed through must still be a tensor of its own.
        return {name: tf.identity(y) for name, y in zip(outputs, results, strict=True)}

    module.serve = tf.function(serve)
    signature = module.serve.get_concrete_function(**_specs(inputs, batch_size))
    tf.saved_model.save(
        module,
        folder,
        signatures={SIGNATURE: signature},
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
    )
