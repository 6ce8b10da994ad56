import numpy as np
import pytest

from tests.search.rivals.test_sensitivity import FailingSeparable, Separable
from tests.search.synthetic import PatternProblem
from tfgraphprune.search.loop import run_search


def test_each_iteration_keeps_the_best_of_the_cuts():
    problem = Separable([0.4, 0.3, 0.02, 0.01])
    history = run_search(problem, "netadapt", evaluations=41, progress=False)
    assert len(history.rows) == 41 and "probe" not in history.rows[-1]
    totals = [sum(row["counts"]) for row in history.rows[:-1]]
    goals = 128 - 64 * np.arange(1, 11) / 10
    for iteration, goal in enumerate(goals):
        within = totals[4 * iteration : 4 * iteration + 4]
        assert min(within) <= goal
        best = max(
            (row for row, total in zip(history.rows[4 * iteration :], within, strict=False)
             if total <= goal),
            key=lambda row: row["reward"],
        )  # fmt: skip
        following = history.rows[4 * iteration + 4]["counts"]
        assert all(n <= m for n, m in zip(following, best["counts"], strict=True)) or (
            iteration == len(goals) - 1
        )
    assert min(history.best_counts[:2]) > 20 and max(history.best_counts[2:]) < 16


@pytest.mark.parametrize("evaluations", [1, 4])
def test_without_an_evaluation_for_each_group_it_is_uniform(evaluations):
    history = run_search(
        Separable([0.4, 0.3, 0.02, 0.01]), "netadapt", evaluations=evaluations, progress=False
    )
    assert [row["counts"] for row in history.rows] == [[16] * 4]


@pytest.mark.parametrize("groups", [1, 2, 100])
@pytest.mark.parametrize("evaluations", [1, 3, 102, 205])
def test_any_number_of_groups_and_evaluations(groups, evaluations):
    history = run_search(
        PatternProblem(groups), "netadapt", evaluations=evaluations, progress=False
    )
    assert len(history.rows) <= evaluations and len(history.answers) == 1


def test_cuts_that_failed_are_not_kept():
    problem = FailingSeparable([0.4, 0.3, 0.02, 0.01], (4, 5, 8, 12, 13))
    history = run_search(problem, "netadapt", evaluations=41, progress=False)
    assert len(history.rows) == 41 and sum(history.best_counts) <= 64
    # The fourth cut failed in the first three iterations.
    assert all(row["counts"][3] == 32 for row in history.rows[4:7])
