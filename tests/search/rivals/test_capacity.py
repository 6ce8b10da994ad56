"""The most capacity for a cost."""

import numpy as np
import pytest

import tfgraphprune as tgp
from tfgraphprune.cost import Projection, resolve_limits
from tfgraphprune.cost.model_cost import dense_counts, macs_cost
from tfgraphprune.cost.projection import Limit
from tfgraphprune.models import resnet_cifar
from tfgraphprune.search.rivals.capacity import capacity_counts


@pytest.fixture(scope="module")
def graph():
    return tgp.LayerGraph.from_model(resnet_cifar(8, "A"))


def test_more_macs_stay_than_of_equal_ratios_where_some_are_slow(graph):
    """Channels of the last block take five times as long for what they compute."""
    dense, macs = dense_counts(graph), macs_cost(graph)
    alone = np.array(
        [
            float(macs(dense)) - float(macs(np.where(np.arange(len(dense)) == g, 0, dense)))
            for g in range(len(dense))
        ]
    )
    prices = alone / dense
    slow = int(np.argmax(dense))
    prices[slow] *= 5
    limit = Limit("latency_ms", lambda counts: np.asarray(counts) @ prices, 0.6 * dense @ prices)
    projection = Projection.of(graph, (limit,))
    counts, equal = capacity_counts(graph, projection), projection.project(np.zeros(len(dense)))[0]
    assert projection.fits(counts)
    assert float(macs(counts)) > 1.1 * float(macs(equal))
    assert counts[slow] < 0.6 * equal[slow]


def test_it_is_an_agent(digits_model, digits):
    graph = tgp.LayerGraph.from_model(digits_model)
    search = tgp.Search(agent="capacity", rivals=(), evaluations=5)
    budget = tgp.Budget(macs_ratio=0.5)
    found = tgp.search_plan(
        digits_model, graph, digits.train, digits.reward, budget, search, progress=False
    )
    assert len(found.history) == 1
    counts = found.plan.counts(graph)
    assert Projection.of(graph, resolve_limits(budget, graph)).fits(counts)
