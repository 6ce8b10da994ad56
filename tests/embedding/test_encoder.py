"""All encoders: any graph, any batch of graphs, and what each of them must and must not see."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tfgraphprune.embedding import attention, recurrent, relational
from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.embedding.encoder import pooled
from tfgraphprune.embedding.encoders import ENCODERS, encoder_of
from tfgraphprune.embedding.group_graph import GroupGraph, Motifs
from tfgraphprune.errors import UserError

WITH_EDGES = ("multi_stage", "gcn", "gcn_lstm", "attention")
EQUIVARIANT = ("multi_stage", "gcn", "attention", "features")


def graph_of(groups, relations=3, seed=0):
    random = np.random.default_rng(seed)
    layers, nodes = groups + 1, 5
    motifs = Motifs(
        random.uniform(size=(layers, nodes, 7)),
        random.uniform(size=(layers, nodes, nodes)),
        np.ones((layers, nodes)),
        random.integers(0, 2, (groups, layers)),
        random.integers(0, 2, (groups, layers)),
    )
    return GroupGraph(
        tuple(f"g{i}" for i in range(groups)),
        random.normal(size=(groups, 5)),
        random.uniform(size=(relations, groups, groups)) < 0.3,
        tuple("abcde"),
        motifs,
    )


def encoder(name, *graphs, seed=0, hidden=8):
    return encoder_of(name, GraphBank(graphs), hidden, 2, seed)


def embedded(made, number=0):
    bank = made.bank
    return made(bank.features[number][None], graph=tf.constant([number])).numpy()[0]


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize(("groups", "relations"), [(1, 2), (7, 0), (7, 3), (100, 3)])
def test_embeds_any_number_of_groups_and_relations(name, groups, relations):
    outputs = embedded(encoder(name, graph_of(groups, relations)))
    assert outputs.shape == (groups, 8)
    assert np.isfinite(outputs).all() and np.abs(outputs).max() < 100


@pytest.mark.parametrize("name", sorted(set(ENCODERS) - {"attention"}))
def test_embeds_500_groups(name):
    assert np.isfinite(embedded(encoder(name, graph_of(500)))).all()


@pytest.mark.parametrize("name", EQUIVARIANT)
def test_permuting_the_groups_permutes_the_embeddings(name):
    graph = graph_of(9)
    order = np.random.default_rng(2).permutation(9)
    expected = embedded(encoder(name, graph))
    np.testing.assert_allclose(
        embedded(encoder(name, graph.permute(order))), expected[order], atol=1e-5
    )
    assert np.abs(expected - expected[order]).max() > 1e-2


@pytest.mark.parametrize("name", sorted(set(ENCODERS) - {"random"}))
def test_padding_beside_a_larger_graph_changes_nothing(name):
    small, large = graph_of(4), graph_of(9, seed=1)
    alone, together = encoder(name, small), encoder(name, large, small)
    expected = embedded(alone)
    embedded(together)
    together.set_weights(alone.get_weights())
    np.testing.assert_allclose(embedded(together, 1)[:4], expected, atol=1e-5)


@pytest.mark.parametrize("name", WITH_EDGES)
@pytest.mark.parametrize("relation", [0, 1, 2])
def test_zeroing_the_edges_of_a_relation_changes_the_embeddings(name, relation):
    graph = graph_of(6)
    adjacency = graph.adjacency.copy()
    adjacency[relation] = 0
    difference = embedded(encoder(name, graph)) - embedded(
        encoder(name, replace(graph, adjacency=adjacency))
    )
    assert np.abs(difference).max() > 1e-3


def test_features_alone_see_no_edges():
    graph = graph_of(6)
    cut = replace(graph, adjacency=np.zeros_like(graph.adjacency))
    np.testing.assert_array_equal(
        embedded(encoder("features", graph)), embedded(encoder("features", cut))
    )


def test_random_features_are_no_features():
    graph = graph_of(6)
    other = replace(graph, features=graph.features + 1)
    np.testing.assert_array_equal(
        embedded(encoder("random", graph)), embedded(encoder("random", other))
    )


@pytest.mark.parametrize("part", ["nodes", "adjacency", "makes", "reads"])
def test_every_part_of_the_motifs_changes_the_multi_stage_embeddings(part):
    graph = graph_of(6)
    silent = replace(graph.motifs, **{part: np.zeros_like(getattr(graph.motifs, part))})
    cut = replace(graph, motifs=silent)
    assert np.abs(
        embedded(encoder("multi_stage", graph)) - embedded(encoder("multi_stage", cut))
    ).max() > 1e-3  # fmt: skip
    np.testing.assert_array_equal(embedded(encoder("gcn", graph)), embedded(encoder("gcn", cut)))


def test_messages_follow_the_direction_of_the_edges():
    graph = graph_of(3)
    adjacency = np.zeros((1, 3, 3), np.float32)
    adjacency[0, 1, 0] = 1
    made = encoder("gcn", replace(graph, adjacency=adjacency))
    x = graph.features[None]
    changed = x.copy()
    changed[:, 0] += 1
    moved = np.abs(made(changed) - made(x)).max((0, 2))
    assert moved[0] > 0.01 and moved[1] > 0.01 and moved[2] == 0


@pytest.mark.parametrize("name", ENCODERS)
def test_weights_go_to_a_graph_of_another_size(name):
    small, large = encoder(name, graph_of(4)), encoder(name, graph_of(11, seed=5), seed=1)
    embedded(small)
    before = embedded(large)
    large.set_weights(small.get_weights())
    assert np.abs(embedded(large) - before).max() > 1e-3


@pytest.mark.parametrize("name", ENCODERS)
def test_the_seed_decides_all_weights(name):
    graph = graph_of(4)
    made = [encoder(name, graph, seed=seed) for seed in (3, 3, 4)]
    values = []
    for each in made:
        embedded(each)
        values.append([w for w in each.get_weights() if w.ndim == 2])
    for ours, again, other in zip(*values, strict=True):
        np.testing.assert_array_equal(ours, again)
        assert not np.array_equal(ours, other)


def test_further_features_are_read():
    made = encoder("multi_stage", graph_of(4))
    features = made.bank.features
    zeros, ones = np.zeros((1, 4, 1), np.float32), np.ones((1, 4, 1), np.float32)
    assert np.abs(made(features, extra=zeros) - made(features, extra=ones)).max() > 1e-2


@pytest.mark.parametrize(
    ("name", "module", "layer"),
    [
        ("gcn", relational, "GCNConv"),
        ("multi_stage", relational, "GCNConv"),
        ("gcn_lstm", recurrent, "GCNConv"),
        ("attention", attention, "_SeededAttention"),
    ],
)
def test_message_passing_is_spektrals(monkeypatch, name, module, layer):
    assert getattr(module, layer).__mro__[-1] is object
    bases = [base.__module__ for base in getattr(module, layer).__mro__]
    assert any(base.startswith("spektral.") for base in bases)
    expected = embedded(encoder(name, graph_of(6)))

    class Silent(getattr(module, layer)):
        def call(self, inputs, mask=None):
            return tf.nest.map_structure(tf.zeros_like, super().call(inputs))

    monkeypatch.setattr(module, layer, Silent)
    assert np.abs(embedded(encoder(name, graph_of(6))) - expected).max() > 1e-2


def test_an_unknown_encoder_is_refused():
    with pytest.raises(UserError, match=r"one of multi_stage, gcn, .*, not .cnn."):
        encoder("cnn", graph_of(2))


def test_the_mean_is_over_the_nodes_of_the_mask():
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    mask = np.array([1, 1, 0], np.float32)[None, :, None]
    np.testing.assert_allclose(pooled(tf.constant(x), mask), x[:, :2].mean(1), atol=1e-6)
