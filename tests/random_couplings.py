"""Steps of random networks: branches, merges, shared and nested layers, and what freezes."""

from __future__ import annotations

import math

import tensorflow as tf
import tf_keras as keras

from tests.random_steps import (
    ALL_RANKS,
    IMAGE,
    SEQUENCE,
    SPATIAL,
    VECTOR,
    VOCABULARY,
    VOLUME,
    L,
    blocks_of,
    project,
    step,
)
from tests.random_walk import some_steps, walk

MERGES = [L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum]


@keras.saving.register_keras_serializable("tests")
class Unknown(L.Layer):
    """A layer with a weight that no rule knows: it mixes neighbouring channels."""

    def build(self, shape):
        self.scale = self.add_weight("scale", shape[-1:])

    def call(self, x):
        return x * self.scale + tf.roll(x, 1, -1)


@keras.saving.register_keras_serializable("tests")
class Composite(L.Layer):
    """A layer that is made of others."""

    def __init__(self, units, **settings):
        super().__init__(**settings)
        self.units = units
        self.first, self.norm = L.Dense(units, activation="relu"), L.BatchNormalization()
        self.last = L.Dense(units)

    def call(self, x):
        y = self.norm(self.first(x))
        return y + tf.tanh(self.last(y))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def merge_all(draw, parts):
    """Several tensors of equal shape as one."""
    return draw.sampled_from([L.Concatenate, *MERGES[:1], *MERGES[2:]])()(parts)


def merge(draw, x, layer):
    other = project(draw, x, x.shape[-1])
    parts = draw.permutation([x, other])
    if layer is not L.Subtract and draw.booleans():
        parts.append(project(draw, other, x.shape[-1]))
    return draw.see(f"{layer.__name__} layer", layer()(parts))


for _layer in MERGES:
    step(ALL_RANKS, f"{_layer.__name__} layer", likely=2, layer=_layer)(merge)


@step(ALL_RANKS, "Concatenate layer", likely=2)
def concat(draw, x):
    parts = draw.permutation([x, project(draw, x), tf.nn.relu(x)])
    return draw.see("Concatenate layer", L.Concatenate()(parts))


@step(SPATIAL, "concatenation on a spatial axis", likely=2)
def concat_space(draw, x):
    parts = draw.permutation([x, project(draw, x, x.shape[-1])])
    y = tf.concat(parts, 1) if draw.booleans() else L.Concatenate(axis=1)(parts)
    return draw.see("concatenation on a spatial axis", y)


@step(ALL_RANKS, "residual addition", likely=2)
def residual(draw, x):
    y = L.BatchNormalization()(project(draw, project(draw, x), x.shape[-1]))
    y = L.Add()([x, y]) if draw.booleans() else x + y
    return draw.see("residual addition", y)


@step([IMAGE], "option-A shortcut", likely=3)
def shortcut(draw, x):
    extra = draw.integers(1, 4)
    before = draw.integers(0, extra)
    y = L.Conv2D(x.shape[-1] + extra, 3, 2, "same", activation="relu")(x)
    short = tf.pad(x[:, ::2, ::2], [[0, 0], [0, 0], [0, 0], [before, extra - before]])
    return draw.see("option-A shortcut", L.Add()([short, y]))


