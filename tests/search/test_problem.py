import numpy as np
import pytest

from tests.search.synthetic import PatternProblem
from tfgraphprune.search.problem import Probe, evaluate


class Rewards(PatternProblem):
    def __init__(self, answer):
        super().__init__(3)
        self.answer = answer

    def reward(self, counts, at_least=0):
        return self.answer(counts)


def raises(counts):
    raise KeyError("no such metric")


FAILURES = [
    (raises, "raised KeyError"),
    (lambda counts: float("nan"), "is nan"),
    (lambda counts: -np.inf, "is -inf"),
    (lambda counts: None, "raised TypeError"),
]


@pytest.mark.parametrize(("answer", "message"), FAILURES)
def test_a_failing_reward_is_reported_with_its_counts_and_counts_as_the_floor(
    answer, message, caplog
):
    with caplog.at_level("WARNING"):
        outcome = evaluate(Rewards(answer), np.zeros(3), floor=-7)
    assert outcome.reward == -7 and message in outcome.error
    assert message in caplog.text and f"'group_2': {outcome.execution.counts[2]}" in caplog.text


def test_a_stop_is_no_failure():
    def interrupt(counts):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(Rewards(interrupt), np.zeros(3))


def test_a_reward_is_passed_on_and_actions_are_clipped():
    seen = []
    problem = Rewards(lambda counts: seen.append(counts) or 0.25)
    outcome = evaluate(problem, np.array([5.0, -5.0, 0.0]))
    assert outcome.reward == 0.25 and outcome.error is None
    assert seen == [outcome.execution.counts] == [problem.execute(np.array([1, -1, 0])).counts]


@pytest.mark.parametrize(
    ("proposal", "message"),
    [
        (np.zeros(4), r"\(3,\), not \(4,\)"),
        (np.zeros((1, 3)), r"\(3,\), not \(1, 3\)"),
        (np.array([0, np.nan, 0]), "must be finite"),
        (np.array([0, 0, np.inf]), "must be finite"),
        (Probe((1, 2)), "a probe must have 3 counts, not 2"),
    ],
)
def test_what_is_no_proposal_is_refused(proposal, message):
    problem = Rewards(lambda counts: 0.0)
    with pytest.raises(ValueError, match=message):
        evaluate(problem, proposal)
    assert not problem.rewarded


def test_a_probe_is_looked_at_as_it_is_and_never_cut_short():
    told = []
    problem = PatternProblem(3)
    problem.reward = lambda counts, at_least: told.append((counts, at_least)) or 0.5
    whole = evaluate(problem, Probe((32, 32, 32)), best=0.9)
    assert whole.probe and whole.execution.counts == (32, 32, 32) and whole.reward == 0.5
    assert not evaluate(problem, np.zeros(3), best=0.9).probe
    assert told == [((32, 32, 32), -np.inf), ((16, 16, 16), 0.9)]
