"""The union-find against a naive one, and labels that know along which axis channels change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfgraphprune.graph.labels import IdUnion, Kept, Labels, compact, per_channel

SIZE = 12
PAIRS = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1)), max_size=8)


@given(st.lists(PAIRS, max_size=6), st.integers(0, 3000))
def test_union_matches_a_naive_one(batches, others):
    union = IdUnion()
    before = union.new(others)
    ids = union.new(SIZE)
    naive = [{i} for i in range(SIZE)]
    for pairs in batches:
        for a, b in pairs:
            merged = naive[a] | naive[b]
            for member in merged:
                naive[member] = merged
        pairs = np.array(pairs, int).reshape(-1, 2)
        union.unite(ids[pairs[:, 0]], ids[pairs[:, 1]])
        expected = ids[[min(group) for group in naive]]
        np.testing.assert_array_equal(union.find(ids), expected)
        np.testing.assert_array_equal(union.find(ids.reshape(3, 4)), expected.reshape(3, 4))
    np.testing.assert_array_equal(union.find(before), before)
    assert len(union) == others + SIZE


@given(st.permutations(range(200)))
def test_union_of_a_long_chain(order):
    union = IdUnion()
    ids = union.new(200)[list(order)]
    union.unite(ids[1:], ids[:-1])
    assert (union.find(ids) == 0).all()


def test_union_broadcasts():
    union = IdUnion()
    ids = union.new(6).reshape(2, 3)
    union.unite(ids, ids[:1])
    np.testing.assert_array_equal(union.find(ids), [[0, 1, 2]] * 2)


def test_labels_vary_by_class_and_not_by_id():
    union = IdUnion()
    labels = compact(union.new(24).reshape(2, 3, 4), (2, 3, 4))
    assert labels.varying(union) == (0, 1, 2)
    union.unite(labels.ids, labels.ids[:1])
    assert labels.varying(union) == (1, 2)
    union.unite(labels.ids, labels.ids[:, :1])
    assert labels.varying(union) == (2,)


@pytest.mark.parametrize("shape", [(4,), (5, 5, 4), (None, None, 4)])
def test_kept_tells_shapes_and_positions(shape):
    union = IdUnion()
    labels = per_channel(union.new(4), shape)
    kept = Kept(union, np.array([True, False, True, True]))
    assert kept.shape(labels) == (*shape[:-1], 3)
    assert kept.along(labels, len(shape) - 1).tolist() == [True, False, True, True]
    assert kept.along(labels, 0).all() or len(shape) == 1
    assert not kept.all_of([labels])
    assert Kept(union, np.ones(4, bool)).all_of([labels])


def test_compact_keeps_every_id():
    ids = np.broadcast_to(np.arange(3), (5, 4, 3))
    labels = compact(ids, (5, 4, 3))
    assert labels.ids.shape == (1, 1, 3)
    np.testing.assert_array_equal(labels.full(), ids)
    assert Labels(labels.ids, (5, 4, 3)).rank == 3
