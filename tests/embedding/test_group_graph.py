import numpy as np
import pytest

from tfgraphprune.embedding.group_graph import GroupGraph
from tfgraphprune.errors import UserError


def graph(**changes):
    arguments = {
        "names": ("a", "b", "c"),
        "features": np.arange(6.0).reshape(3, 2),
        "adjacency": np.arange(18.0).reshape(2, 3, 3),
        "feature_names": ("x", "y"),
    }
    return GroupGraph(**{**arguments, **changes})


REFUSED = [
    ({"names": ()}, "names must be at least one"),
    ({"names": ("a", "a", "b")}, "each once"),
    ({"feature_names": ("x",)}, r"shape \(3, 1\)"),
    ({"features": np.zeros((2, 2))}, r"not \(2, 2\)"),
    ({"features": np.full((3, 2), np.nan)}, "features must be finite"),
    ({"adjacency": np.zeros((3, 3))}, r"not \(3, 3\)"),
    ({"adjacency": np.zeros((1, 3, 2))}, r"\(relations, 3, 3\)"),
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


def test_permute_moves_names_rows_and_both_ends_of_edges():
    before, after = graph(), graph().permute([2, 0, 1])
    assert after.names == ("c", "a", "b")
    for i, name in enumerate(after.names):
        old = before.names.index(name)
        np.testing.assert_array_equal(after.features[i], before.features[old])
        for j, other in enumerate(after.names):
            was = before.adjacency[:, old, before.names.index(other)]
            np.testing.assert_array_equal(after.adjacency[:, i, j], was)


@pytest.mark.parametrize("order", [[0, 1], [0, 0, 1], [1, 2, 3]])
def test_permute_refuses_what_is_no_order(order):
    with pytest.raises(UserError, match="each of 0 to 2 once"):
        graph().permute(order)


def test_no_relation_is_allowed():
    assert graph(adjacency=np.zeros((0, 3, 3))).adjacency.shape == (0, 3, 3)
