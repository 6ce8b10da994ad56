"""Steps of random networks: TensorFlow's ops on activations, and layers that move channels."""

from __future__ import annotations

import tensorflow as tf

from tests.random_steps import (
    ALL_RANKS,
    IMAGE,
    SEQUENCE,
    SPATIAL,
    VECTOR,
    VOLUME,
    L,
    blocks_of,
    project,
    step,
)

MATHS = [
    tf.abs, tf.tanh, tf.sigmoid, tf.sin, tf.negative, lambda x: tf.square(tf.tanh(x)),
    lambda x: tf.exp(-tf.abs(x)), lambda x: tf.sqrt(tf.abs(x) + 1.0), lambda x: x * 0.7 - 0.2,
    lambda x: 1.0 - x / 3.0, lambda x: tf.clip_by_value(x, -1.5, 2.0),
]  # fmt: skip

NN = [
    tf.nn.relu, tf.nn.relu6, tf.nn.leaky_relu, tf.nn.elu, tf.nn.selu, tf.nn.gelu, tf.nn.silu,
    tf.nn.softplus, tf.nn.softsign,
]  # fmt: skip


def sibling(draw, x):
    """Another tensor of the same shape, from the same one."""
    return project(draw, x, x.shape[-1])


def spatial_axes(x):
    return list(range(1, len(x.shape) - 1))


@step(ALL_RANKS, "tf math op", likely=2)
def maths(draw, x):
    return draw.see("tf math op", draw.sampled_from(MATHS)(x))


@step(ALL_RANKS, "tf.nn activation", likely=2)
def nn(draw, x):
    return draw.see("tf.nn activation", draw.sampled_from(NN)(x))


@step(ALL_RANKS, "tf.add", likely=2, op=tf.add)
@step(ALL_RANKS, "tf.multiply", likely=2, op=tf.multiply)
@step(ALL_RANKS, "tf.maximum", likely=2, op=tf.maximum)
def binary(draw, x, op):
    pair = draw.permutation([x, sibling(draw, x)])
    return draw.see(f"tf.{op.__name__}", op(*pair))


@step(ALL_RANKS, "constant array, added or multiplied", likely=2)
def constants(draw, x):
    array = draw.array(*draw.sampled_from([(x.shape[-1],), (1,) * len(x.shape[1:]) + x.shape[-1:]]))
    y = draw.sampled_from([lambda: x * array, lambda: array + x, lambda: tf.multiply(x, array)])()
    return draw.see("constant array, added or multiplied", y)


@step(ALL_RANKS, "tf.split", likely=2)
def split(draw, x):
    if draw.booleans():
        cut = draw.integers(1, x.shape[-1] - 1)
        parts = tf.split(x, [cut, x.shape[-1] - cut], -1)
    else:
        blocks = draw.integers(2, 3)
        parts = tf.split(blocks_of(draw, x, blocks), blocks, axis=-1)
    draw.see("tf.split", parts[0])
    if draw.booleans():
        parts[0] = sibling(draw, parts[0])
    if draw.booleans():
        return L.Concatenate()(parts[::-1])
    widest = max(part.shape[-1] for part in parts)
    return L.Add()([project(draw, part, widest) for part in parts])


@step(ALL_RANKS, "slice of channels", likely=2)
def channel_slice(draw, x):
    start = draw.integers(0, x.shape[-1] - 2)
    stop = draw.integers(start + 2, x.shape[-1])
    strides = draw.sampled_from([1, 2]) if stop - start > 3 else 1
    part = draw.see("slice of channels", x[..., start:stop:strides])
    return L.Concatenate()([part, x[..., :1]]) if draw.booleans() else part


@step(SPATIAL, "slice of space", likely=2)
def space_slice(draw, x):
    y = draw.sampled_from([lambda: x[:, 1:], lambda: x[:, ::-1], lambda: x[:, ::2]])()
    return draw.see("slice of space", y)


