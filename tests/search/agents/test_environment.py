import numpy as np
import pytest
from tf_agents.environments import utils

from tests.search.synthetic import PatternProblem
from tfgraphprune.search.agents.environment import PruningEnvironment


@pytest.mark.parametrize("groups", [1, 4, 500])
def test_keeps_the_contract_of_tf_agents(groups):
    problem = PatternProblem(groups)
    utils.validate_py_environment(PruningEnvironment([problem]), episodes=5)
    assert len(problem.rewarded) == 5


def test_reset_is_idempotent_and_forgets_the_last_episode():
    problem = PatternProblem(4)
    environment = PruningEnvironment([problem])
    first = environment.reset()
    environment.step(np.array([1, -1, 0.5, 0], np.float32))
    for again in (environment.reset(), environment.reset()):
        assert again.is_first()
        for name in again.observation:
            np.testing.assert_array_equal(again.observation[name], first.observation[name])
    np.testing.assert_array_equal(first.observation["features"], problem.graph.features)


def test_an_episode_is_one_step_and_a_step_after_it_resets():
    problem = PatternProblem(4)
    environment = PruningEnvironment([problem])
    environment.reset()
    action = np.array([1, -1, 0.5, 0], np.float32)
    last = environment.step(action)
    assert last.is_last() and last.discount == 0
    assert last.reward == np.float32(problem.reward(problem.execute(action).counts))
    evaluations = len(problem.rewarded)
    assert environment.step(action).is_first()
    assert len(problem.rewarded) == evaluations


def test_the_last_execution_stands_for_the_counts():
    problem = PatternProblem(4)
    environment = PruningEnvironment([problem])
    with pytest.raises(ValueError, match="no step"):
        environment.last_execution
    environment.reset()
    environment.step(np.array([0.9, -0.9, 0.3, 0], np.float32))
    execution = environment.last_execution
    assert execution.counts == problem.rewarded[-1]
    assert problem.execute(execution.action).counts == execution.counts


def test_observations_are_copies():
    environment = PruningEnvironment([PatternProblem(4)])
    environment.reset().observation["features"][:] = 9
    assert environment.reset().observation["features"].max() <= 1


def test_a_failed_reward_counts_as_the_floor(monkeypatch):
    problem = PatternProblem(4)
    monkeypatch.setattr(problem, "reward", lambda counts, at_least: float("nan"))
    environment = PruningEnvironment([problem])
    environment.floor_reward = -3.0
    environment.reset()
    assert environment.step(np.zeros(4, np.float32)).reward == -3
    assert environment.last_outcome.error == "the reward is nan"


def test_several_problems_are_padded_to_the_largest():
    problems = [PatternProblem(3), PatternProblem(5, seed=1)]
    environment = PruningEnvironment(problems)
    utils.validate_py_environment(environment, episodes=2)
    for number, problem in enumerate(problems):
        environment.number = number
        observation = environment.reset().observation
        groups = len(problem.graph.names)
        assert observation["graph"] == number
        np.testing.assert_array_equal(observation["features"][:groups], problem.graph.features)
        assert not observation["features"][groups:].any()
        action = environment.padded(np.linspace(-1, 1, groups))
        assert action.shape == (5,)
        expected = problem.execute(action[:groups]).counts
        for padding in (0.0, -1.0, 1.0):
            environment.reset()
            action[groups:] = padding
            last = environment.step(action)
            assert environment.last_execution.counts == problem.rewarded[-1] == expected
            assert last.reward == np.float32(problem.reward(expected))
            assert last.observation["graph"] == number


def test_a_reward_is_told_the_best_so_far(monkeypatch):
    problem = PatternProblem(4)
    told = []
    monkeypatch.setattr(problem, "reward", lambda counts, at_least: told.append(at_least) or 0.0)
    environment = PruningEnvironment([problem])
    for best in (-np.inf, -0.5):
        environment.best_reward = best
        environment.reset()
        environment.step(np.zeros(4, np.float32))
    assert told == [-np.inf, -0.5]
