"""Training in mixed precision: a copy of the model computes in 16 bits, on float32 weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tf_keras as keras

from tfgraphprune.errors import UserError, first_line
from tfgraphprune.pruning.rebuild import distributed_as
from tfgraphprune.pruning.remaking import configuration, trainable_alike


def in_precision(model: Any, precision: str) -> Any:
    """A copy of a functional model whose layers compute in another precision.

    Micikevicius et al., "Mixed Precision Training", ICLR 2018: weights stay float32. Layers that
    make the model's outputs stay in float32 too, so that losses see whole numbers of digits.

    Args:
        model: of tf_keras; its weights are copied, in the same order.
        precision: one of `settings.finetune.PRECISIONS`.

    Raises:
        UserError: a model that can't be copied layer by layer.
    """
    last = set(_last_layers(model))

    def clone(layer: Any) -> Any:
        if isinstance(layer, keras.Model):
            return keras.models.clone_model(layer, clone_function=clone)
        config = configuration(layer)
        if "dtype" in config:
            config["dtype"] = "float32" if id(layer) in last else precision
        return type(layer).from_config(config)

    try:
        with distributed_as(model):
            copy = keras.models.clone_model(model, clone_function=clone)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UserError(
            f"{model.name!r} can't be copied for precision={precision!r} "
            f"({first_line(error)}): train it in float32."
        ) from error
    trainable_alike(copy, model)
    copy.set_weights(model.get_weights())
    return copy


def _last_layers(model: Any) -> Iterator[int]:
    """Ids of the layers that make the outputs; nested models are entered."""
    for tensor in model.outputs:
        layer = tensor._keras_history.layer
        if isinstance(layer, keras.Model):
            yield from _last_layers(layer)
        else:
            yield id(layer)


def scaled_optimizer(optimizer: Any, model: Any) -> Any:
    """The optimizer, with loss scaling where the model computes in 16 bits of a short exponent."""
    scaled = isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer)
    if scaled or not any(layer.compute_dtype == "float16" for layer in model._flatten_layers()):
        return optimizer
    return keras.mixed_precision.LossScaleOptimizer(optimizer)


def check_float32(model: Any, what: str) -> None:
    """Refuse a model with layers in 16 bits, in which tfmot's wrappers would round weights too.

    Args:
        model: of tf_keras or Keras 3.
        what: can't take it, for the message.

    Raises:
        UserError: there is such a layer.
    """
    for layer in model._flatten_layers():
        computes = str(getattr(layer, "compute_dtype", "float32"))
        if computes in ("float16", "bfloat16"):
            raise UserError(
                f"{what} needs a model that computes in float32, as tfmot's wrappers do, but the "
                f"layer {layer.name!r} computes in {computes}: build the model under the float32 "
                "policy, and give it the weights by set_weights."
            )
