import numpy as np
import pytest

import tfgraphprune as tgp
from tfgraphprune.cost import Projection, resolve_limits
from tfgraphprune.cost.projection import Limit
from tfgraphprune.search.evaluation.evaluator import RewardEvaluator
from tfgraphprune.search.loop import run_search
from tfgraphprune.search.plan_problem import PlanProblem
from tfgraphprune.search.rivals.knapsack import KnapsackSearch, solve


def linear(sizes, prices, share):
    prices = np.array(prices, float)
    return Projection(
        np.array(sizes), np.ones(len(sizes), int),
        (Limit("cost", lambda counts: np.asarray(counts) @ prices, share * (sizes @ prices)),),
        0.1,
    )  # fmt: skip


def test_solves_a_linear_knapsack_up_to_its_last_item():
    random = np.random.default_rng(0)
    sizes = np.array([6, 6, 6])
    items = [np.sort(random.uniform(0, 1, 6))[::-1] for _ in sizes]
    values = [np.concatenate([[0], np.cumsum(each)]) for each in items]
    projection = linear(sizes, [1, 2, 3], 0.5)
    best = max(
        (sum(v[n] for v, n in zip(values, counts, strict=True)), counts)
        for counts in np.ndindex(7, 7, 7)
        if min(counts) >= 1 and projection.fits(np.array(counts))
    )[0]
    found = solve(projection, values, rounds=1)
    assert projection.fits(found)
    value = sum(v[n] for v, n in zip(values, found, strict=True))
    assert best - max(each.max() for each in items) <= value <= best + 1e-9


def test_whole_tiles_are_kept_where_cost_is_a_staircase():
    def cost(counts):
        return (np.ceil(np.asarray(counts) / 8) * 8).sum(-1)

    sizes = np.array([32, 32, 32])
    limit = Limit("cost", cost, 56.0)
    projection = Projection(sizes, np.ones(3, int), (limit,), 0.1)
    values = [weight * np.sqrt(np.arange(33)) for weight in (1.0, 1.1, 1.2)]
    found = solve(projection, values, rounds=4)
    assert (found % 8 == 0).all() and cost(found) == 56
    assert found.tolist() == sorted(found)


def test_a_group_worth_nothing_goes_first():
    values = [np.linspace(0, 1, 9), np.zeros(9)]
    found = solve(linear(np.array([8, 8]), [1, 1], 0.6), values, rounds=3)
    assert found.tolist() == [8, 1]


@pytest.mark.parametrize("budget", [{"macs_ratio": 0.5}, {"macs_ratio": 0.6, "params_ratio": 0.4}])
def test_on_a_network_the_budget_holds_and_gradients_are_charged(digits_model, digits, budget):
    graph = tgp.LayerGraph.from_model(digits_model)
    some = tuple(part[:128] for part in digits.train)
    limits = resolve_limits(tgp.Budget(**budget), graph)
    problem = PlanProblem.of(graph, limits, RewardEvaluator(graph, some, digits.reward), some)
    search = KnapsackSearch(problem, 1, 0)
    counts = np.array(problem.execute(search.propose(0)).counts)
    assert problem.projection.fits(counts) and problem.images == 3 * 128
    uniform = problem.execute(np.zeros(len(counts))).counts
    assert tuple(counts) != uniform


def test_a_finished_search_is_charged_once_and_not_run_again(digits_model, digits, tmp_path):
    graph = tgp.LayerGraph.from_model(digits_model)
    some = tuple(part[:64] for part in digits.train)
    limits = resolve_limits(tgp.Budget(macs_ratio=0.5), graph)
    evaluator = RewardEvaluator(graph, some, digits.reward)
    problems = [PlanProblem.of(graph, limits, evaluator, some) for _ in range(2)]
    rows = [
        run_search(problem, "knapsack", evaluations=9, checkpoint_dir=tmp_path, progress=False).rows
        for problem in problems
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 1
    assert problems[0].images == rows[0][0]["images"] > 3 * 64 and problems[1].images == 0
