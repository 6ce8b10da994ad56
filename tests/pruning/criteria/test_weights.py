"""Importance, against values worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests import networks
from tfgraphprune.errors import UserError
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning import PruningPlan, criteria

L = keras.layers


MERGED = "right"
"""The group of both branches goes by the layer that Keras lists first."""


def two_branches(end=None):
    """Two dense layers that are added, one of them normalised, and a reader."""
    keras.backend.clear_session()
    start = keras.Input((2,), name="features")
    left, right = L.Dense(3, name="left")(start), L.Dense(3, name="right", use_bias=False)(start)
    x = L.Add(name="sum")([left, L.BatchNormalization(name="norm", epsilon=0.0)(right)])
    x = L.Dense(2, name="reader")(x)
    model = keras.Model(start, end(x) if end else x)
    model.get_layer("left").set_weights(
        [np.array([[1.0, -2, 0], [2, 0, -3]]), np.array([9.0, 9, 9])]
    )
    model.get_layer("right").set_weights([np.array([[-1.0, 1, 4], [0, 1, 0]])])
    gamma, zeros = np.array([0.5, -2.0, 1.0]), np.zeros(3)
    model.get_layer("norm").set_weights([gamma, zeros, zeros, np.ones(3)])
    model.get_layer("reader").set_weights([np.array([[1.0, 0], [0, 1], [1, 3]]), np.zeros(2)])
    return model


BY_HAND = {
    "l1": [3 + 1, 2 + 2, 3 + 4],
    "l2": np.sqrt([5 + 1, 4 + 2, 9 + 16]),
    "batchnorm_scale": [0.5, 2, 1],
}


@pytest.mark.parametrize("name", BY_HAND)
def test_norms_by_hand(name):
    graph = LayerGraph.from_model(two_branches())
    importance = criteria.CRITERIA[name](graph)
    np.testing.assert_allclose(importance[MERGED], BY_HAND[name], rtol=1e-6)
    assert set(importance) == {group.name for group in graph.channel_groups}
    plan = PruningPlan.from_counts(graph, {MERGED: 2}, name)
    assert plan.kept[MERGED] == tuple(
        sorted(np.argsort(-np.array(BY_HAND[name]), kind="stable")[:2])
    )


def test_groups_without_batchnorm_get_their_l2_norm():
    graph = LayerGraph.from_model(networks.build("plain"))
    scales, norms = criteria.batchnorm_scale(graph), criteria.l2(graph)
    np.testing.assert_array_equal(scales["conv2d"], norms["conv2d"])
    gamma = graph.model.get_layer("batch_normalization").gamma.numpy()
    np.testing.assert_allclose(scales["conv2d_1"], np.abs(gamma))


@pytest.mark.parametrize("name", ["awkward_names", "shuffle", "dense_to_image", "resnet_a"])
def test_a_channel_counts_wherever_it_lies(name):
    graph = LayerGraph.from_model(networks.build(name))
    norms = criteria.l2(graph)
    for group in graph.prunable_groups:
        total = np.zeros(group.size)
        for layer in group.producers:
            kernel = graph.model.get_layer(layer).kernel.numpy()
            (axis,) = (
                a for a in group.axes if a.layer == layer and a.role == "out" and a.weight == 0
            )
            for channel, positions in enumerate(axis.positions):
                total[channel] += np.square(kernel.take(positions, axis.axis)).sum()
        np.testing.assert_allclose(norms[group.name], np.sqrt(total), rtol=1e-5)


def test_random_is_repeatable():
    graph = LayerGraph.from_model(networks.build("plain"))
    first, second = criteria.Random(3)(graph), criteria.Random(3)(graph)
    np.testing.assert_array_equal(first["conv2d"], second["conv2d"])
    assert (first["conv2d"] != criteria.Random(4)(graph)["conv2d"]).any()


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


ENDS = {
    "logits": None,
    "softmax layer": L.Softmax(name="end"),
    "softmax activation": L.Activation("softmax", name="end"),
    "softmax op": tf.nn.softmax,
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("one_hot", [False, True])
def test_taylor_by_hand(end, one_hot):
    model = two_branches(ENDS[end])
    graph = LayerGraph.from_model(model)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(6, 2)).astype("float32"), np.array([0, 1, 1, 0, 1, 0])
    data = (x, np.eye(2, dtype="float32")[y] if one_hot else y)
    left, bias = model.get_layer("left").get_weights()
    (right,) = model.get_layer("right").get_weights()
    gamma, reader = (
        model.get_layer("norm").get_weights()[0],
        model.get_layer("reader").get_weights()[0],
    )
    expected = np.zeros(3)
    for rows in (slice(0, 4), slice(4, 6)):
        a, b = x[rows] @ left, x[rows] @ right
        error = softmax((a + bias + gamma * b) @ reader) - np.eye(2)[y[rows]]
        gradient = error @ reader.T / len(error)
        expected += ((gradient * (a + bias + gamma * b)).sum(0)) ** 2
    for trainable in (True, False):
        model.get_layer("left").trainable = trainable
        importance = criteria.Taylor(data, batch_size=4)(graph)
        np.testing.assert_allclose(importance[MERGED], expected, rtol=1e-3)
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(4)
    np.testing.assert_allclose(criteria.Taylor(dataset)(graph)[MERGED], expected, rtol=1e-3)


def test_taylor_makes_plans_and_leaves_the_model_alone():
    model = networks.build("resnet_a")
    graph = LayerGraph.from_model(model)
    before = [w.numpy() for w in model.weights]
    data = (networks.inputs_for(model, 8), np.arange(8) % 3)
    plan = PruningPlan.from_keep_ratios(graph, 0.5, criteria.Taylor(data, batch_size=4))
    assert plan.kept != PruningPlan.from_keep_ratios(graph, 0.5).kept
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


@pytest.mark.parametrize("data", [None, (np.zeros((3, 2)), np.zeros(2)), (np.zeros((0, 2)), [])])
def test_taylor_refuses_data_it_cannot_use(data):
    with pytest.raises(UserError):
        criteria.Taylor(data)


def test_fpgm_is_least_for_the_filter_in_the_middle():
    start = keras.Input((4,))
    model = keras.Model(start, keras.layers.Dense(2)(keras.layers.Dense(5, name="made")(start)))
    rows = np.array([[1.0, 0, 0, 0], [-1, 0, 0, 0], [0, 2, 0, 0], [0, -2, 0, 0], [0, 0, 0, 0]])
    model.get_layer("made").set_weights([rows.T, np.zeros(5)])
    found = criteria.fpgm(LayerGraph.from_model(model))["made"]
    side, far = 2 + 2 * 5**0.5 + 1, 4 + 2 * 5**0.5 + 2
    np.testing.assert_allclose(found, [side, side, far, far, 6])
