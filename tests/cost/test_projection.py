"""The projection: never over, nothing left unspent, fair, and stable under its own result."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests import networks, random_networks
from tfgraphprune.cost import (
    Limit,
    ProductCost,
    Projection,
    count_macs,
    count_params,
    dense_counts,
    resolve_limits,
)
from tfgraphprune.errors import UserError
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning import PruningPlan, prune
from tfgraphprune.settings import Budget


@st.composite
def projections(draw) -> Projection:
    """Random sizes, steps and one or two product costs, with limits that can be met."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    groups, weights = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    sizes = random.integers(1, 65, groups)
    steps = random.choice([1, 1, 2, 4, 8], groups)
    limits = []
    for number in range(draw(st.integers(1, 2))):
        axes = random.integers(0, 3, (2, weights, groups)) * (
            random.random((2, weights, groups)) < 0.5
        )
        cost = ProductCost(
            random.integers(1, 1000, weights).astype(float),
            axes.astype(float),
            random.integers(0, 5, (2, weights)).astype(float),
        )
        limits.append(Limit(f"cost {number}", cost, np.inf))
    lowest = Projection(sizes, steps, tuple(limits)).lowest
    share = draw(st.floats(0, 1))
    tight = [
        Limit(m.name, m.cost, float(m.cost(lowest) * (1 - share) + m.cost(sizes) * share))
        for m in limits
    ]
    tight = [Limit(m.name, m.cost, max(m.value, float(m.cost(lowest)))) for m in tight]
    return Projection(sizes, steps, tuple(tight))


