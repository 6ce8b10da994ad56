"""Models of Keras 3 are read and cut as they are, and come back as Keras 3."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras import layers, ops

import tfgraphprune as tgp
from tests import keras3_networks as networks
from tfgraphprune.errors import UserError
from tfgraphprune.graph import LayerGraph
from tfgraphprune.model_files import load_model
from tfgraphprune.pruning import PruningPlan, masked, prune, reestimate_batchnorm

IMAGE = (8, 8, 3)


def around(op, filters=6):
    """A convolution, the op, a convolution and a classifier."""

    def build():
        start = keras.Input(IMAGE)
        x = op(layers.Conv2D(filters, 3, padding="same", activation="relu", name="maker")(start))
        x = layers.Conv2D(5, 1, activation="relu", name="reader")(x)
        return keras.Model(start, layers.Dense(3, name="logits")(layers.Flatten()(x)))

    return build


class Block(keras.layers.Layer):
    """A layer made of layers and ops."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.first, self.second = layers.Conv2D(8, 1), layers.Conv2D(6, 1)

    def call(self, inputs, training=None):
        return inputs + self.second(ops.relu(self.first(inputs)), training=training)


def transformer():
    x = start = keras.Input((7, 8))
    x = layers.Dense(8)(x)
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(4, 3)(y, y)
    y = layers.Dense(12, activation="gelu")(layers.LayerNormalization()(x))
    return keras.Model(start, layers.Dense(3)(layers.Flatten()(x + layers.Dense(8)(y))))


def nested():
    inner = keras.Sequential([keras.Input((None, None, 6)), layers.Conv2D(4, 3), layers.ReLU()])
    return around(inner)()


FOLLOWED = {
    "shuffle": around(
        lambda x: ops.reshape(
            ops.transpose(ops.reshape(x, (-1, 8, 8, 2, 3)), (0, 1, 2, 4, 3)), (-1, 8, 8, 6)
        )
    ),
    "split": around(lambda x: ops.concatenate(ops.split(x, [2, 4], axis=-1)[::-1], axis=-1)),
    "slices": around(lambda x: ops.concatenate([x[:, ::2, :, 1::2], x[:, 1::2, ..., ::2]], -1)),
    "roll": around(lambda x: ops.flip(ops.roll(x, 2, axis=-1), axis=1)),
    "take": around(lambda x: ops.take(x, [5, 0, 1, 2, 3, 4], axis=-1)),
    "pad": around(lambda x: ops.pad(x, [[0, 0], [1, 0], [0, 0], [1, 2]])),
    "stack": around(lambda x: ops.reshape(ops.stack([x, -x], -1), (-1, 8, 8, 12))),
    "statistics": around(lambda x: x - ops.mean(x, axis=(1, 2), keepdims=True)),
    "grouped": around(layers.Conv2D(9, 3, groups=3)),
    "group norm": around(layers.GroupNormalization(3)),
    "layer norm": around(layers.LayerNormalization()),
    "depthwise": around(layers.DepthwiseConv2D(3, depth_multiplier=2)),
    "separable": around(layers.SeparableConv2D(7, 3)),
    "transposed": around(layers.Conv2DTranspose(4, 3, 2)),
    "block": around(Block(name="block")),
    "nested": nested,
    "transformer": transformer,
}


def outputs_of(model, x):
    return [np.asarray(t) for t in keras.tree.flatten(model(x, training=False))]


