import numpy as np
import pytest

from tests.search.synthetic import PatternProblem
from tfgraphprune.search.problem import evaluate


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


def test_an_action_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"\(3,\), not \(4,\)"):
        evaluate(Rewards(lambda counts: 0.0), np.zeros(4))
