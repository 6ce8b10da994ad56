"""Weight axes: what was silenced is what is not used, also in blocks."""

import numpy as np
import pytest

from tfgraphprune.graph.axes import silence, used_positions


@pytest.mark.parametrize(
    ("shape", "axis", "blocks"),
    [((7, 4), 0, 1), ((7, 4), 1, 1), ((3, 3, 6, 8), 2, 1), ((3, 3, 2, 12), 2, 3), ((5, 8), 0, 4)],
)
def test_what_was_silenced_is_not_used(shape, axis, blocks):
    random = np.random.default_rng(0)
    length = shape[axis] * blocks
    removed = np.sort(random.permutation(length)[: length // 2])
    weight = random.uniform(1, 2, shape) * silence(None, shape, axis, blocks, removed)
    np.testing.assert_array_equal(np.flatnonzero(~used_positions(weight, axis, blocks)), removed)
