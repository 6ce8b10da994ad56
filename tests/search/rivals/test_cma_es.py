import numpy as np
import pytest

from tests.search.synthetic import PatternProblem
from tfgraphprune.errors import UserError
from tfgraphprune.search.loop import run_search
from tfgraphprune.search.problem import Outcome, evaluate

pytest.importorskip("cmaes")

from tfgraphprune.search.rivals.cma_es import CmaEsSearch


def test_comes_close_to_the_optimum():
    history = run_search(PatternProblem(10), "cma_es", evaluations=150, seed=0, progress=False)
    assert history.best_reward > -0.1
    rewards = [row["reward"] for row in history.rows]
    assert np.mean(rewards[-20:]) > np.mean(rewards[:20]) + 0.5


@pytest.mark.parametrize("groups", [1, 2, 100])
def test_any_number_of_groups(groups):
    history = run_search(
        PatternProblem(groups), "cma_es", evaluations=25, seed=0, progress=False,
        options={"population": 8},
    )  # fmt: skip
    assert len(history.rows) == 25


def test_the_seed_decides():
    counts = [
        [row["counts"] for row in run_search(
            PatternProblem(4), "cma_es", evaluations=20, seed=seed, progress=False
        ).rows]
        for seed in (1, 1, 2)
    ]  # fmt: skip
    assert counts[0] == counts[1] != counts[2]


def test_a_failure_is_the_worst_of_its_generation_whatever_it_counts_as():
    def mean(floor):
        problem = PatternProblem(4)
        search = CmaEsSearch(problem, 9, 0, {"population": 8})
        for episode in range(8):
            outcome = evaluate(problem, search.propose(episode))
            if episode == 3:
                outcome = Outcome(outcome.execution, floor, "the metric broke")
            search.observe(episode, outcome)
        return search.propose(8)

    np.testing.assert_array_equal(mean(0.0), mean(-100.0))


def test_a_population_too_small_for_it_is_refused():
    with pytest.raises(UserError, match="4 and more, not 3"):
        run_search(PatternProblem(4), "cma_es", evaluations=9, options={"population": 3})
