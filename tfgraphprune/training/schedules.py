"""How far a gradual pruning has come at a step: tfmot's schedules, and nothing else of tfmot."""

from __future__ import annotations

import functools
import os
from typing import Any

import tensorflow as tf

from tfgraphprune.legacy_keras import SWITCH
from tfgraphprune.settings import Schedule

_POWERS = {"polynomial": 3, "linear": 1}

_SPARSITY = 0.5
"""tfmot's schedules end at a sparsity below 1; progress is the share of it."""


def progress(schedule: Schedule, step: int) -> float:
    """From 0 at `begin_step` to 1 at `end_step`; a function of the step alone.

    Args:
        schedule: its `frequency` says how long the progress stays the same.
        step: the optimizer's iterations.
    """
    if step >= schedule.end_step:
        return 1.0
    turn = (step - schedule.begin_step) // schedule.frequency * schedule.frequency
    return _decay(schedule, schedule.begin_step + turn) if turn > 0 else 0.0


@functools.lru_cache(maxsize=8)
def _decay(schedule: Schedule, step: int) -> float:
    decay = _polynomial_decay()(
        0.0, _SPARSITY, schedule.begin_step, schedule.end_step, _POWERS[schedule.schedule]
    )
    return float(decay(tf.constant(step, tf.int64))[1]) / _SPARSITY


def _polynomial_decay() -> Any:
    """tfmot's class; its import sets a variable that the program's own children would inherit."""
    before = os.environ.get(SWITCH)
    from tensorflow_model_optimization.sparsity.keras import PolynomialDecay

    if before is None:
        os.environ.pop(SWITCH, None)
    else:
        os.environ[SWITCH] = before
    return PolynomialDecay
