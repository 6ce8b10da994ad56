"""The optimizer of a training: one of the papers', or that of a compiled model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tf_keras as keras

from tfgraphprune.pruning.tasks import fresh_optimizer
from tfgraphprune.training.objectives import is_compiled

LEARNING_RATES = {"sgd": 0.05, "adam": 3e-3}
"""Peaks of the cosine schedule."""

_WEIGHT_DECAYS = {"sgd": 1e-4, "adam": 0.0}
_WARMUP_SHARE = 0.05
_NO_DECAY = (r"(gamma|beta|bias)(:\d+)?$",)


def new_optimizer(
    model: Any, name: str | None, rate: float | None, steps: int, weight_decay: float | None
) -> Any:
    """One of ours, or, where none is named, that of a compiled model, made anew.

    Args:
        model: what is trained.
        name: `sgd`, `adam` or `None`.
        rate: peak of the cosine schedule of ours; by default of `LEARNING_RATES`.
        steps: of the whole training.
        weight_decay: decoupled, of ours; by default 1e-4 for `sgd` and 0 for `adam`.

    Raises:
        UserError: a compiled model's own can't be made anew.
    """
    if name is None and is_compiled(model):
        return fresh_optimizer(model, model)
    name = name or "sgd"
    warmup = min(max(1, round(steps * _WARMUP_SHARE)), steps - 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, steps - warmup),
        warmup_target=LEARNING_RATES[name] if rate is None else rate,
        warmup_steps=warmup,
    )
    decay = (_WEIGHT_DECAYS[name] if weight_decay is None else weight_decay) or None
    if name == "adam":
        optimizer = keras.optimizers.Adam(schedule, weight_decay=decay)
    else:
        optimizer = keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True, weight_decay=decay)
    optimizer.exclude_from_weight_decay(var_names=list(_NO_DECAY))
    return optimizer


@contextlib.contextmanager
def stepping_by(optimizer: Any, model: Any) -> Iterator[None]:
    """Has a compiled model train by another optimizer, and then gives it back its own."""
    own = model.optimizer
    # The step that Keras has traced holds the optimizer of then.
    model.optimizer, model.train_function = optimizer, None
    try:
        yield
    finally:
        model.optimizer, model.train_function = own, None
