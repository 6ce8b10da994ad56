import numpy as np
import pytest

from tfgraphprune.embedding.group_graph import GroupGraph, Motifs
from tfgraphprune.errors import UserError


def graph(**changes):
    arguments = {
        "names": ("a", "b", "c"),
        "features": np.arange(6.0).reshape(3, 2),
        "adjacency": np.arange(18.0).reshape(2, 3, 3),
        "feature_names": ("x", "y"),
    }
    return GroupGraph(**{**arguments, **changes})


def motifs(groups=3, **changes):
    """Two layers of four filters each."""
    random = np.random.default_rng(0)
    arguments = {
        "nodes": random.normal(size=(2, 4, 3)),
        "adjacency": random.uniform(size=(2, 4, 4)),
        "mask": np.ones((2, 4)),
        "makes": random.integers(0, 2, (groups, 2)),
        "reads": random.integers(0, 2, (groups, 2)),
    }
    return Motifs(**{**arguments, **changes})


REFUSED = [
    ({"names": ()}, "names must be at least one"),
    ({"names": ("a", "a", "b")}, "each once"),
    ({"feature_names": ("x",)}, r"shape \(3, 1\)"),
    ({"features": np.zeros((2, 2))}, r"not \(2, 2\)"),
    ({"features": np.full((3, 2), np.nan)}, "features must be finite"),
    ({"adjacency": np.zeros((3, 3))}, r"not \(3, 3\)"),
    ({"adjacency": np.zeros((1, 3, 2))}, r"\(relations, 3, 3\)"),
    ({"adjacency": np.full((1, 3, 3), np.inf)}, "adjacency must be finite"),
    ({"motifs": motifs(4)}, r"motifs' makes must have the shape \(3, 2\), not \(4, 2\)"),
    ({"motifs": motifs(2)}, r"motifs' makes must have the shape \(3, 2\), not \(2, 2\)"),
    ({"motifs": motifs(reads=np.zeros((3, 5)))}, r"motifs' reads .* not \(3, 5\)"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_refuses_what_does_not_fit(changes, message):
    with pytest.raises(UserError, match=message):
        graph(**changes)


def test_arrays_are_float32_and_read_only():
    made = graph()
    assert made.features.dtype == made.adjacency.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        made.features[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        motifs().nodes[0, 0] = 1


@pytest.mark.parametrize("part", ["nodes", "adjacency", "mask", "makes", "reads"])
def test_motifs_of_a_weight_that_is_not_finite_are_refused(part):
    broken = np.array(getattr(motifs(), part))
    broken.flat[1] = np.nan
    with pytest.raises(UserError, match=f"motifs' {part} must be finite"):
        motifs(**{part: broken})


def test_permute_moves_names_rows_and_both_ends_of_edges():
    before, after = graph(), graph().permute([2, 0, 1])
    assert after.names == ("c", "a", "b")
    for i, name in enumerate(after.names):
        old = before.names.index(name)
        np.testing.assert_array_equal(after.features[i], before.features[old])
        for j, other in enumerate(after.names):
            was = before.adjacency[:, old, before.names.index(other)]
            np.testing.assert_array_equal(after.adjacency[:, i, j], was)


def test_permute_moves_who_makes_and_reads_the_layers_but_not_the_layers():
    before = graph(motifs=motifs(makes=[[1, 0], [0, 1], [1, 1]], reads=[[0, 0], [1, 0], [0, 1]]))
    after = before.permute([2, 0, 1])
    np.testing.assert_array_equal(after.motifs.makes, [[1, 1], [1, 0], [0, 1]])
    np.testing.assert_array_equal(after.motifs.reads, [[0, 1], [0, 0], [1, 0]])
    for part in ("nodes", "adjacency", "mask"):
        np.testing.assert_array_equal(getattr(after.motifs, part), getattr(before.motifs, part))


def test_without_motifs_there_are_no_layers():
    bare = graph().permute([2, 0, 1]).motifs
    assert bare.makes.shape == bare.reads.shape == (3, 0) and len(bare.nodes) == 0


@pytest.mark.parametrize("order", [[0, 1], [0, 0, 1], [1, 2, 3]])
def test_permute_refuses_what_is_no_order(order):
    with pytest.raises(UserError, match="each of 0 to 2 once"):
        graph().permute(order)


def test_no_relation_is_allowed():
    assert graph(adjacency=np.zeros((0, 3, 3))).adjacency.shape == (0, 3, 3)
