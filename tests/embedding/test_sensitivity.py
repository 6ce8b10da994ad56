import numpy as np
import pytest
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.cost.projection import Limit, Projection
from tfgraphprune.embedding.sensitivity import least_changing, output_changes
from tfgraphprune.pruning.criteria import l2

L = keras.layers


def network():
    start = keras.Input((6, 6, 2))
    x = L.Conv2D(8, 3, padding="same", name="kept")(start)
    x = L.BatchNormalization()(x)
    y = L.Conv2D(8, 1, name="useless")(x)
    x = L.Concatenate()([L.GlobalAveragePooling2D()(x), L.GlobalAveragePooling2D()(y)])
    return keras.Model(start, L.Dense(3, name="last")(x))


def test_a_group_that_nothing_depends_on_changes_nothing():
    keras.utils.set_random_seed(0)
    model = network()
    kernel, bias = model.get_layer("last").get_weights()
    kernel[8:] = 0
    model.get_layer("last").set_weights([kernel, bias])
    graph = tgp.LayerGraph.from_model(model)
    images = np.random.default_rng(0).normal(size=(16, 6, 6, 2)).astype("float32")
    before = [w.copy() for w in model.get_weights()]
    columns, forwarded = output_changes(graph, images, l2(graph))
    rows = dict(
        zip([g.name for g in graph.prunable_groups], columns["change_at_half"], strict=True)
    )
    assert rows["useless"] < 1e-6 < 0.01 < rows["kept"] < 1
    assert (columns["change_at_quarter"] >= columns["change_at_half"] - 1e-9).all()
    assert forwarded == 16 * (1 + 2 * 2)
    for ours, same in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, same)


def projection(sizes, prices, share):
    sizes, prices = np.array(sizes), np.array(prices, float)
    limit = Limit("cost", lambda counts: np.asarray(counts) @ prices, share * (sizes @ prices))
    return Projection(sizes, np.ones(len(sizes), int), (limit,), 0.1)


@pytest.mark.parametrize(
    ("half", "quarter", "prices", "order"),
    [
        ((0.1, 0.4), (0.2, 0.8), (1, 1), (0, 1)),  # who changes less is cut more
        ((0.2, 0.2), (0.5, 0.5), (4, 1), (0, 1)),  # or who costs more
        ((0.0, 0.4), (0.0, 0.8), (1, 1), (0, 1)),
        ((0.4, 0.1), (0.1, 0.2), (1, 1), (1, 0)),  # a quarter never counts as better than a half
    ],
)
def test_channels_go_where_the_outputs_change_least_for_the_cost(half, quarter, prices, order):
    columns = {"change_at_half": np.array(half), "change_at_quarter": np.array(quarter)}
    budget = projection([40, 40], prices, 0.6)
    counts = least_changing(budget, columns)
    assert budget.fits(counts) and not budget.fits(counts + (counts < 40))
    cut, kept = order
    assert counts[cut] < counts[kept]


@pytest.mark.parametrize("change", [0.0, 0.3])
def test_groups_that_change_alike_are_cut_alike(change):
    columns = {"change_at_half": np.full(3, change), "change_at_quarter": np.full(3, 2 * change)}
    counts = least_changing(projection([30, 30, 30], [1, 1, 1], 0.5), columns)
    assert counts.max() - counts.min() <= 1 and counts.sum() == 45


def test_batches_change_little():
    keras.utils.set_random_seed(0)
    graph = tgp.LayerGraph.from_model(network())
    images = np.random.default_rng(0).normal(size=(64, 6, 6, 2)).astype("float32")
    whole, parts = (output_changes(graph, images, l2(graph), size)[0] for size in (64, 20))
    for name, values in whole.items():
        np.testing.assert_allclose(parts[name], values, atol=0.1)
