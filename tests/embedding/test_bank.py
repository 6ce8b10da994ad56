from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.embedding.test_encoder import graph_of
from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.errors import UserError


def test_graphs_are_padded_to_the_largest():
    graphs = [graph_of(3), graph_of(5, seed=1)]
    bank = GraphBank(graphs)
    assert bank.size == 5 and bank.features.shape == (2, 5, 5)
    np.testing.assert_array_equal(bank.mask, [[1, 1, 1, 0, 0], [1] * 5])
    np.testing.assert_array_equal(bank.features[0, :3], graphs[0].features)
    np.testing.assert_array_equal(bank.adjacency[0, :, :3, :3], graphs[0].adjacency)
    assert not bank.adjacency[0, :, 3:].any() and not bank.adjacency[0, :, :, 3:].any()
    # Each row is a mean: nothing reaches a group from padding.
    np.testing.assert_allclose(bank.filters.sum(-1), 1, atol=1e-6)
    assert not bank.filters[0, :, :3, 3:].any()


def test_motifs_are_padded_and_padding_reaches_no_filter():
    small, large = graph_of(3, nodes=4), graph_of(5, seed=1, nodes=6)
    motifs = GraphBank([small, large]).motifs
    assert motifs.nodes.shape == (2, 6, 6, 7)
    np.testing.assert_array_equal(motifs.mask[0], np.pad(np.ones((4, 4)), [(0, 2), (0, 2)]))
    np.testing.assert_array_equal(motifs.nodes[0, :4, :4], small.motifs.nodes)
    assert not motifs.nodes[0, 4:].any() and not motifs.nodes[0, :, 4:].any()
    np.testing.assert_allclose(motifs.adjacency.sum(-1), 1, atol=1e-6)
    assert not motifs.adjacency[0, :, :4, 4:].any() and not motifs.adjacency[0, :, 4:, :4].any()
    assert not motifs.makes[0, 3:].any() and not motifs.makes[0, :, 4:].any()


def test_filters_are_means_over_neighbours_and_the_group_itself():
    adjacency = np.zeros((2, 3, 3))
    adjacency[0, 0, 1] = adjacency[0, 0, 2] = adjacency[1, 1, 0] = 1
    bank = GraphBank([replace(graph_of(3), adjacency=adjacency)])
    third = np.array([[1 / 3] * 3, [0, 1, 0], [0, 0, 1]])
    half = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]])
    np.testing.assert_allclose(bank.filters[0], [third, half], atol=1e-6)
    both = np.array([[1 / 3] * 3, [0.5, 0.5, 0], [0, 0, 1]])
    np.testing.assert_allclose(bank.merged[0], both, atol=1e-6)


def test_memberships_are_shares():
    bank = GraphBank([graph_of(3), graph_of(5, seed=1)])
    for part in (bank.motifs.makes, bank.motifs.reads):
        assert part.shape == (2, 5, 6)
        sums = part.sum(-1)
        assert np.isin(np.round(sums, 5), [0, 1]).all() and (sums > 0).any()
    own = graph_of(3).motifs.makes[0]
    np.testing.assert_allclose(bank.motifs.makes[0, 0, :4], own / own.sum())


def test_constants_are_looked_up_by_the_graph():
    one, two = GraphBank([graph_of(3)]), GraphBank([graph_of(3), graph_of(3, seed=1)])
    numbers = tf.constant([1, 0, 1])
    assert one.of(one.mask, numbers).shape == (1, 3)
    np.testing.assert_array_equal(two.of(two.features, numbers), two.features[numbers.numpy()])


@pytest.mark.parametrize(
    ("graphs", "message"),
    [
        ([], "at least one graph"),
        ([graph_of(3), graph_of(3, relations=2)], "same features and relations"),
        (
            [graph_of(3), replace(graph_of(3), feature_names=tuple("edcba"))],
            "same features and relations",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(graphs, message):
    with pytest.raises(UserError, match=message):
        GraphBank(graphs)
