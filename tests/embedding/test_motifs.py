"""Motifs of small networks, written out by hand."""

import numpy as np
import pytest
import tf_keras as keras

from tfgraphprune.embedding.features import FEATURES, group_graph
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


def plain():
    start = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, name="first")(start)
    x = L.Conv2D(5, 3, name="second")(x)
    return keras.Model(start, L.Dense(2, name="last")(L.GlobalAveragePooling2D()(x)))


def read(model):
    graph = LayerGraph.from_model(model)
    return graph, motifs_of(graph, graph.prunable_groups)


def layers_of(motifs):
    """Each layer's nodes for inputs and for outputs, which tell these networks' layers apart."""
    sides = motifs.mask[:, :NODES].sum(1), motifs.mask[:, NODES:].sum(1)
    return [(int(a), int(b)) for a, b in zip(*sides, strict=True)]


FIRST, DEPTH, SECOND, LAST = (3, 4), (4, 4), (4, 16), (16, 2)

MEMBERS = [
    (plain, {"first": [(3, 4)], "second": [(4, 5)]}, {"first": [(4, 5)], "second": [(5, 2)]}),
    # A depthwise kernel passes the channels on: it reads and makes them. 40 channels, 16 nodes.
    (
        network,
        {"first": [FIRST, DEPTH], "second": [SECOND]},
        {"first": [DEPTH, SECOND], "second": [LAST]},
    ),
]


@pytest.mark.parametrize(("build", "makes", "reads"), MEMBERS)
def test_layers_belong_to_the_groups_that_they_make_and_read(build, makes, reads):
    graph, motifs = read(build())
    layers = layers_of(motifs)
    assert len(set(layers)) == len(layers)
    assert motifs.nodes.shape == (len(layers), 2 * NODES, len(STATISTICS))
    for rows, expected in ((motifs.makes, makes), (motifs.reads, reads)):
        found = {
            group.name: sorted(layers[i] for i in np.flatnonzero(row))
            for group, row in zip(graph.prunable_groups, rows, strict=True)
        }
        assert found == expected


def test_nodes_hold_the_filters_statistics():
    model = plain()
    kernel = np.zeros((3, 3, 3, 4), np.float32)
    kernel[..., 3] = -1
    kernel[..., 0] = 2
    kernel[0, 0, 0, 1] = 3
    model.get_layer("first").set_weights([kernel, np.zeros(4)])
    _, motifs = read(model)
    outputs = motifs.nodes[layers_of(motifs).index((3, 4)), NODES : NODES + 4]
    column = dict(zip(STATISTICS, outputs.T, strict=True))
    # In the order of their norms: the silent filter, the one with a single weight, -1, 2.
    l2 = np.array([0, 3 / 27**0.5, 1, 2])
    np.testing.assert_allclose(column["l2"], l2 / l2.mean(), rtol=1e-5)
    l1 = np.array([0, 3 / 27, 1, 2])
    np.testing.assert_allclose(column["l1"], l1 / l1.mean(), rtol=1e-5)
    np.testing.assert_allclose(column["mean"], np.array([0, 3 / 27, -1, 2]) / l2.mean(), rtol=1e-5)
    largest = np.log1p(np.array([0, 3, 1, 2]) / l2.mean())
    np.testing.assert_allclose(column["largest"], largest, rtol=1e-5)
    assert column["alignment"][0] == 0 and column["alignment"][2] < -0.8
    np.testing.assert_allclose(column["alignment"][3], -column["alignment"][2], rtol=1e-5)
    assert (column["is_output"] == 1).all() and (column["share"] == 0.25).all()


def test_bins_hold_channels_of_neighbouring_norms():
    model = network()
    kernel = np.zeros((1, 1, 4, 40), np.float32)
    kernel[:] = np.random.default_rng(0).permutation(40)
    model.get_layer("second").set_weights([kernel, np.zeros(40)])
    _, motifs = read(model)
    nodes = motifs.nodes[layers_of(motifs).index(SECOND), NODES:]
    parts = np.array_split(np.arange(40), NODES)
    expected = np.array([part.mean() for part in parts]) / 19.5
    np.testing.assert_allclose(nodes[:, STATISTICS.index("l2")], expected, rtol=1e-5)
    shares = [len(part) / 40 for part in parts]
    np.testing.assert_allclose(nodes[:, STATISTICS.index("share")], shares, rtol=1e-5)


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
    row = layers_of(motifs).index(FIRST)
    ties = motifs.adjacency[row, :3, NODES : NODES + 4]
    np.testing.assert_allclose(ties, motifs.adjacency[row, NODES : NODES + 4, :3].T)
    # Channels are sorted by their norm: the strong pair is last on both sides.
    assert ties.argmax() == 11 and ties[2, 3] == 5 * ties[1, 2] > 0
    assert np.count_nonzero(ties) == 2


def test_a_depthwise_kernel_ties_each_channel_to_itself():
    _, motifs = read(network())
    row = layers_of(motifs).index(DEPTH)
    ties = motifs.adjacency[row, :4, NODES : NODES + 4]
    assert np.count_nonzero(ties) == np.count_nonzero(ties.diagonal()) == 4


def test_filters_of_zeros_are_finite():
    model = network()
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    _, motifs = read(model)
    assert np.isfinite(motifs.nodes).all() and np.isfinite(motifs.adjacency).all()
    graph = group_graph(LayerGraph.from_model(model))
    assert np.isfinite(graph.features).all()


def test_the_policy_s_graph_has_motifs_and_sensitivity():
    graph = LayerGraph.from_model(network())
    plain = group_graph(graph)
    assert plain.motifs.makes.shape == (2, 4) and plain.feature_names == FEATURES
    changes = {"change_at_half": [0.5, 0.25], "change_at_quarter": [0.7, 0.3]}
    made = group_graph(graph, (), {name: np.array(column) for name, column in changes.items()})
    columns = [plain.feature_names.index(name) for name in changes]
    assert not plain.features[:, columns].any()
    np.testing.assert_allclose(made.features[:, columns].T, [*changes.values()])
    others = np.delete(np.arange(plain.features.shape[1]), columns)
    np.testing.assert_array_equal(made.features[:, others], plain.features[:, others])
