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


def graph_of(groups, relations=3, seed=0, nodes=5):
    random = np.random.default_rng(seed)
    layers = groups + 1
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


def difference(first, second):
    """The largest one between two encoders' embeddings of their first graphs."""
    return np.abs(embedded(first) - embedded(second)).max()


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


@pytest.mark.parametrize("name", sorted(set(ENCODERS) - set(EQUIVARIANT)))
def test_the_place_of_a_group_matters_to_the_others(name):
    graph = graph_of(9)
    order = np.roll(np.arange(9), 3)
    moved = embedded(encoder(name, graph.permute(order))) - embedded(encoder(name, graph))[order]
    assert np.abs(moved).max() > 1e-2


@pytest.mark.parametrize("name", ENCODERS)
def test_padding_beside_a_larger_graph_changes_nothing(name):
    """Neither that it is there, nor what is stored in it, nor the rest of the batch."""
    graphs = [graph_of(9, seed=1, nodes=8), graph_of(4), graph_of(1, seed=2, nodes=3)]
    together = encoder(name, *graphs)
    bank = together.bank
    numbers = np.array([1, 0, 2, 1])
    stored = np.where(bank.mask[..., None] > 0, bank.features, 7.0)[numbers].astype(np.float32)
    found = together(stored, graph=tf.constant(numbers)).numpy()
    for row, number in enumerate(numbers):
        alone = encoder(name, graphs[number])
        embedded(alone)
        alone.set_weights(together.get_weights())
        groups = len(graphs[number].names)
        np.testing.assert_allclose(found[row, :groups], embedded(alone), atol=1e-5)


@pytest.mark.parametrize("name", WITH_EDGES)
@pytest.mark.parametrize("relation", [0, 1, 2])
def test_zeroing_the_edges_of_a_relation_changes_the_embeddings(name, relation):
    graph = graph_of(6)
    adjacency = graph.adjacency.copy()
    adjacency[relation] = 0
    cut = replace(graph, adjacency=adjacency)
    assert difference(encoder(name, graph), encoder(name, cut)) > 1e-3


def test_features_alone_see_neither_edges_nor_other_groups_nor_motifs():
    graph = graph_of(6)
    cut = replace(graph, adjacency=np.zeros_like(graph.adjacency), motifs=None)
    assert difference(encoder("features", graph), encoder("features", cut)) == 0
    features = graph.features.copy()
    features[0] += 1
    made = encoder("features", graph)
    moved = np.abs(made(features[None])[0] - embedded(made)).max(1)
    assert moved[0] > 1e-2 and not moved[1:].any()


def test_random_features_are_no_features_and_those_of_every_policy():
    graph = graph_of(6)
    made, blind = encoder("random", graph), replace(graph, features=graph.features + 1)
    assert difference(made, encoder("random", blind)) == 0
    other = encoder("random", graph, seed=1)
    embedded(other)
    assert difference(made, other) > 1e-2
    other.set_weights(made.get_weights())
    assert difference(made, other) == 0


@pytest.mark.parametrize("part", ["nodes", "adjacency", "mask", "makes", "reads"])
def test_every_part_of_the_motifs_changes_the_multi_stage_embeddings(part):
    graph = graph_of(6)
    silent = replace(graph.motifs, **{part: np.zeros_like(getattr(graph.motifs, part))})
    cut = replace(graph, motifs=silent)
    assert difference(encoder("multi_stage", graph), encoder("multi_stage", cut)) > 1e-3
    assert difference(encoder("gcn", graph), encoder("gcn", cut)) == 0


def test_a_graph_without_motifs_beside_one_with_motifs():
    bare = replace(graph_of(4), motifs=None)
    together, alone = encoder("multi_stage", graph_of(6), bare), encoder("multi_stage", bare)
    assert np.isfinite(embedded(alone)).all()
    # A network without filters has nothing for the motif level: as if its embeddings were zero.
    silent = encoder("multi_stage", replace(bare, motifs=silenced(graph_of(4).motifs)))
    for made in (together, silent):
        embedded(made)
    together.set_weights(silent.get_weights())
    np.testing.assert_allclose(embedded(together, 1)[:4], embedded(silent), atol=1e-5)


def silenced(motifs):
    """Motifs that belong to no group."""
    return replace(motifs, makes=0 * motifs.makes, reads=0 * motifs.reads)


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
    for name in ENCODERS:
        made = encoder(name, graph_of(4))
        features = made.bank.features
        zeros, ones = np.zeros((1, 4, 1), np.float32), np.ones((1, 4, 1), np.float32)
        assert np.abs(made(features, extra=zeros) - made(features, extra=ones)).max() > 1e-2, name


SPEKTRALS = [
    ("gcn", relational, "GCNConv", "relation_"),
    ("multi_stage", relational, "GCNConv", "relation_"),
    ("multi_stage", relational, "GCNConv", "filters"),
    ("random", relational, "GCNConv", "relation_"),
    ("gcn_lstm", recurrent, "GCNConv", "graph_"),
    ("attention", attention, "_SeededAttention", "attention_"),
]


@pytest.mark.parametrize(("name", "module", "layer", "prefix"), SPEKTRALS)
def test_message_passing_is_spektrals(monkeypatch, name, module, layer, prefix):
    spektrals = getattr(module, layer)
    assert any(base.__module__.startswith("spektral.") for base in spektrals.__mro__)
    expected = embedded(encoder(name, graph_of(6)))

    class Silent(spektrals):
        def call(self, inputs, mask=None):
            outputs = super().call(inputs)
            silent = self.name.startswith(prefix)
            return tf.nest.map_structure(tf.zeros_like, outputs) if silent else outputs

    monkeypatch.setattr(module, layer, Silent)
    assert np.abs(embedded(encoder(name, graph_of(6))) - expected).max() > 1e-3


def test_an_unknown_encoder_is_refused():
    with pytest.raises(UserError, match=r"one of multi_stage, gcn, .*, not .cnn."):
        encoder("cnn", graph_of(2))


def test_the_mean_is_over_the_nodes_of_the_mask():
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    mask = np.array([1, 1, 0], np.float32)[None, :, None]
    np.testing.assert_allclose(pooled(tf.constant(x), mask), x[:, :2].mean(1), atol=1e-6)
