import numpy as np
import pytest

from tests.search.synthetic import PatternProblem
from tfgraphprune.errors import UserError
from tfgraphprune.search.loop import run_search

pytest.importorskip("cmaes")


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


def test_a_population_too_small_for_it_is_refused():
    with pytest.raises(UserError, match="4 and more, not 3"):
        run_search(PatternProblem(4), "cma_es", evaluations=9, options={"population": 3})
