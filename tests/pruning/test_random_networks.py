"""Pruned == masked on random architectures."""

import numpy as np
import tensorflow as tf
import tf_keras as keras
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests import networks
from tfgraphprune.cost import dense_counts, macs_cost, params_cost
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning import PruningPlan, masked, prune

L = keras.layers
WIDTHS = st.integers(2, 8)


def conv(draw, x):
    size, strides = draw(st.sampled_from([1, 3])), 2 if min(x.shape[1:3]) > 4 else 1
    return L.Conv2D(draw(WIDTHS), size, draw(st.sampled_from([1, strides])), "same")(x)


def norm(draw, x):
    return L.Activation(draw(st.sampled_from(["relu", "swish", "linear"])))(
        L.BatchNormalization(scale=draw(st.booleans()))(x)
    )


def depthwise(draw, x):
    return L.DepthwiseConv2D(3, padding="same", depth_multiplier=draw(st.sampled_from([1, 2])))(x)


def separable(draw, x):
    return L.SeparableConv2D(draw(WIDTHS), 3, padding="same", depth_multiplier=2)(x)


def residual(draw, x):
    y = L.Conv2D(x.shape[-1], 3, padding="same", activation="relu")(conv_same(draw, x))
    if draw(st.booleans()):
        return L.Add()([x, y])
    return draw(st.sampled_from([tf.add, tf.maximum, tf.subtract]))(y, x)


def conv_same(draw, x):
    return L.Conv2D(draw(WIDTHS), 1, activation="relu")(x)


def concat(draw, x):
    parts = [x, conv_same(draw, x), L.MaxPooling2D(2, 1, "same")(x)]
    return L.Concatenate()([parts[i] for i in draw(st.permutations(range(3)))])


def concat_rows(draw, x):
    return L.Concatenate(axis=1)([x, L.Conv2D(x.shape[-1], 1)(x)])


def split(draw, x):
    channels = x.shape[-1]
    cut = draw(st.integers(1, channels - 1))
    a, b = tf.split(x, [cut, channels - cut], -1)
    if draw(st.booleans()):
        a = L.Conv2D(cut, 1)(a)
    return tf.concat([b, a], -1)


def take(draw, x):
    start = draw(st.integers(0, x.shape[-1] - 2))
    return x[:, :, ::-1, start : draw(st.integers(start + 2, x.shape[-1]))]


def shuffle(draw, x):
    h, w, channels = x.shape[1:]
    blocks = next(b for b in (3, 2, 1) if channels % b == 0)
    x = tf.reshape(x, [-1, h, w, blocks, channels // blocks])
    return tf.reshape(tf.transpose(x, [0, 1, 2, 4, 3]), [-1, h, w, channels])


def flip(draw, x):
    y = tf.reverse(x, [draw(st.sampled_from([1, 3]))])
    return y + L.Conv2D(x.shape[-1], 1)(x) if draw(st.booleans()) else y


def pad(draw, x):
    before, after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    y = tf.pad(x, [[0, 0], [0, 0], [0, 0], [before, after]])
    return y + L.Conv2D(y.shape[-1], 1)(x) if draw(st.booleans()) else y


def pool(draw, x):
    x = L.ZeroPadding2D(1)(x)
    return draw(st.sampled_from([L.MaxPooling2D, L.AveragePooling2D]))(2)(x)


def squeeze_excite(draw, x):
    channels = x.shape[-1]
    s = L.GlobalAveragePooling2D()(x)
    s = L.Dense(channels, activation="sigmoid")(L.Dense(draw(WIDTHS), activation="relu")(s))
    return L.Multiply()([x, L.Reshape((1, 1, channels))(s)])


def attention(draw, x):
    return x * L.Conv2D(1, 1, activation="sigmoid")(x)


def nested(draw, x):
    start = keras.Input(x.shape[1:])
    inner = keras.Model(start, step(draw, start, 2))
    y = inner(x)
    return L.Concatenate()([y, inner(flip(draw, x))]) if draw(st.booleans()) else y


def through_dense(draw, x):
    x = L.MaxPooling2D(x.shape[1:3])(x)
    x = L.Dense(16 * draw(WIDTHS), activation="tanh")(L.Flatten()(x))
    return L.Reshape((4, 4, -1))(x)


STEPS = [
    conv, conv, norm, depthwise, separable, residual, residual, concat, concat_rows, split, take,
    shuffle, flip, pad, pool, squeeze_excite, attention, nested, through_dense,
]  # fmt: skip


def step(draw, x, count):
    for part in draw(st.lists(st.sampled_from(STEPS), min_size=count, max_size=count)):
        if x.shape[-1] > 24 or x.shape[-1] < 2:
            x = conv_same(draw, x)
        x = part(draw, x)
    return x


@st.composite
def models(draw):
    keras.backend.clear_session()
    start = keras.Input((8, 8, 3))
    x = step(draw, conv(draw, start), draw(st.integers(2, 5)))
    x = L.Conv2D(5, 1)(x)
    end = draw(st.sampled_from([L.GlobalAveragePooling2D, L.GlobalMaxPooling2D, L.Flatten]))()(x)
    return networks.randomise(keras.Model(start, L.Dense(3)(end)), draw(st.integers(0, 9)))


@given(models(), st.integers(0, 2**32), st.floats(0.0, 0.7))
@settings(max_examples=40)
def test_pruned_equals_masked_on_random_networks(model, seed, share):
    graph = LayerGraph.from_model(model)
    assert graph.prunable_groups
    random = np.random.default_rng(seed)
    kept = {
        g.name: random.permutation(g.size)[: max(1, int(share * g.size))]
        for g in graph.prunable_groups
    }
    plan = PruningPlan.from_indices(graph, kept)
    sizes = np.array([g.size for g in graph.prunable_groups])
    assert plan.counts(graph).sum() <= 0.7 * sizes.sum()
    small, x = prune(model, plan), networks.inputs_for(model, 3)
    (expected,) = networks.outputs_of(masked(model, plan), x)
    (got,) = networks.outputs_of(small, x)
    assume(expected.std() > 1e-6)  # a network whose activations all died shows nothing
    assert np.abs(got - expected).max() < 1e-4 * expected.std()
    assert params_cost(graph)(plan.counts(graph)) == small.count_params()
    rebuilt = LayerGraph.from_model(small)
    assert macs_cost(graph)(plan.counts(graph)) == macs_cost(rebuilt)(dense_counts(rebuilt))
