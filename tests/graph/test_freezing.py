"""What cannot be followed freezes exactly what it touches, and says why."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests import networks
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning import PruningPlan, masked, prune

L = keras.layers


class DoubledConv(L.Conv2D):
    def call(self, inputs):
        return 2 * super().call(inputs)


class StandardizedConv(L.Conv2D):
    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel / tf.math.reduce_std(kernel, [0, 1, 2]))


class FixedConv(L.Conv2D):
    """A subclass whose size can't be set from outside."""

    def __init__(self, **settings):
        super().__init__(6, 3, **settings)

    def get_config(self):
        return {"name": self.name}


class PlainConv(L.Conv2D):
    """A subclass that computes what its base computes."""


class Scale(L.Layer):
    """A layer with a weight of its own, and no rule."""

    def build(self, input_shape):
        self.factor = self.add_weight(name="factor", shape=(input_shape[-1],))

    def call(self, inputs):
        return self.factor * inputs


class Noisy(L.Layer):
    """A layer that does something else in training."""

    def call(self, inputs, training=None):
        return inputs + 1 if training else inputs


class Untraceable(L.Layer):
    """A layer that can't be called on symbolic inputs."""

    def call(self, inputs):
        if tf.reduce_sum(inputs) > 0:
            return inputs
        return -inputs