def half(graph):
    random = np.random.default_rng(0)
    kept = {g.name: random.permutation(g.size)[: (g.size + 1) // 2] for g in graph.prunable_groups}
    return PruningPlan.from_indices(graph, kept)


def check(model, x, tmp_path):
    """Pruned == masked; a Keras 3 model comes back, which can be saved, loaded and trained."""
    dense = outputs_of(model, x)
    graph = LayerGraph.from_model(model)
    plan = half(graph)
    small, reference = prune(model, plan), masked(model, plan)
    assert isinstance(small, keras.Model) and not isinstance(small, tf_keras.Model)
    for a, b in zip(outputs_of(reference, x), outputs_of(small, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * a.std() + 1e-9)
    small.save(tmp_path / "small.keras")
    loaded = load_model(tmp_path / "small.keras")
    for a, b in zip(outputs_of(small, x), outputs_of(loaded, x), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(dense, outputs_of(model, x), strict=True):
        np.testing.assert_array_equal(a, b)
    return graph, small


@pytest.mark.parametrize("build", networks.NETWORKS, ids=lambda build: build.__name__)
def test_pruned_equals_masked(build, tmp_path):
    model = networks.randomized(build())
    check(model, networks.examples(model), tmp_path)


@pytest.mark.parametrize("build", [networks.sequential, networks.residual])
def test_a_compiled_model_comes_back_compiled(build):
    model = networks.randomized(build())
    model.compile(keras.optimizers.Adam(3e-4), "mse", metrics=[keras.metrics.MeanAbsoluteError()])
    small = prune(model, PruningPlan.from_keep_ratios(LayerGraph.from_model(model), 0.5))
    assert float(small.optimizer.learning_rate) == pytest.approx(3e-4)
    x = networks.examples(small)
    y = np.zeros((len(x), *small.output_shape[1:]))
    assert np.isfinite(small.train_on_batch(x, y)).all() and small.optimizer is not model.optimizer


@pytest.mark.parametrize("name", FOLLOWED)
def test_layers_and_ops_are_followed(name, tmp_path):
    model = networks.randomized(FOLLOWED[name]())
    graph, small = check(model, networks.examples(model), tmp_path)
    frozen = {g.name for g in graph.channel_groups if g.producers and not g.prunable}
    assert len(frozen) == 1, "only the outputs are frozen"
    assert small.count_params() < model.count_params()
    small.compile("sgd", "mse")
    x = networks.examples(small)
    assert np.isfinite(small.train_on_batch(x, np.zeros((3, 3))))


class PreActivation(keras.layers.Layer):
    """A block whose `activation` is a layer that it calls first."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.activation, self.conv = layers.LeakyReLU(0.3), layers.Conv2D(6, 3, padding="same")

    def call(self, inputs):
        return inputs + self.conv(self.activation(inputs))


def tokens(op):
    """An embedding with a mask where a token is 0, the op, and a classifier."""

    def build():
        start = keras.Input((6,), dtype="int32")
        x = op(layers.Embedding(20, 8, mask_zero=True, name="embedding")(start))
        x = layers.Flatten()(x) if len(x.shape) > 2 else x
        return keras.Model(start, layers.Dense(3)(layers.Dense(4, "relu", name="reader")(x)))

    return build


def low_rank():
    model = around(layers.Conv2D(7, 1))()
    model.get_layer("reader").enable_lora(2)
    return model


def whole_numbers():
    start = keras.Input((6,))
    x = layers.Dense(5, "relu", name="reader")(layers.Dense(8, "relu")(start))
    model = keras.Model(start, layers.Dense(3)(x))
    model.quantize("int8")
    return model


SEAMS = {
    "a block's own activation": (around(PreActivation()), "maker"),
    "a mask for a recurrent layer": (tokens(layers.LSTM(5)), "lstm"),
    "a mask as long as the units": (tokens(layers.LSTM(6)), "lstm"),
    "a mask in wrappers": (
        tokens(
            lambda x: layers.GlobalAveragePooling1D()(
                layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
            )
        ),
        "bidirectional",
    ),
    "a mean of squares": (around(layers.LayerNormalization(rms_scaling=True)), ""),
    "axes in another order": (around(layers.LayerNormalization(axis=(-1, 1))), ""),
    "low rank": (low_rank, "maker"),
    "whole numbers": (whole_numbers, ""),
    "a flat roll": (around(lambda x: ops.roll(x, 2)), ""),
}
"""Networks with a layer that is used otherwise than usual, and a group that is still free."""


@pytest.mark.parametrize(("build", "free"), SEAMS.values(), ids=SEAMS)
def test_what_is_made_of_a_network_computes_the_same(build, free):
    keras.backend.clear_session()
    model = build()
    if build is not whole_numbers:
        networks.randomized(model)
    x = networks.examples(model)
    graph = LayerGraph.from_model(model)
    dense = outputs_of(model, x)[0]
    for make in (prune, masked):
        (whole,) = outputs_of(make(model, PruningPlan({}, graph.fingerprint)), x)
        np.testing.assert_allclose(dense, whole, rtol=0, atol=1e-4 * dense.std())
    if graph.prunable_groups:
        (expected,), (got,) = (outputs_of(f(model, half(graph)), x) for f in (masked, prune))
        np.testing.assert_allclose(expected, got, rtol=0, atol=1e-4 * expected.std())
    names = {group.name for group in graph.prunable_groups}
    assert not free or any(name.startswith(free) for name in names)


@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0"])
def test_applications(name, tmp_path):
    model = getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3), classes=10)
    networks.randomized(model)
    x = networks.examples(model, 8)
    reestimate_batchnorm(model, (x, np.zeros(8)))
    graph, small = check(model, x, tmp_path)
    assert len(graph.prunable_groups) >= 25
    assert small.count_params() < 0.4 * model.count_params()


def test_a_program_that_uses_keras_3_goes_on_as_before(run_python):
    """Reading and cutting go on in the program; nothing of its tf.keras changes."""
    ended = run_python("""
import os
import numpy as np
import tensorflow as tf
L = tf.keras.layers
model = tf.keras.Sequential([tf.keras.Input((4,)), L.Dense(8), L.Dense(2)])
kept, switch = tf.keras, os.environ.get("TF_USE_LEGACY_KERAS")
import tfgraphprune as tgp
graph = tgp.LayerGraph.from_model(model)
small = tgp.prune(model, tgp.PruningPlan.from_keep_ratios(graph, 0.5))
assert isinstance(small, tf.keras.Model) and small.count_params() == 4 * 5 + 5 * 2
assert tf.keras is kept and tf.keras.__version__.startswith("3")
assert os.environ.get("TF_USE_LEGACY_KERAS") == switch
print(small(np.zeros((1, 4))).shape)
""")
    assert (ended.stdout, ended.returncode) == ("(1, 2)\n", 0), ended.stderr


def test_counts_and_criteria():
    model = networks.randomized(networks.residual())
    graph = LayerGraph.from_model(model)
    assert tgp.count_params(model) == model.count_params()
    small = prune(model, PruningPlan.from_keep_ratios(graph, 0.5, "batchnorm_scale"))
    assert 0 < tgp.count_macs(small) < tgp.count_macs(model)


def test_what_can_not_be_read_is_refused():
    class Untraceable(keras.Model):
        def call(self, inputs):
            return inputs if bool(tf.reduce_sum(inputs) > 0) else -inputs

    with pytest.raises(UserError, match="has not been called yet"):
        LayerGraph.from_model(Untraceable())
    with pytest.raises(UserError, match="no input shape yet"):
        LayerGraph.from_model(keras.Sequential([layers.Dense(3)]))