@step([VECTOR, SEQUENCE, IMAGE], "tf.stack, tf.unstack", likely=2)
def stack(draw, x):
    others = [x, *[project(draw, x, x.shape[-1]) for _ in range(draw.integers(1, 2))]]
    rank = len(x.shape)
    axis = draw.integers(1, rank - 1 if draw.booleans() or rank == VECTOR else rank)
    y = draw.see("tf.stack, tf.unstack", tf.stack(others, axis))
    if axis == rank or draw.booleans():
        parts = draw.see("tf.stack, tf.unstack", tf.unstack(y, axis=axis))
        return L.Maximum()([parts[0], parts[-1]])
    return y


@step([SEQUENCE, IMAGE], "unstacked space", likely=2)
def unstack(draw, x):
    parts = draw.see("unstacked space", tf.unstack(x, axis=1))
    return draw.sampled_from([L.Add(), L.Concatenate()])(parts[:3])


@step(ALL_RANKS, "tf.roll", likely=2)
def roll(draw, x):
    axis = draw.sampled_from([-1, *spatial_axes(x)])
    y = draw.see("tf.roll", tf.roll(x, draw.integers(1, 2), axis))
    return y + sibling(draw, x) if draw.booleans() else y


@step(ALL_RANKS, "tf.reverse", likely=2)
def flip(draw, x):
    axis = draw.sampled_from([len(x.shape) - 1, *spatial_axes(x)])
    y = draw.see("tf.reverse", tf.reverse(x, [axis]))
    return y + sibling(draw, x) if draw.booleans() else y


@step(SPATIAL, "tf.transpose", likely=2, kind="tf.transpose")
@step(SPATIAL, "Permute", likely=2, kind="Permute")
def transpose(draw, x, kind):
    if draw.booleans():  # of space
        order = [*draw.permutation(spatial_axes(x)), len(x.shape) - 1]
    else:
        order = draw.permutation(range(1, len(x.shape)))
    y = draw.see(kind, tf.transpose(x, [0, *order]) if kind[0] == "t" else L.Permute(order)(x))
    if draw.booleans():  # and back
        back = [0, *(order.index(axis) + 1 for axis in range(1, len(x.shape)))]
        y = tf.transpose(tf.nn.relu(y), back)
    return y


@step(ALL_RANKS, "tf.gather", likely=2)
def gather(draw, x):
    channels = x.shape[-1]
    indices = [draw.integers(0, channels - 1) for _ in range(draw.integers(2, channels))]
    if draw.booleans():
        indices = draw.permutation(range(channels))
    return draw.see("tf.gather", tf.gather(x, indices, axis=-1))


@step(ALL_RANKS, "tf.tile", likely=2)
def tile(draw, x):
    times = [1] * len(x.shape)
    times[draw.integers(1, len(x.shape) - 1)] = 2
    return draw.see("tf.tile", tf.tile(x, times))


@step([IMAGE], "tf.nn.space_to_depth", likely=3)
def space_to_depth(draw, x):
    if x.shape[1] % 2 or x.shape[2] % 2:
        x = tf.image.resize(x, [4, 6])
    y = draw.see("tf.nn.space_to_depth", tf.nn.space_to_depth(x, 2))
    return project(draw, y) if draw.booleans() else y


@step([IMAGE], "tf.nn.depth_to_space", likely=3)
def depth_to_space(draw, x):
    if x.shape[-1] % 4:
        x = project(draw, x, 4 * draw.integers(1, 3))
    return draw.see("tf.nn.depth_to_space", tf.nn.depth_to_space(x, 2))


@step([VOLUME, IMAGE], "tf.reshape of space", likely=2)
def reshape(draw, x):
    channels, size = x.shape[-1], x.shape[1] * x.shape[2]
    folded = tf.reshape(x, [-1, size, *x.shape[3:-1], channels])
    return draw.see("tf.reshape of space", folded)


@step(SPATIAL, "reduction over space", likely=3)
def reduce(draw, x):
    op = draw.sampled_from([tf.reduce_mean, tf.reduce_max, tf.reduce_sum])
    axes = spatial_axes(x)[: draw.integers(1, 3)]
    y = draw.see("reduction over space", op(x, axes, keepdims=True))
    return x - y if draw.booleans() else x * tf.sigmoid(y)