class Tied(L.Layer):
    """A layer that reads the kernel of another one directly."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.dense = L.Dense(6)

    def call(self, inputs):
        return tf.matmul(self.dense(inputs), self.dense.kernel)


class Opaque(L.Layer):
    """A layer that runs Python."""

    def call(self, inputs):
        return _in_python(inputs)


def _in_python(x):
    y = tf.py_function(lambda t: t[..., ::-1], [x], x.dtype)
    return tf.ensure_shape(y, x.shape)


@keras.saving.register_keras_serializable("tfgraphprune_tests")
def share(x):
    """An activation that mixes channels."""
    return x / (1 + tf.reduce_sum(tf.abs(x), -1, keepdims=True))


def _attention(x):
    flat = L.Reshape((64, 6))(x)
    return L.Reshape((8, 8, 6))(tf.matmul(tf.matmul(flat, flat, transpose_b=True), flat))


def _batch_mix(x):
    return tf.reshape(tf.reshape(x, [-1, 6]), [-1, 8, 8, 6])


# What follows a convolution of 6 channels, and which layer the reason must name.
FREEZES = {
    "sum over channels": (lambda x: x * tf.reduce_sum(x, -1, keepdims=True), "tf.math.reduce_sum"),
    "mean over everything": (lambda x: x - tf.reduce_mean(x), "tf.math.reduce_mean"),
    "softmax layer": (L.Softmax(name="probe"), "probe"),
    "softmax activation": (L.Activation("softmax", name="probe"), "probe"),
    "softmax op": (tf.nn.softmax, "tf.nn.softmax"),
    "unknown activation": (L.Activation(share, name="probe"), "probe"),
    "dense over positions": (
        lambda x: L.Permute((1, 3, 2))(L.Dense(8, name="probe")(L.Permute((1, 3, 2))(x))),
        "probe",
    ),
    "custom layer": (Scale(name="probe"), "probe: no rule for Scale"),
    "other things in training": (
        Noisy(name="probe"),
        "probe: can't be followed inside: does other",
    ),
    "untraceable layer": (Untraceable(name="probe"), "probe: can't be followed inside"),
    "tied weights": (Tied(name="probe"), "probe: can't be followed inside: computes with a weight"),
    "opaque layer": (lambda x: L.Reshape((8, 8, 6))(Opaque(name="probe")(x)), "probe/py"),
    "opaque Lambda": (
        lambda x: L.Reshape((8, 8, 6))(L.Lambda(_in_python, name="probe")(x)),
        "probe/py_function: no rule",
    ),
    "gather of examples": (lambda x: tf.gather(x, [0, 0]), "tf.compat.v1.gather"),
    "channels taken apart": (lambda x: tf.stack(tf.unstack(x, axis=-1), -1), "tf.unstack"),
    "entries repeated unequally": (
        lambda x: tf.repeat(x, [1, 2, 1, 2, 1, 1], axis=-1),
        "tf.repeat",
    ),
    "convolution with its own call": (DoubledConv(5, 3, name="probe"), "probe"),
    "convolution with its own kernel": (StandardizedConv(5, 3, name="probe"), "probe"),
    "normalization of another axis": (L.BatchNormalization(axis=1, name="probe"), "probe"),
    "attention": (_attention, "tf.linalg.matmul"),
    "sort": (lambda x: tf.sort(x), "tf.sort"),
    "cumulative sum": (lambda x: tf.cumsum(x, -1), "tf.math.cumsum"),
    "padding with ones": (
        lambda x: tf.pad(x, [[0, 0]] * 3 + [[1, 1]], constant_values=1),
        "tf.compat.v1.pad",
    ),
    "reflection": (lambda x: tf.pad(x, [[0, 0]] * 3 + [[1, 1]], "REFLECT"), "tf.compat.v1.pad"),
    "examples mixed": (_batch_mix, "tf.reshape"),
    "examples joined": (lambda x: tf.concat([x, x], 0), "tf.concat"),
    "batch moved": (lambda x: tf.transpose(tf.transpose(x)), "tf.compat.v1.transpose"),
}


@pytest.mark.parametrize("case", FREEZES)
def test_what_cannot_be_followed_freezes_with_a_reason_and_no_error(case):
    op, layer = FREEZES[case]
    keras.backend.clear_session()
    start = keras.Input(networks.IMAGE)
    x = op(L.Conv2D(6, 3, padding="same", name="maker")(start))
    x = L.Dense(5, name="reader")(L.Dense(7, name="free")(L.Flatten()(x)))
    model = networks.randomise(keras.Model(start, x))
    graph = LayerGraph.from_model(model)
    maker = graph.group("maker")
    assert not maker.prunable
    assert maker.reason.startswith(layer), maker.reason
    assert "free" in [g.name for g in graph.prunable_groups], "freezes what it does not touch"
    plan = PruningPlan.from_indices(graph, {g.name: [0] for g in graph.prunable_groups})
    data = networks.inputs_for(model)
    (a,), (b,) = (networks.outputs_of(m, data) for m in (masked(model, plan), prune(model, plan)))
    np.testing.assert_allclose(a, b, atol=1e-4 * a.std())


@pytest.mark.parametrize(
    ("layer", "prunable"), [(PlainConv(6, 1, name="x"), True), (FixedConv(name="x"), False)]
)
def test_a_subclass_is_taken_for_its_base_where_it_computes_the_same(layer, prunable):
    keras.backend.clear_session()
    model = networks.randomise(networks.image_model(lambda x: layer(L.Conv2D(4, 1, name="c")(x))))
    graph = LayerGraph.from_model(model)
    assert graph.group("c").prunable
    assert graph.group("x").prunable == prunable
    plan = PruningPlan.from_keep_ratios(graph, 0.5)
    x = networks.inputs_for(model)
    (a,), (b,) = (networks.outputs_of(m, x) for m in (masked(model, plan), prune(model, plan)))
    np.testing.assert_allclose(a, b, atol=1e-4 * a.std())


def test_spatial_attention_freezes_its_map_and_not_the_channels():
    def body(x):
        x = L.Conv2D(6, 3, name="features")(x)
        return x * L.Conv2D(1, 1, activation="sigmoid", name="map")(x)

    graph = LayerGraph.from_model(networks.image_model(body))
    assert graph.group("features").prunable
    assert not graph.group("map").prunable
    assert "broadcast" in graph.group("map").reason


def test_a_channel_that_is_picked_alone_stays_and_the_others_are_free():
    def body(x):
        x = L.Conv2D(6, 3, name="features")(x)
        return L.Concatenate()([x, L.Reshape((6, 6, 1))(x[..., 2])])

    model = networks.randomise(networks.image_model(body))
    graph = LayerGraph.from_model(model)
    assert graph.group("features").size == 5
    assert graph.group("features#2").reason == "tf.__operators__.getitem: picks a single channel"
    plan = PruningPlan.from_indices(graph, {"features": [1, 4]})
    x = networks.inputs_for(model)
    (a,), (b,) = (networks.outputs_of(m, x) for m in (masked(model, plan), prune(model, plan)))
    np.testing.assert_allclose(a, b, atol=1e-4 * a.std())


def test_an_unknown_activation_freezes_what_its_layer_makes_and_not_what_it_reads():
    def body(x):
        x = L.Conv2D(4, 3, name="read")(x)
        return L.Dense(6, name="free")(L.Conv2D(5, 3, activation=share, name="probe")(x))

    graph = LayerGraph.from_model(networks.image_model(body))
    assert {g.name for g in graph.prunable_groups} == {"read", "free"}
    assert graph.group("probe").reason.startswith("probe: its activation")
