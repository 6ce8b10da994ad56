import numpy as np
import pytest

from tests.search.synthetic import PatternProblem
from tfgraphprune.cost.projection import Limit, Projection
from tfgraphprune.search.loop import run_search
from tfgraphprune.search.rivals.sensitivity import SensitivitySearch


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
    ("evaluations", "rows"), [(1, 1), (2, 1), (6, 6), (10, 10), (17, 14), (100, 18)]
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


class FailingSeparable(Separable):
    """Fails at some evaluations, counted from 1."""

    def __init__(self, importance, failing):
        super().__init__(importance)
        self._failing = failing

    def reward(self, counts, at_least=-np.inf):
        reward = super().reward(counts)
        if len(self.rewarded) in self._failing:
            raise RuntimeError("the metric broke")
        return reward


@pytest.mark.parametrize("failing", [(1,), (2,), (4, 5), (4, 8, 12, 16)])
def test_a_probe_that_failed_says_nothing_about_its_group(failing):
    problem = FailingSeparable([0.4, 0.3, 0.02, 0.01], failing)
    history = run_search(problem, "sensitivity", evaluations=50, progress=False)
    assert sum("error" in row for row in history.rows) == len(failing)
    assert min(history.best_counts[:2]) > max(history.best_counts[2:])


def test_few_evaluations_probe_the_groups_that_save_most():
    problem = Separable([0.4, 0.3, 0.02, 0.01])
    history = run_search(problem, "sensitivity", evaluations=5, progress=False)
    cut = [row["counts"].index(16) for row in history.rows[1:-1]]
    assert cut == [0, 1, 2] and "probe" not in history.rows[-1]
    assert history.best_counts[2] == min(history.best_counts)
    assert history.best_reward > 0.9

    prices = np.array([1.0, 4.0, 2.0, 3.0])
    limit = Limit("cost", lambda counts: np.asarray(counts) @ prices, 160.0)
    problem.projection = Projection(np.full(4, 32), np.ones(4, int), (limit,), 1 / 32)
    probes = [SensitivitySearch(problem, 4, 0).propose(episode) for episode in (1, 2)]
    assert [probe.counts.index(16) for probe in probes] == [1, 3]


@pytest.mark.parametrize("ratios", [(0.9, 0.8, 0.7, 0.6, 0.5, 0.4), (0.5,), ()])
@pytest.mark.parametrize("evaluations", [3, 100])
def test_other_ratios_end_with_an_answer_too(ratios, evaluations):
    history = run_search(
        Separable([0.4, 0.3, 0.02, 0.01]), "sensitivity", evaluations=evaluations,
        options={"ratios": ratios}, progress=False,
    )  # fmt: skip
    assert "probe" not in history.rows[-1] and sum(history.best_counts) <= 64


@pytest.mark.parametrize("groups", [1, 2, 100])
@pytest.mark.parametrize("evaluations", [1, 3, 7, 102, 300])
def test_any_number_of_groups_and_evaluations(groups, evaluations):
    history = run_search(
        PatternProblem(groups), "sensitivity", evaluations=evaluations, progress=False
    )
    assert len(history.rows) <= evaluations and len(history.answers) == 1
