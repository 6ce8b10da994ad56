"""One policy for several problems that take turns."""

import numpy as np
import pytest

from tests.search.synthetic import PatternProblem, Stopped, StoppingProblem, with_guess
from tfgraphprune.errors import UserError

pytest.importorskip("tf_agents")

from tfgraphprune.search.joint import run_joint

TINY = {"encoder": "features", "hidden": 8, "layers": 1, "steps": 2, "batch": 8, "warmup": 2}
ROUNDS = 40


def joint(problems, evaluations, **more):
    names = [f"problem {number}" for number in range(len(problems))]
    return run_joint(
        problems, names, evaluations=evaluations, **{"seed": 3, "progress": False, **more}
    )


@pytest.fixture(scope="module")
def trained():
    """Two problems of different size after a search, and what came of it."""
    problems = [PatternProblem(4), PatternProblem(8, seed=1)]
    options = {"encoder": "gcn", "warmup": 10}
    return problems, joint(problems, 2 * ROUNDS + 1, seed=0, options=options)


@pytest.mark.parametrize("number", [0, 1])
def test_both_of_two_problems_of_different_size_improve(trained, number):
    problems, found = trained
    rewards = [row["reward"] for row in found.histories[number].rows]
    assert problems[number].rewarded[0] == (16,) * len(problems[number].graph.names)
    uniform, random = rewards[0], np.mean(rewards[1:10])
    assert random < uniform < np.mean(rewards[-5:])
    assert rewards[-1] > 0.6 * uniform


def test_problems_take_turns_and_each_has_its_history(trained):
    problems, found = trained
    for number, (problem, history) in enumerate(zip(problems, found.histories, strict=True)):
        assert [tuple(row["counts"]) for row in history.rows] == problem.rewarded
        assert {row["problem"] for row in history.rows} == {number}
        assert [row["images"] for row in history.rows] == [10 * n for n in range(1, ROUNDS + 1)]
        assert history.method == f"problem {number}" and len(history.best_counts) in (4, 8)


def test_the_last_turn_is_a_plan_of_the_policy_that_is_handed_back(trained):
    problems, found = trained
    problem = problems[-1]
    action = found.policy.action(problem.graph)
    # One more training step came after the last turn.
    last = np.array(found.histories[-1].rows[-1]["counts"])
    assert np.abs(np.array(problem.execute(action).counts) - last).max() <= 3


def test_each_problem_is_tried_at_its_guess_second():
    problems = [PatternProblem(3), PatternProblem(5, seed=1)]
    for problem in problems:
        problem.graph = with_guess(problem.graph, np.linspace(-0.8, 0.8, len(problem.graph.names)))
    found = joint(problems, 16, options={**TINY, "warmup": 4})
    for problem, history in zip(problems, found.histories, strict=True):
        expected = problem.execute(problem.graph.guess).counts
        assert tuple(history.rows[1]["counts"]) == expected != tuple(history.rows[0]["counts"])


def short(first, **more):
    return joint([first, PatternProblem(3, seed=1)], 16, options=TINY, **more)


@pytest.fixture(scope="module")
def expected():
    return short(PatternProblem(4))


def test_a_search_stopped_in_training_ends_as_one_left_alone(tmp_path, expected):
    seen = []
    with pytest.raises(Stopped):
        short(StoppingProblem(6), checkpoint_dir=tmp_path, on_evaluation=seen.append)
    assert len(seen) == 10
    problem = PatternProblem(4)
    found = short(problem, checkpoint_dir=tmp_path)
    assert [h.rows for h in found.histories] == [h.rows for h in expected.histories]
    assert len(problem.rewarded) == 8 - 5
    assert found.policy.hash == expected.policy.hash


def test_a_search_that_starts_from_a_policy_begins_with_its_actions(expected):
    policy = expected.policy
    problems = [PatternProblem(5, seed=4), PatternProblem(2, seed=5)]
    found = joint(problems, 4, options={"policy": policy, "steps": 1, "batch": 2})
    first = problems[0]
    expected = first.execute(policy.action(first.graph)).counts
    assert tuple(found.histories[0].rows[0]["counts"]) == expected
    assert found.policy.shape == policy.shape


def test_too_few_evaluations_and_unknown_options_are_refused():
    problems = [PatternProblem(3), PatternProblem(4)]
    with pytest.raises(UserError, match="2 problems needs 4 evaluations or more, not 3"):
        joint(problems, 3)
    with pytest.raises(UserError, match="no option 'depth': it takes encoder"):
        joint(problems, 4, options={"depth": 3})
    assert not any(problem.rewarded for problem in problems)
