import numpy as np
import pytest

from tests.search.synthetic import PatternProblem
from tfgraphprune.search.loop import run_search


class Separable(PatternProblem):
    """Groups that lose a share of their own importance with what is cut from them."""

    def __init__(self, importance):
        super().__init__(len(importance))
        self.importance = np.array(importance, float)

    def reward(self, counts, at_least=-np.inf):
        super().reward(counts)
        return 1 - float((self.importance * (1 - np.array(counts) / self.SIZE) ** 2).sum())


def test_takes_from_what_matters_least():
    history = run_search(
        Separable([0.4, 0.3, 0.02, 0.01]), "sensitivity", evaluations=50, progress=False
    )
    counts = history.best_counts
    assert min(counts[:2]) > 24 and max(counts[2:]) < 12
    uniform = run_search(Separable([0.4, 0.3, 0.02, 0.01]), "uniform", evaluations=1,
                         progress=False)  # fmt: skip
    assert history.best_reward > uniform.best_reward + 0.1


@pytest.mark.parametrize(
    ("evaluations", "rows"), [(1, 1), (5, 1), (6, 6), (10, 10), (17, 14), (100, 18)]
)
def test_probes_as_many_ratios_as_the_evaluations_allow(evaluations, rows):
    problem = Separable([0.4, 0.3, 0.02, 0.01])
    history = run_search(problem, "sensitivity", evaluations=evaluations, progress=False)
    assert len(history.rows) == rows
    assert ["probe" in row for row in history.rows] == [True] * (rows - 1) + [False]
    if rows > 1:
        assert history.rows[0]["counts"] == [32] * 4
        assert history.rows[2]["counts"] == [32, 16, 32, 32]
    assert sum(history.best_counts) <= 64
