import numpy as np
import pytest
import tensorflow as tf
from tf_agents.policies import policy_saver
from tf_agents.utils import common

from tests.search.synthetic import PatternProblem, Stopped, StoppingProblem
from tfgraphprune.search.determinism import deterministic_ops
from tfgraphprune.search.loop import run_search
from tfgraphprune.search.sac import SacSearch, SacSettings

SHORT = SacSettings(steps=2, batch=8)


def run(search, first, last):
    """Episodes `first` to `last - 1`; their outcomes."""
    outcomes = []
    with deterministic_ops():
        for episode in range(first, last):
            outcomes.append(search.play(search.propose(episode), 0.0))
            search.observe(episode, outcomes[-1])
    return outcomes


@pytest.fixture(scope="module")
def searched():
    """A short search that has trained for some episodes, and its outcomes."""
    search = SacSearch(PatternProblem(4), 12, seed=0, settings=SHORT)
    return search, run(search, 0, 8)


def weights(search):
    return [v.numpy() for v in search.agent.variables]


def test_the_replay_holds_executed_actions_and_raw_rewards(searched):
    search, outcomes = searched
    stored = search.replay.gather_all()
    actions = stored.action_step.action.numpy()[0]
    for action, outcome in zip(actions, outcomes, strict=True):
        np.testing.assert_array_equal(action, outcome.execution.action)
        assert search.problem.execute(action).counts == outcome.execution.counts
    rewards = stored.next_time_step.reward.numpy()[0]
    np.testing.assert_array_equal(rewards, np.float32([o.reward for o in outcomes]))
    assert (stored.time_step.step_type == 0).numpy().all()
    assert (stored.next_time_step.step_type == 2).numpy().all()
    assert (stored.next_time_step.discount == 0).numpy().all()


def test_what_is_executed_differs_from_what_is_proposed(searched):
    search, outcomes = searched
    proposed = search.propose(2)
    assert np.abs(proposed - outcomes[2].execution.action).max() > 1e-3


def test_minibatches_are_stored_transitions_and_follow_from_the_seed(searched):
    search, outcomes = searched
    draws = [search.replay.sample(64, tf.constant([3, step])) for step in (0, 0, 1)]
    actions = [draw.action_step.action.numpy() for draw in draws]
    stored = np.stack([o.execution.action for o in outcomes])
    found = (actions[0][:, None] == stored[None]).all(-1)
    assert found.any(1).all() and found.any(0).all()
    np.testing.assert_array_equal(actions[0], actions[1])
    assert not np.array_equal(actions[0], actions[2])


def test_rewards_are_standardised_by_the_random_episodes(searched):
    search, outcomes = searched
    start = np.float32([o.reward for o in outcomes[:3]])
    batch = search._standardised(64, tf.constant([0, 0]))
    every = (np.float32([o.reward for o in outcomes]) - start.mean()) / start.std()
    distance = np.abs(batch.next_time_step.reward.numpy()[:, None] - every[None])
    assert distance.min(1).max() < 1e-4


def test_episodes_start_uniform_then_random_then_explore_then_settle(searched):
    search, _ = searched
    np.testing.assert_array_equal(search.propose(0), np.zeros(4))
    greedy = search.policy.action(search._start).action.numpy()[0]
    np.testing.assert_allclose(search.propose(11), greedy, atol=1e-6)
    explored = [search.propose(e) for e in (5, 6, 6)]
    assert np.abs(explored[0] - explored[1]).max() > 1e-2
    assert np.abs(explored[1] - greedy).max() > 1e-2
    np.testing.assert_array_equal(explored[1], explored[2])


def test_the_critics_start_apart_and_their_targets_start_on_them():
    agent = SacSearch(PatternProblem(4), 12, seed=0, settings=SHORT).agent
    first, second = agent._critic_network_1.variables, agent._critic_network_2.variables
    assert any(np.abs(a - b).max() > 1e-2 for a, b in zip(first, second, strict=True))
    for network, target in (
        (first, agent._target_critic_network_1.variables),
        (second, agent._target_critic_network_2.variables),
    ):
        for ours, theirs in zip(network, target, strict=True):
            assert ours is not theirs
            np.testing.assert_array_equal(ours, theirs)


def test_training_moves_every_network(searched):
    search, _ = searched
    fresh = weights(SacSearch(PatternProblem(4), 12, seed=0, settings=SHORT))
    moved = [np.abs(a - b).max() > 0 for a, b in zip(weights(search), fresh, strict=True)]
    assert np.mean(moved) > 0.95
    assert int(search.agent.train_step_counter) == 6 * SHORT.steps


def test_tf_agents_checkpointer_restores_everything(tmp_path, searched):
    search, _ = searched
    common.Checkpointer(str(tmp_path), max_to_keep=1, **search.state()).save(
        search.agent.train_step_counter
    )
    other = SacSearch(PatternProblem(4), 12, seed=5, settings=SHORT)
    other.seed = search.seed
    checkpointer = common.Checkpointer(str(tmp_path), max_to_keep=1, **other.state())
    assert checkpointer.checkpoint_exists
    for ours, theirs in zip(weights(other), weights(search), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    stored = search.replay.everything(), other.replay.everything()
    tf.nest.map_structure(np.testing.assert_array_equal, *stored)
    for episode in (9, 11):
        np.testing.assert_array_equal(other.propose(episode), search.propose(episode))
    batches = [s._standardised(16, tf.constant([0, 1])) for s in (other, search)]
    tf.nest.map_structure(np.testing.assert_array_equal, *batches)


def test_a_saved_policy_gives_the_same_action(tmp_path, searched):
    search, _ = searched
    policy_saver.PolicySaver(search.policy).save(str(tmp_path / "policy"))
    loaded = tf.saved_model.load(str(tmp_path / "policy"))
    step = search._start
    np.testing.assert_allclose(
        loaded.action(step).action, search.policy.action(step).action, atol=1e-6
    )
    moved = step._replace(observation=step.observation[:, ::-1])
    assert np.abs(loaded.action(moved).action - loaded.action(step).action).max() > 1e-3


def test_a_search_stopped_in_training_ends_as_one_left_alone(tmp_path):
    def search(problem, **options):
        return run_search(problem, "sac", evaluations=10, seed=3, progress=False, **options).rows

    expected = search(PatternProblem(4))
    with pytest.raises(Stopped):
        search(StoppingProblem(6), checkpoint_dir=tmp_path)
    problem = PatternProblem(4)
    assert search(problem, checkpoint_dir=tmp_path, log_dir=tmp_path / "log") == expected
    assert len(problem.rewarded) == 10 - 5
    assert expected[9]["counts"] != expected[8]["counts"]


@pytest.mark.parametrize("evaluations", [1, 2])
def test_one_group_and_next_to_no_evaluations(evaluations):
    rows = run_search(
        PatternProblem(1), "sac", evaluations=evaluations, seed=0, progress=False
    ).rows
    assert len(rows) == evaluations


def test_comes_close_to_the_optimum_where_random_does_not():
    best, last = {}, {}
    for method in ("sac", "random", "uniform"):
        history = run_search(PatternProblem(10), method, evaluations=100, seed=0, progress=False)
        best[method] = history.best_reward
        last[method] = np.mean([row["reward"] for row in history.rows[-10:]])
    assert best["uniform"] < -0.5 and best["random"] < -0.2
    assert best["sac"] > -0.1
    assert last["sac"] > best["random"]
