import numpy as np
import pytest

from tests.search.rivals.test_sensitivity import FailingSeparable, Separable
from tests.search.synthetic import PatternProblem
from tfgraphprune.search.loop import run_search


def test_each_iteration_cuts_where_it_costs_least():
    problem = Separable([0.4, 0.3, 0.02, 0.01])
    history = run_search(problem, "netadapt", evaluations=41, progress=False)
    assert len(history.rows) == 41 and "probe" not in history.rows[-1]
    starts, cheapest = [], []
    for first in range(0, 40, 4):
        trials = np.array([row["counts"] for row in history.rows[first : first + 4]])
        rewards = np.array([row["reward"] for row in history.rows[first : first + 4]])
        starts.append(trials.max(0))
        saved = starts[-1].sum() - trials.sum(1)
        cheapest.append(trials[np.argmin((rewards.max() - rewards) / np.maximum(saved, 1e-9))])
    assert starts[0].tolist() == [32] * 4
    for iteration, (start, cut) in enumerate(zip(starts[1:], cheapest, strict=False)):
        goal = 128 - 64 * (iteration + 1) / 10
        assert (start <= cut).all() and goal - 1 < start.sum() <= goal
    assert min(history.best_counts[:2]) > 20 and max(history.best_counts[2:]) < 16


def test_many_small_groups_share_an_iteration():
    """Two iterations of half of what goes, of which no group has more than a tenth."""
    weights = [0.2, 0.01] * 5
    history = run_search(Separable(weights), "netadapt", evaluations=21, progress=False)
    assert 156 <= sum(history.best_counts) <= 160
    assert min(history.best_counts[::2]) >= 16 and max(history.best_counts[1::2]) <= 8


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
