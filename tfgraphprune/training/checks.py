"""Settings of a training that are out of range, or that a model's own compile has no room for."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfgraphprune.errors import UserError
from tfgraphprune.keras3 import is_keras3_model
from tfgraphprune.outputs import loss_name
from tfgraphprune.settings.finetune import PRECISIONS
from tfgraphprune.training.augment import resolve_augmentation
from tfgraphprune.training.objectives import is_compiled


def check_settings(
    model: Any,
    precision: str,
    label_smoothing: float,
    optimizer: str | None,
    learning_rate: float | None,
    weight_decay: float | None,
    augment: str | None,
) -> None:
    """Refuse settings that a model's own compile leaves no room for.

    Raises:
        UserError: there is one, or an unknown precision.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision must be one of {PRECISIONS}, not {precision!r}.")
    if not is_compiled(model) or is_keras3_model(model):
        return
    if precision != "float32":
        raise UserError(
            f"precision={precision!r} is for models that were not compiled: build yours under "
            "that mixed precision policy."
        )
    for name, value in (("learning_rate", learning_rate), ("weight_decay", weight_decay)):
        if optimizer is None and value is not None:
            raise UserError(
                f"{name} needs optimizer too for a compiled model, whose own optimizer has its "
                "own: name one, or compile the model with that value."
            )
    if label_smoothing:
        raise UserError(
            "label_smoothing can't be added to the loss that the model was compiled with: give "
            "that loss label_smoothing, or leave the model uncompiled."
        )
    if resolve_augmentation(augment).mix is not None:
        _check_soft_labels(model, augment)


def _check_soft_labels(model: Any, augment: str | None) -> None:
    """Refuse a compiled model whose labels can't be mixed."""
    if len(tf.nest.flatten(model.outputs)) > 1:
        raise UserError(
            f"augment={augment!r} mixes the labels of one output, but {model.name!r} has "
            f"{len(model.outputs)}: use another augmentation."
        )
    for loss in tf.nest.flatten(model.loss):
        if loss is not None and "sparse" in loss_name(loss):
            raise UserError(
                f"augment={augment!r} makes soft labels, which the loss that {model.name!r} was "
                f"compiled with ({loss_name(loss)}) can't take: compile it with "
                "CategoricalCrossentropy, and give one-hot rows."
            )


def check_numbers(
    epochs: int,
    batch_size: int,
    seed: int,
    learning_rate: float | None,
    alpha: float,
    temperature: float,
    feature_weight: float,
    label_smoothing: float,
    averaging: float,
    weight_decay: float | None,
) -> None:
    """Refuse numbers out of range.

    Raises:
        UserError: there is one.
    """
    rate = 1.0 if learning_rate is None else learning_rate
    decay = 0.0 if weight_decay is None else weight_decay
    for name, value, holds, range_ in (
        ("epochs", epochs, epochs >= 0, "0 or more"),
        ("batch_size", batch_size, batch_size >= 1, "1 or more"),
        ("seed", seed, seed >= 0, "0 or more"),
        ("learning_rate", learning_rate, 0 < rate < math.inf, "positive and finite"),
        ("alpha", alpha, 0 <= alpha <= 1, "from 0 to 1"),
        ("temperature", temperature, 0 < temperature < math.inf, "positive and finite"),
        ("feature_weight", feature_weight, 0 <= feature_weight < math.inf, "0 or more"),
        ("label_smoothing", label_smoothing, 0 <= label_smoothing < 1, "from 0 to below 1"),
        ("averaging", averaging, 0 <= averaging < 1, "from 0 to below 1"),
        ("weight_decay", weight_decay, 0 <= decay < math.inf, "0 or more"),
    ):
        if not holds:
            raise UserError(f"{name} must be {range_}, not {value!r}.")
