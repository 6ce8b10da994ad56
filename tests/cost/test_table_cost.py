"""Measured costs between their entries."""

import numpy as np
import pytest

from tfgraphprune.cost.model_cost import AxisSize
from tfgraphprune.cost.table_cost import FittedCost, KernelTable, TableCost

ONE, TWO = AxisSize(np.array([1.0, 0.0]), 0.0), AxisSize(np.array([0.0, 1.0]), 0.0)
RGB = AxisSize(np.zeros(2), 3.0)


def _table(costs, reads=ONE, makes=TWO, inputs=(8, 16), outputs=(8, 16, 32)):
    return KernelTable(reads, makes, np.array(inputs, float), np.array(outputs, float), costs)


PRODUCTS = np.outer([8.0, 16.0], [8.0, 16.0, 32.0])


@pytest.mark.parametrize(
    ("counts", "cost"),
    [
        ((8, 8), 64),
        ((16, 32), 512),
        ((12, 24), 288),
        ((12, 20), 240),
        ((2, 8), 64),
        ((16, 40), 512),
    ],
)
def test_entries_are_exact_and_between_them_it_is_bilinear(counts, cost):
    assert TableCost([_table(PRODUCTS)], np.zeros(2), 0.0)(np.array(counts)) == pytest.approx(cost)


def test_rows_tables_and_the_linear_part_add_up():
    first = _table(np.array([[1.0, 2.0]]), reads=RGB, makes=ONE, inputs=(3,), outputs=(8, 16))
    cost = TableCost([first, _table(PRODUCTS)], np.array([0.5, 0.25]), 7.0)
    rows = np.array([[[8, 8], [16, 32]]])
    linear = [0.5 * 8 + 0.25 * 8 + 7, 0.5 * 16 + 0.25 * 32 + 7]
    np.testing.assert_allclose(cost(rows), [[1 + 64 + linear[0], 2 + 512 + linear[1]]])
    fitted = FittedCost(cost, (2.0, 0.5, 1.0), 10.0)
    np.testing.assert_allclose(fitted(rows), 2 * cost(rows) + 0.05 * cost(rows) ** 2 + 1)


def test_tiles_are_paid_whole():
    cost = TableCost([_table(PRODUCTS)], np.zeros(2), 0.0, tile=8)
    paid = [float(cost(np.array([16, n]))) for n in (9, 15, 16, 17, 24)]
    assert paid[0] == paid[1] == paid[2] == 256 and paid[3] == paid[4] == 384


def test_noise_never_makes_more_channels_cheaper():
    random = np.random.default_rng(0)
    costs = PRODUCTS + random.normal(0, 100, PRODUCTS.shape)
    cost = TableCost([_table(costs)], np.zeros(2), 0.0)
    grid = np.stack(np.meshgrid(np.arange(1, 17), np.arange(1, 33), indexing="ij"), -1)
    assert (np.diff(cost(grid), axis=0) >= -1e-9).all()
    assert (np.diff(cost(grid), axis=1) >= -1e-9).all()
