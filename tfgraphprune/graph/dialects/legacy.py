"""tf_keras, that is Keras 2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras
from tf_keras.src.engine.functional import Functional

from tfgraphprune.graph.dialects.base import Dialect, StoredCall
from tfgraphprune.graph.dialects.nodes import ordered


class LegacyKeras(Dialect):
    """tf_keras."""

    name = "tf_keras"
    keras = keras

    def has_layer_graph(self, layer: Any) -> bool:
        """A subclass must not override `call`."""
        own_call = type(layer).call if isinstance(layer, keras.Model) else None
        return own_call in (Functional.call, keras.Sequential.call) and bool(layer.inputs)

    def stored_calls(self, model: Any) -> Iterator[StoredCall]:
        """In the order of Keras' own depths."""
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if not node.is_input:
                    yield _stored(node)

    def structure(self, model: Any) -> tuple[Any, Any]:
        """As nested at the model's making."""
        return model._nested_inputs, model._nested_outputs

    def model_inputs(self, model: Any, given: Any) -> list:
        """Dictionaries go by input names."""
        return model._flatten_to_reference_inputs(given)

    def call_between(self, inputs: Sequence, outputs: Sequence) -> list[StoredCall]:
        """Along the nodes of the tensors."""
        return [_stored(node) for node in ordered(inputs, outputs, lambda t: t.node, _reads)]

    def own_weights(self, layer: Any) -> list:
        """Those that the layer itself has added."""
        return layer._trainable_weights + layer._non_trainable_weights

    def input_structure(self, model: Any) -> tuple[tuple, dict] | None:
        """From the specification that Keras keeps of the first call."""
        spec = model.save_spec(dynamic_batch=True)
        if spec is None:
            return None
        return tf.nest.map_structure(
            lambda s: keras.Input(s.shape[1:], dtype=s.dtype) if isinstance(s, tf.TypeSpec) else s,
            spec,
        )

    def shapes_of(self, call: StoredCall, values: tuple[tuple, dict]) -> Any:
        """By calling it in a graph of its own."""
        args, kwargs = values
        flat = tf.nest.flatten((args, kwargs))
        tensors = [leaf for leaf in flat if isinstance(leaf, tf.TensorSpec)]

        def run(*found: Any) -> Any:
            given = iter(found)
            filled = tf.nest.map_structure(
                lambda leaf: next(given) if isinstance(leaf, tf.TensorSpec) else leaf,
                (args, kwargs),
            )
            return call.layer(*filled[0], **filled[1])

        function = tf.function(run, autograph=False).get_concrete_function(*tensors)
        return tf.nest.map_structure(
            lambda t: tf.TensorSpec(t.shape, t.dtype), function.structured_outputs
        )

    def placeholder(self, shape: Sequence, dtype: Any) -> Any:
        """A specification."""
        return tf.TensorSpec(shape, dtype)

    def gather(self, tensor: Any, indices: Sequence[int], axis: int) -> Any:
        """TensorFlow's gather."""
        return tf.gather(tensor, indices, axis=axis)

    def input_name(self, tensor: Any) -> str:
        """That of the input layer."""
        return tensor._keras_history.layer.name


def _stored(node: Any) -> StoredCall:
    return StoredCall(
        node.layer,
        tuple(node.call_args),
        dict(node.call_kwargs),
        tuple(tf.nest.flatten(node.outputs)),
    )


def _reads(node: Any) -> list:
    flat = tf.nest.flatten((node.call_args, node.call_kwargs))
    return [leaf for leaf in flat if hasattr(leaf, "_keras_history")]
