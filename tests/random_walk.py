"""How random networks go from step to step: sizes that fit, changes of rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tests.random_steps import (
    IMAGE,
    SEQUENCE,
    STEPS,
    VECTOR,
    VOLUME,
    Draw,
    L,
    Step,
    project,
)

LONGEST = {VECTOR: 0, SEQUENCE: 12, IMAGE: 8, VOLUME: 4}
"""The largest size of a spatial axis, by rank; larger ones are pooled before the next step."""

CHANNELS = (2, 16)
"""The fewest and the most channels that a step is made on."""


def fit(draw: Draw, x: Any) -> Any:
    """Bring sizes into the bounds that steps can be made on."""
    low, high = CHANNELS
    rank = len(x.shape)
    pools = {SEQUENCE: L.MaxPooling1D, IMAGE: L.AveragePooling2D, VOLUME: L.MaxPooling3D}
    grow = {SEQUENCE: L.UpSampling1D, IMAGE: L.UpSampling2D, VOLUME: L.UpSampling3D}
    while rank > VECTOR and max(x.shape[1:-1]) > LONGEST[rank]:
        x = pools[rank](2, padding="same")(x)
    while rank > VECTOR and min(x.shape[1:-1]) < 2:
        x = grow[rank](2)(x)
    return x if low <= x.shape[-1] <= high else project(draw, x)


def walk(draw: Draw, x: Any, steps: Sequence[Step]) -> Any:
    """Make steps one after another, each on a tensor of a rank and size that it takes."""
    plans = [(one, draw.sampled_from(one.ranks)) for one in steps]
    order = draw.sampled_from([(5, 4, 3, 2), (4, 5, 3, 2), (4, 3, 2, 5), (3, 4, 5, 2)])
    for one, rank in sorted(plans, key=lambda plan: order.index(plan[1])):
        x = fit(draw, convert(draw, fit(draw, x), rank))
        # Else what one step freezes would reach into most others.
        x = one.make(draw, project(draw, x) if draw.integers(0, 4) > 2 else x)
    return fit(draw, x)


def some_steps(draw: Draw, count: int) -> list[Step]:
    """Steps drawn without putting back, of those that can be made here."""
    usable = [one for one in STEPS if not (draw.depth and one.outermost)]
    chosen: list[Step] = []
    while len(chosen) < count:
        chosen.append(usable.pop(draw.integers(0, len(usable) - 1)))
    return chosen


def convert(draw, x, rank):
    """A tensor of this rank."""
    while len(x.shape) < rank:
        x = draw.sampled_from(UP[len(x.shape)])(draw, x)
    while len(x.shape) > rank:
        x = draw.sampled_from(DOWN[len(x.shape)])(draw, x)
    return x


def merged_space(draw, x):
    return L.Reshape((x.shape[1] * x.shape[2], *x.shape[3:]))(x)


def widened(draw, x):
    y = L.Dense(12 * draw.integers(2, 4), activation="tanh")(x)
    return L.Reshape((draw.sampled_from([3, 4, 6]), -1))(y)


def stacked(draw, x):
    return tf.stack([x, project(draw, x, x.shape[-1])], draw.integers(1, len(x.shape) - 1))


def unfolded(draw, x):
    size = x.shape[1]
    factor = next(n for n in (3, 2, size) if size % n == 0)
    return L.Reshape((factor, size // factor, *x.shape[2:]))(x)


UP = {
    VECTOR: [widened, lambda draw, x: L.RepeatVector(3)(x), lambda draw, x: x[:, None]],
    SEQUENCE: [unfolded, stacked, lambda draw, x: tf.expand_dims(x, 2)],
    IMAGE: [unfolded, stacked],
}
"""Ways to the next higher rank."""

DOWN = {
    SEQUENCE: [
        lambda draw, x: L.GlobalAveragePooling1D()(x),
        lambda draw, x: L.GlobalMaxPooling1D()(x),
        lambda draw, x: x[:, -1],
        lambda draw, x: L.Flatten()(x),
    ],
    IMAGE: [
        merged_space,
        lambda draw, x: tf.reduce_max(x, 1),
        lambda draw, x: L.Reshape((x.shape[1], -1))(x),
        lambda draw, x: x[:, :, 0],
    ],
    VOLUME: [
        merged_space,
        lambda draw, x: tf.reduce_mean(x, 1),
        lambda draw, x: tf.concat(tf.unstack(x, axis=1), -1),
        lambda draw, x: x[:, 0],
    ],
}
"""Ways to the next lower rank."""
