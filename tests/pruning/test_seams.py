"""Layers that are used otherwise than usual end in a right network: cut, or frozen for a reason."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tests import network_seams, networks
from tests.pruning.test_invariant import error, make_plan
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning import PruningPlan, masked, prune


@pytest.mark.parametrize("name", network_seams.ALL)
def test_what_is_made_of_a_network_computes_the_same(name):
    keras.backend.clear_session()
    model = network_seams.ALL[name]()
    if name != "a vocabulary":
        networks.randomise(model)
    graph, x = LayerGraph.from_model(model), networks.inputs_for(model)
    dense = networks.outputs_of(model, x)
    for make in (prune, masked):
        whole = make(model, PruningPlan({}, graph.fingerprint))
        assert error(dense, networks.outputs_of(whole, x)) < 1e-4, make.__name__
    assert all(group.prunable or group.reason for group in graph.channel_groups)
    for kind in ("one channel each", "any number") if graph.prunable_groups else ():
        plan = make_plan(graph, kind)
        expected, got = (networks.outputs_of(f(model, plan), x) for f in (masked, prune))
        assert error(expected, got) < 1e-4, kind


@pytest.mark.parametrize(
    ("name", "free"),
    [
        ("a block's own activation", {"maker": 6, "reader": 5}),
        ("a cell's activation", {"embedding": 8, "lstm": 6}),
        ("a mask for a recurrent layer", {"embedding": 8, "lstm": 5}),
        ("a normalization of one's own", {"embedding": 8, "dense": 7}),
    ],
)
def test_what_can_be_followed_is(name, free):
    keras.backend.clear_session()
    graph = LayerGraph.from_model(network_seams.ALL[name]())
    assert free.items() <= {g.name: g.size for g in graph.prunable_groups}.items()


def test_tied_weights_are_those_of_the_smaller_model():
    model = networks.randomise(network_seams.tied())
    graph, x = LayerGraph.from_model(model), networks.inputs_for(model)
    small = prune(model, PruningPlan.from_keep_ratios(graph, 0.5))
    before = networks.outputs_of(small, x)
    for variable in model.weights:
        variable.assign_add(tf.ones_like(variable))
    np.testing.assert_array_equal(before[0], networks.outputs_of(small, x)[0])
    small.get_layer("embedding").embeddings.assign_add(tf.ones((10, 8)))
    assert np.abs(before[0] - networks.outputs_of(small, x)[0]).max() > 0.1


def test_a_smaller_model_trains_with_noise_of_a_fixed_shape_and_with_a_block_s_loss():
    for name, losses in (("noise of a fixed shape", 0), ("a loss in a block", 1)):
        model = networks.randomise(network_seams.ALL[name]())
        graph, x = LayerGraph.from_model(model), networks.inputs_for(model)
        small = prune(model, PruningPlan.from_keep_ratios(graph, 0.5))
        assert small(x, training=True).shape == (4, 3)
        assert len(small.losses) == losses


def test_losses_of_the_model_s_own_are_warned_of_and_refused_in_compress(caplog):
    start = keras.Input((4,))
    model = keras.Model(start, keras.layers.Dense(3)(keras.layers.Dense(5, "relu")(start)))
    model.add_loss(tf.reduce_mean(tf.square(model.output)))
    model.compile("sgd", "mse")
    graph = LayerGraph.from_model(model)
    assert prune(model, PruningPlan.from_keep_ratios(graph, 0.5)).losses == []
    assert "by add_loss are not in the smaller model" in caplog.text
    data = np.zeros((8, 4), np.float32), np.zeros((8, 3), np.float32)
    with pytest.raises(tgp.UserError, match="by add_loss can't go along"):
        tgp.compress(model, data, data, budget=tgp.Budget(macs_ratio=0.5), reward=lambda model: 0.0)
