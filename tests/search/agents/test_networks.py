from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec

from tests.search.synthetic import chain_graph, with_guess
from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.embedding.group_graph import Motifs
from tfgraphprune.search.agents.networks import LOG_STD_BOUNDS, GroupActor, GroupCritic


def specs(bank):
    observation = {
        "features": tf.TensorSpec(bank.features.shape[1:], tf.float32, "features"),
        "graph": tensor_spec.BoundedTensorSpec([], tf.int32, 0, len(bank) - 1, "graph"),
    }
    return observation, tensor_spec.BoundedTensorSpec([bank.size], tf.float32, -1, 1, "action")


def banked(graph):
    return graph if isinstance(graph, GraphBank) else GraphBank([graph])


def actor(graph, seed=0):
    bank = banked(graph)
    made = GroupActor(*specs(bank), bank, seed=seed)
    made.create_variables()
    return made


def critic(graph, seed=0):
    bank = banked(graph)
    made = GroupCritic(specs(bank), bank, seed=seed)
    made.create_variables()
    return made


def observed(features, number=0):
    """An observation for features `[..., N, F]`."""
    features = tf.constant(features, tf.float32)
    return {"features": features, "graph": tf.fill(features.shape[:-2], number)}


def actions(network, features):
    return network(observed(features[None]))[0].mode().numpy()[0]


def value(network, features, action):
    return network((observed(features[None]), tf.constant(action)[None]))[0].numpy()[0]


def changed(graph, **parts):
    return replace(graph, **parts)


@pytest.mark.parametrize("groups", [1, 2, 500])
def test_any_number_of_groups(groups):
    graph = chain_graph(groups)
    distribution = actor(graph)(observed(graph.features[None]))[0]
    sample = distribution.sample(seed=[1, 2]).numpy()
    assert sample.shape == (1, groups) and np.abs(sample).max() <= 1
    assert distribution.log_prob(sample).shape == (1,)
    assert np.isfinite(distribution.log_prob(sample))
    assert np.isfinite(value(critic(graph), graph.features, sample[0]))


def test_actions_depart_from_the_guess():
    guess = np.linspace(-1, 1, 5, dtype=np.float32)
    graph = with_guess(chain_graph(5), guess)
    made = actor(graph)
    first = actions(made, graph.features)
    assert np.corrcoef(first, guess)[0, 1] > 0.8
    *hidden, kernel, bias = made.get_weights()
    made.set_weights([*hidden, 0 * kernel, 0 * bias])
    np.testing.assert_allclose(
        actions(made, graph.features), np.clip(guess, -0.95, 0.95), atol=1e-5
    )


def test_actions_and_gradients_differ_across_states():
    graph = chain_graph(5)
    network = actor(graph)
    states = graph.features, chain_graph(5, seed=9).features
    assert np.abs(actions(network, states[0]) - actions(network, states[1])).max() > 1e-2
    gradients = []
    for state in states:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(observed(state[None]))[0].mode())
        gradients.append(tape.gradient(loss, network.trainable_variables[0]).numpy())
    assert np.abs(gradients[0] - gradients[1]).max() > 1e-2


def test_a_batch_is_judged_state_by_state():
    graph = chain_graph(5)
    network, judge = actor(graph), critic(graph)
    states = np.stack([graph.features, chain_graph(5, seed=9).features])
    means = network(observed(states))[0].mode().numpy()
    values = judge((observed(states), means))[0].numpy()
    for state, mean, judged in zip(states, means, values, strict=True):
        np.testing.assert_allclose(actions(network, state), mean, atol=1e-6)
        np.testing.assert_allclose(value(judge, state, mean), judged, atol=1e-6)
    assert abs(values[0] - values[1]) > 1e-3