@step([SEQUENCE, IMAGE], "channel shuffle", likely=2, then=False)
@step([SEQUENCE, IMAGE], "channel shuffle before grouped", likely=3, then=True)
def shuffle(draw, x, then):
    blocks = draw.integers(2, 3)
    x = blocks_of(draw, x, blocks)
    space, channels = x.shape[1:-1], x.shape[-1]
    y = tf.reshape(x, [-1, *space, blocks, channels // blocks])
    rank = len(y.shape)
    y = tf.transpose(y, [*range(rank - 2), rank - 1, rank - 2])
    y = tf.reshape(y, [-1, *space, channels])
    if not then:
        return draw.see("channel shuffle", y)
    layer = L.Conv1D if len(x.shape) == SEQUENCE else L.Conv2D
    groups = draw.sampled_from([g for g in (2, 3, 4) if channels % g == 0])
    y = layer(groups * draw.integers(1, 3), 3, padding="same", groups=groups)(y)
    return draw.see("channel shuffle before grouped", y)


@step(SPATIAL, "squeeze-excite", likely=2)
def squeeze_excite(draw, x):
    channels, ones = x.shape[-1], [1] * (len(x.shape) - 2)
    s = tf.reduce_mean(x, list(range(1, len(x.shape) - 1)))
    s = L.Dense(channels, activation="sigmoid")(L.Dense(draw.integers(2, 5), "relu")(s))
    return draw.see("squeeze-excite", L.Multiply()([x, L.Reshape((*ones, channels))(s)]))


@step(SPATIAL, "spatial attention", likely=2)
def spatial_attention(draw, x):
    return draw.see("spatial attention", x * tf.sigmoid(project(draw, x, 1)))


@step(SPATIAL, "flatten, dense, reshape", likely=2)
def through_dense(draw, x):
    shape = {SEQUENCE: (4,), IMAGE: (3, 4), VOLUME: (2, 2, 3)}[len(x.shape)]
    y = L.Dense(math.prod(shape) * draw.integers(2, 4), activation="tanh")(L.Flatten()(x))
    return draw.see("flatten, dense, reshape", L.Reshape((*shape, -1))(y))


@step(ALL_RANKS, "shared layers", likely=2)
def siamese(draw, x):
    other = project(draw, x, x.shape[-1])
    layer = {VECTOR: L.Dense, SEQUENCE: L.Conv1D, IMAGE: L.Conv2D, VOLUME: L.Conv3D}[len(x.shape)]
    size = () if layer is L.Dense else (2, 1, "same")
    shared, norm = layer(draw.integers(3, 8), *size), L.BatchNormalization()
    parts = [draw.see("shared layers", norm(shared(part))) for part in (x, other)]
    return merge_all(draw, parts)


def inner_model(draw, x):
    """A nested model, made on a tensor like `x`."""
    draw.depth += 1
    if draw.booleans():
        start = keras.Input(x.shape[1:])
        inner = keras.Model(start, walk(draw, start, some_steps(draw, draw.integers(1, 2))))
    else:
        parts = [L.Dense(draw.integers(3, 8), "relu"), L.BatchNormalization(), L.Dense(4)]
        inner = keras.Sequential(parts[: draw.integers(2, 3)])
        inner.build((None, *x.shape[1:]))
        if draw.booleans():
            start = keras.Input(x.shape[1:])
            y = draw.see("Sequential in a nested model", inner(start))
            inner = keras.Model(start, project(draw, y))
    draw.depth -= 1
    return inner


@step(ALL_RANKS, "nested model", "Sequential in a nested model", likely=5, outermost=True)
def nested(draw, x):
    return draw.see("nested model", inner_model(draw, x)(x))


@step(ALL_RANKS, "nested model, called twice", likely=3, outermost=True)
def nested_twice(draw, x):
    inner = inner_model(draw, x)
    first = draw.see("nested model, called twice", inner(x))
    return merge_all(draw, [first, inner(project(draw, x, x.shape[-1]))])


@step(ALL_RANKS, "another input", likely=3, outermost=True)
def another_input(draw, x):
    channels = draw.sampled_from([3, x.shape[-1]])
    start = keras.Input((*x.shape[1:-1], channels))
    draw.inputs.append(start)
    y = start if channels == x.shape[-1] and draw.booleans() else project(draw, start, x.shape[-1])
    return draw.see("another input", merge_all(draw, [x, y]))


@step([VECTOR, SEQUENCE], "Embedding", likely=2, outermost=True)
def tokens(draw, x):
    start = keras.Input(x.shape[1:-1] or (1,), dtype="int32")
    draw.inputs.append(start)
    y = draw.see("Embedding", L.Embedding(VOCABULARY, draw.integers(3, 8))(start))
    return L.Concatenate()([x, L.Flatten()(y) if len(x.shape) == VECTOR else y])


@step(ALL_RANKS, "intermediate output", likely=2, outermost=True)
def output(draw, x):
    draw.outputs.append(draw.see("intermediate output", project(draw, x)))
    return draw.outputs[-1]


@step(ALL_RANKS, "softmax over channels", likely=2)
def softmax(draw, x):
    return draw.see(
        "softmax over channels", L.Softmax()(x) if draw.booleans() else tf.nn.softmax(x)
    )


@step(ALL_RANKS, "sum over channels", likely=2)
def total(draw, x):
    op = draw.sampled_from([tf.reduce_sum, tf.reduce_mean])
    y = draw.see("sum over channels", op(x, -1, keepdims=True))
    return L.Concatenate()([y, project(draw, x)])


@step(ALL_RANKS, "unknown layer", likely=2)
def unknown(draw, x):
    return draw.see("unknown layer", Unknown()(x))


@step(ALL_RANKS, "composite layer", likely=2)
def composite(draw, x):
    return draw.see("composite layer", Composite(draw.integers(3, 8))(x))


@step([SEQUENCE], "matmul of activations", likely=3)
def matmul(draw, x):
    other = project(draw, x, x.shape[-1])
    scores = draw.see("matmul of activations", tf.matmul(x, other, transpose_b=True))
    return tf.matmul(tf.nn.softmax(scores), project(draw, x)) if draw.booleans() else scores


@step([VECTOR, SEQUENCE], "Dot layer", likely=3)
def dot(draw, x):
    other = project(draw, x, x.shape[-1])
    axes = draw.integers(1, len(x.shape) - 1)
    y = draw.see("Dot layer", L.Dot(axes)([x, other]))
    return L.Concatenate()([y, x]) if len(x.shape) == VECTOR else y
