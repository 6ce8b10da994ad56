import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec

from tests.search.synthetic import chain_graph
from tfgraphprune.embedding.group_graph import GroupGraph
from tfgraphprune.search.networks import LOG_STD_BOUNDS, GroupActor, GroupCritic


def specs(graph):
    return (
        tf.TensorSpec(graph.features.shape, tf.float32, "features"),
        tensor_spec.BoundedTensorSpec([len(graph.names)], tf.float32, -1, 1, "action"),
    )


def actor(graph, seed=0):
    made = GroupActor(*specs(graph), graph, seed=seed)
    made.create_variables()
    return made


def critic(graph, seed=0):
    made = GroupCritic(specs(graph), graph, seed=seed)
    made.create_variables()
    return made


def actions(network, features):
    return network(tf.constant(features)[None])[0].mode().numpy()[0]


def value(network, features, action):
    return network((tf.constant(features)[None], tf.constant(action)[None]))[0].numpy()[0]


def without_edges(graph):
    return GroupGraph(
        graph.names, graph.features, np.zeros_like(graph.adjacency), graph.feature_names
    )


@pytest.mark.parametrize("groups", [1, 2, 500])
def test_any_number_of_groups(groups):
    graph = chain_graph(groups)
    distribution = actor(graph)(graph.features[None])[0]
    sample = distribution.sample(seed=[1, 2]).numpy()
    assert sample.shape == (1, groups) and np.abs(sample).max() <= 1
    assert distribution.log_prob(sample).shape == (1,)
    assert np.isfinite(distribution.log_prob(sample))
    assert np.isfinite(value(critic(graph), graph.features, sample[0]))


def test_actions_and_gradients_differ_across_states():
    graph = chain_graph(5)
    network = actor(graph)
    states = graph.features, chain_graph(5, seed=9).features
    assert np.abs(actions(network, states[0]) - actions(network, states[1])).max() > 1e-2
    gradients = []
    for state in states:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(state[None])[0].mode())
        gradients.append(tape.gradient(loss, network.trainable_variables[0]).numpy())
    assert np.abs(gradients[0] - gradients[1]).max() > 1e-2


def test_a_batch_is_judged_state_by_state():
    graph = chain_graph(5)
    network, judge = actor(graph), critic(graph)
    states = np.stack([graph.features, chain_graph(5, seed=9).features])
    means = network(states)[0].mode().numpy()
    values = judge((states, means))[0].numpy()
    for state, mean, judged in zip(states, means, values, strict=True):
        np.testing.assert_allclose(actions(network, state), mean, atol=1e-6)
        np.testing.assert_allclose(value(judge, state, mean), judged, atol=1e-6)
    assert abs(values[0] - values[1]) > 1e-3


@pytest.mark.parametrize("relation", [0, 1])
def test_zeroed_edges_change_actions_and_values(relation):
    graph = chain_graph(5)
    adjacency = graph.adjacency.copy()
    adjacency[relation] = 0
    cut = GroupGraph(graph.names, graph.features, adjacency, graph.feature_names)
    action = np.linspace(-1, 1, 5, dtype=np.float32)
    difference = actions(actor(graph), graph.features) - actions(actor(cut), graph.features)
    assert np.abs(difference).max() > 1e-2
    values = [value(critic(g), graph.features, action) for g in (graph, cut)]
    assert abs(values[0] - values[1]) > 1e-3


def test_permuting_the_groups_permutes_the_actions_and_keeps_the_value():
    graph = chain_graph(7)
    order = np.random.default_rng(3).permutation(7)
    permuted = graph.permute(order)
    expected = actions(actor(graph), graph.features)
    np.testing.assert_allclose(
        actions(actor(permuted), permuted.features), expected[order], atol=1e-5
    )
    assert np.ptp(expected) > 1e-2
    action = np.linspace(-1, 1, 7, dtype=np.float32)
    np.testing.assert_allclose(
        value(critic(permuted), permuted.features, action[order]),
        value(critic(graph), graph.features, action),
        atol=1e-5,
    )


def test_the_value_depends_on_every_action():
    graph = chain_graph(6)
    network = critic(graph)
    action = tf.zeros([1, 6])
    with tf.GradientTape() as tape:
        tape.watch(action)
        judged = network((graph.features[None], action))[0]
    assert np.abs(tape.gradient(judged, action)).min() > 1e-5


def test_weights_fit_any_graph():
    small, large = chain_graph(4), chain_graph(9, seed=2)
    for make in (actor, critic):
        source, target = make(small, seed=0), make(large, seed=1)
        target.set_weights(source.get_weights())
        np.testing.assert_array_equal(target.get_weights()[0], source.get_weights()[0])


def test_copies_share_no_weights_and_start_from_the_same_seed():
    graph = chain_graph(4)
    first = critic(graph)
    second = first.copy(name="copy")
    second.create_variables()
    ids = {id(v) for v in first.variables}
    assert not ids & {id(v) for v in second.variables}
    for ours, theirs in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_time_dimension_is_allowed():
    graph = chain_graph(4)
    features = np.stack([graph.features] * 6).reshape(2, 3, *graph.features.shape)
    distribution = actor(graph)(features)[0]
    assert distribution.mode().shape == (2, 3, 4)
    assert critic(graph)((features, distribution.mode()))[0].shape == (2, 3)


def test_spread_stays_within_its_bounds():
    graph = chain_graph(4)
    for scale in (-1e3, 1e3):
        network = actor(graph)
        network.set_weights([w * 0 + scale * (w.shape == (2,)) for w in network.get_weights()])
        spread = np.log(network(graph.features[None])[0].input_distribution.stddev())
        np.testing.assert_allclose(spread, LOG_STD_BOUNDS[scale > 0], atol=1e-4)