@st.composite
def problems(draw) -> tuple[Projection, np.ndarray]:
    projection = draw(projections())
    bound = draw(st.sampled_from([0.5, 3.0, 200.0]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    return projection, random.uniform(-bound, bound, len(projection.sizes))


@given(problems())
def test_limits_hold_and_no_further_step_fits(problem):
    projection, scores = problem
    counts, _ = projection.project(scores)
    assert projection.fits(counts)
    assert (counts >= projection.lowest).all()
    assert (counts <= projection.sizes).all()
    whole = counts % projection.steps == 0
    assert (whole | (counts == projection.sizes) | (counts == projection.lowest)).all()
    check_nothing_left(projection, counts)


def check_nothing_left(projection, counts):
    for group, step in enumerate(projection.steps):
        if counts[group] < projection.sizes[group]:
            more = counts.copy()
            more[group] = min(counts[group] // step * step + step, projection.sizes[group])
            assert not projection.fits(more)


@given(random_networks.models(), st.floats(0.1, 0.95), st.floats(0.1, 0.95), st.integers(0, 99))
@settings(max_examples=8)
def test_random_networks_are_cut_to_their_budgets(network, macs, params, seed):
    graph = LayerGraph.from_model(network.model)
    try:
        limits = resolve_limits(Budget(macs_ratio=macs, params_ratio=params), graph)
        projection = Projection.of(graph, limits)
    except UserError:  # nothing to cut, infeasible, or no MACs to be counted
        assume(False)
    counts, _ = projection.project(np.random.default_rng(seed).normal(size=len(projection.sizes)))
    kept = dict(zip([g.name for g in graph.prunable_groups], map(range, counts), strict=True))
    small = prune(network.model, PruningPlan.from_indices(graph, kept))
    assert count_macs(small) <= macs * count_macs(network.model) + 1e-6
    assert count_params(small) <= params * count_params(network.model) + 1e-6
    check_nothing_left(projection, counts)


@given(problems())
def test_the_scores_of_a_result_give_it_again(problem):
    projection, scores = problem
    counts, shift = projection.project(scores)
    executed = projection.scores_of(counts, shift, scores)
    assert np.isfinite(executed).all()
    np.testing.assert_array_equal(projection.project(executed)[0], counts)


@given(st.integers(1, 6), st.integers(2, 64), st.floats(0.05, 1), st.integers(0, 2**32))
def test_equal_groups_with_equal_scores_get_equal_counts_up_to_one_step(groups, size, share, seed):
    cost = ProductCost(np.ones(1), np.ones((2, 1, groups)), np.ones((2, 1)))
    sizes, steps = np.full(groups, size), np.ones(groups, int)
    limit = max(share * cost(sizes), cost(np.ceil(0.1 * sizes)))
    projection = Projection(sizes, steps, (Limit("cost", cost, float(limit)),))
    random = np.random.default_rng(seed)
    scores = random.choice([-0.7, 0.4], groups)
    counts, _ = projection.project(scores)
    for score in set(scores):
        assert np.ptp(counts[scores == score]) <= 1
    if len(set(scores)) == 2:
        assert counts[scores > 0].min() >= counts[scores < 0].max()


def linear(prices) -> ProductCost:
    prices = np.asarray(prices, float)
    ones = np.ones((1, len(prices)))
    return ProductCost(np.ones(1), np.stack([ones * prices, 0 * ones]), np.array([[0.0], [1.0]]))


BY_HAND = [
    # sizes, steps, prices, limit, scores, counts
    ([10, 10], [1, 1], [1, 1], 10, [0, 0], [5, 5]),
    ([10, 10], [1, 1], [1, 1], 11, [0.01, 0], [6, 5]),
    ([10, 10], [1, 1], [1, 1], 20, [-5, 5], [10, 10]),
    ([10, 10], [1, 1], [1, 1], 11, [-500, 500], [1, 10]),
    ([8, 8], [4, 4], [1, 1], 13, [0.2, 0], [8, 4]),
    ([6, 8], [4, 4], [1, 1], 10, [0, 2], [6, 4]),
    ([10, 10], [1, 1], [3, 1], 21, [0, 0], [5, 6]),
]


@pytest.mark.parametrize("case", BY_HAND)
def test_projections_by_hand(case):
    sizes, steps, prices, limit, scores, expected = case
    projection = Projection(np.array(sizes), np.array(steps), (Limit("l", linear(prices), limit),))
    assert projection.project(np.array(scores))[0].tolist() == expected


NO_SCORES = [[0, np.nan], [np.inf, 0], [0, -np.inf], [0], [0, 0, 0], [[0, 0]], 0.0]


@pytest.mark.parametrize("scores", NO_SCORES)
def test_what_are_no_scores_is_refused(scores):
    projection = Projection(np.array([9, 9]), np.ones(2), (Limit("l", linear([1, 1]), 10),))
    with pytest.raises(ValueError, match="scores must be 2 finite numbers, one a group"):
        projection.project(np.array(scores))


def test_a_model_meets_all_entries_of_a_budget():
    graph = LayerGraph.from_model(networks.build("resnet_a"))
    limits = resolve_limits(Budget(macs_ratio=0.5, params=1500, file_bytes=20_000), graph, 2000.0)
    assert [limit.name for limit in limits] == ["macs", "params", "file_bytes"]
    projection = Projection.of(graph, limits)
    counts, _ = projection.project(np.zeros(len(projection.sizes)))
    macs = limits[0].cost
    assert macs(counts) <= 0.5 * macs(dense_counts(graph))
    assert limits[1].cost(counts) <= 1500
    assert limits[2].cost(counts) <= 20_000


@pytest.mark.parametrize(("measured", "limit"), [(None, 0.5), (10_000, 5000)])
def test_a_share_of_the_file_is_of_the_measured_one(measured, limit):
    graph = _resnet()
    (found,) = resolve_limits(Budget(file_bytes_ratio=0.5), graph, 2000.0, dense_bytes=measured)
    assert found.name == "file_bytes"
    whole = float(found.cost(dense_counts(graph)))
    assert found.value == (limit if measured else limit * whole)


def _nothing_to_cut():
    return LayerGraph.from_model(networks.image_model(lambda x: x))


def _resnet():
    return LayerGraph.from_model(networks.build("resnet_a"))


def _of(budget: Budget, **settings) -> Projection:
    graph = _resnet()
    return Projection.of(graph, resolve_limits(budget, graph), **settings)


ERRORS = {
    "infeasible": (
        lambda: _of(Budget(macs_ratio=0.5), min_keep=0.9),
        "raise the budget or lower min_keep",
    ),
    "infeasible parameters": (lambda: _of(Budget(params=10)), "asks for params <= 10, but"),
    "nothing to cut": (
        lambda: resolve_limits(Budget(macs_ratio=0.5), _nothing_to_cut()),
        "no channel group of this model may be cut",
    ),
    "no overhead": (
        lambda: resolve_limits(Budget(file_bytes=1000), _resnet()),
        "needs the overhead of the dense TFLite file",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_came(case):
    action, fragment = ERRORS[case]
    with pytest.raises(UserError) as caught:
        action()
    assert fragment in str(caught.value)
