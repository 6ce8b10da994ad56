"""Motifs of small networks, written out by hand."""

import numpy as np
import tf_keras as keras

from tfgraphprune.embedding.features import group_graph
from tfgraphprune.embedding.motifs import NODES, STATISTICS, motifs_of
from tfgraphprune.graph import LayerGraph

L = keras.layers


def network():
    start = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, name="first")(start)
    x = L.DepthwiseConv2D(3, name="depth")(x)
    x = L.Conv2D(40, 1, name="second")(x)
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(start, L.Dense(2, name="last")(x))


def read(model):
    graph = LayerGraph.from_model(model)
    return graph, motifs_of(graph, graph.prunable_groups)


def test_layers_belong_to_the_groups_that_they_make_and_read():
    graph, motifs = read(network())
    assert [g.name for g in graph.prunable_groups] == ["first", "second"]
    # first, depth, second, last
    order = np.argsort(-motifs.makes[0] - 2 * motifs.reads[0])
    assert motifs.makes.sum(1).tolist() == [2, 1] and motifs.reads.sum(1).tolist() == [2, 1]
    assert motifs.nodes.shape == (4, 2 * NODES, len(STATISTICS)) and len(order) == 4


def test_a_node_a_channel_and_bins_beyond_that():
    _, motifs = read(network())
    # Inputs and outputs with a node each: 3 + 4, 4 + 4, 4 + 16 of 40, 16 of 40 + 2.
    assert sorted(motifs.mask.sum(1).tolist()) == [7, 8, 18, 20]
    shares = motifs.nodes[..., STATISTICS.index("share")]
    for side in (slice(0, NODES), slice(NODES, None)):
        np.testing.assert_allclose(shares[:, side].sum(1), 1, atol=1e-6)
    outputs = motifs.nodes[..., STATISTICS.index("is_output")]
    assert not outputs[:, :NODES].any() and (outputs[:, NODES:] == motifs.mask[:, NODES:]).all()


def test_edges_weigh_as_much_as_the_kernel_between_the_channels():
    model = network()
    kernel = np.zeros((3, 3, 3, 4), np.float32)
    kernel[..., 0, 2] = 5.0
    kernel[..., 1, 1] = 1.0
    model.get_layer("first").set_weights([kernel, np.zeros(4)])
    _, motifs = read(model)
    row = next(i for i in range(4) if motifs.mask[i].sum() == 7)
    ties = motifs.adjacency[row, :3, NODES : NODES + 4]
    np.testing.assert_allclose(ties, motifs.adjacency[row, NODES : NODES + 4, :3].T)
    # Channels are sorted by their norm: the strong pair is last on both sides.
    assert ties.argmax() == 11 and ties[2, 3] == 5 * ties[1, 2] > 0
    assert np.count_nonzero(ties) == 2


def test_a_depthwise_kernel_ties_each_channel_to_itself():
    _, motifs = read(network())
    row = next(i for i in range(4) if motifs.mask[i].sum() == 8)
    ties = motifs.adjacency[row, :4, NODES : NODES + 4]
    assert np.count_nonzero(ties) == np.count_nonzero(ties.diagonal()) == 4


def test_filters_of_zeros_are_finite():
    model = network()
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    _, motifs = read(model)
    assert np.isfinite(motifs.nodes).all() and np.isfinite(motifs.adjacency).all()


def test_the_policy_s_graph_has_motifs_and_sensitivity():
    graph = LayerGraph.from_model(network())
    plain = group_graph(graph)
    assert plain.motifs.makes.shape == (2, 4)
    column = plain.feature_names.index("change_at_half")
    assert not plain.features[:, column].any()
    changes = {"change_at_half": np.array([0.5, 0.25]), "change_at_quarter": np.array([0.7, 0.3])}
    made = group_graph(graph, (), changes)
    np.testing.assert_allclose(made.features[:, column], [0.5, 0.25])
    order = [1, 0]
    np.testing.assert_array_equal(made.permute(order).motifs.makes, made.motifs.makes[order])
