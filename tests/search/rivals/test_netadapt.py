import numpy as np
import pytest

from tests.search.rivals.test_sensitivity import Separable
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