@pytest.mark.parametrize("relation", [0, 1])
def test_zeroed_edges_change_actions_and_values(relation):
    graph = chain_graph(5)
    adjacency = graph.adjacency.copy()
    adjacency[relation] = 0
    cut = changed(graph, adjacency=adjacency)
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
        judged = network((observed(graph.features[None]), action))[0]
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


def test_a_time_dimension_changes_nothing():
    bank = GraphBank([chain_graph(4), chain_graph(3, seed=2)])
    network, judge = actor(bank), critic(bank)
    numbers = np.array([0, 1, 1, 0, 0, 1])
    noise = np.random.default_rng(0).normal(size=(6, *bank.features.shape[1:]))
    features = tf.constant(bank.features[numbers] + noise, tf.float32)
    flat = {"features": features, "graph": tf.constant(numbers, tf.int32)}
    timed = tf.nest.map_structure(lambda x: tf.reshape(x, [2, 3, *x.shape[1:]]), flat)
    expected, found = (network(each)[0] for each in (flat, timed))
    for part in ("mode", "stddev"):
        ours = (getattr(d.input_distribution, part)().numpy() for d in (found, expected))
        np.testing.assert_allclose(next(ours).reshape(6, 4), next(ours), atol=1e-6)
    values = judge((timed, found.mode()))[0].numpy()
    np.testing.assert_allclose(values.ravel(), judge((flat, expected.mode()))[0], atol=1e-6)
    assert values.shape == (2, 3) and np.ptp(values) > 1e-2


def test_spread_stays_within_its_bounds():
    graph = chain_graph(4)
    for scale in (-1e3, 1e3):
        network = actor(graph)
        network.set_weights([w * 0 + scale * (w.shape == (2,)) for w in network.get_weights()])
        spread = np.log(network(observed(graph.features[None]))[0].input_distribution.stddev())
        np.testing.assert_allclose(spread, LOG_STD_BOUNDS[scale > 0], atol=1e-4)


def with_motifs(graph, scale=1.0):
    random = np.random.default_rng(5)
    groups, layers, nodes = len(graph.names), 4, 6
    motifs = Motifs(
        scale * random.uniform(size=(layers, nodes, 7)),
        random.uniform(size=(layers, nodes, nodes)),
        np.ones((layers, nodes)),
        random.integers(0, 2, (groups, layers)),
        random.integers(0, 2, (groups, layers)),
    )
    return replace(graph, motifs=motifs)


def test_zeroed_motifs_change_actions_and_values():
    graph = chain_graph(5)
    kinds = with_motifs(graph), with_motifs(graph, 0.0)
    difference = np.subtract(*(actions(actor(kind), graph.features) for kind in kinds))
    assert np.abs(difference).max() > 1e-2
    action = np.linspace(-1, 1, 5, dtype=np.float32)
    values = [value(critic(kind), graph.features, action) for kind in kinds]
    assert abs(values[0] - values[1]) > 1e-3


def test_graphs_of_one_batch_are_judged_as_if_alone():
    graphs = [with_motifs(chain_graph(3)), with_motifs(chain_graph(6, seed=4))]
    bank = GraphBank(graphs)
    together, judge = actor(bank), critic(bank)
    numbers = tf.constant([1, 0, 1])
    batch = {"features": tf.gather(bank.features, numbers), "graph": numbers}
    means = together(batch)[0].mode().numpy()
    stored = np.where(np.arange(6) < 3, means[1], 7.0)  # what is stored for padding
    judged = judge((batch, np.stack([means[0], stored, means[2]])))[0].numpy()
    for row, number in enumerate(numbers.numpy()):
        graph = graphs[number]
        size = len(graph.names)
        alone, judge_alone = actor(graph), critic(graph)
        alone.set_weights(together.get_weights())
        judge_alone.set_weights(judge.get_weights())
        np.testing.assert_allclose(means[row, :size], actions(alone, graph.features), atol=1e-5)
        np.testing.assert_allclose(
            judged[row], value(judge_alone, graph.features, means[row, :size]), atol=1e-5
        )
