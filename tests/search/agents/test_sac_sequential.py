import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.search.agents.episodes import check_that_a_stop_changes_nothing, gradients, play, rewards
from tests.search.synthetic import PatternProblem
from tfgraphprune.search.agents.sac_sequential import SacSequentialSearch

SMALL = {"encoder": "features", "hidden": 16, "layers": 1, "steps": 2, "batch": 8}


@pytest.fixture(scope="module")
def searched():
    """A short search that has trained for some episodes, and its outcomes."""
    search = SacSequentialSearch(PatternProblem(4), 16, 0, SMALL)
    return search, play(search, 0, 8)


def test_what_is_stored_is_what_was_executed(searched):
    search, outcomes = searched
    counts = np.array([outcome.execution.counts for outcome in outcomes])
    np.testing.assert_array_equal(search.replay.everything()["ratios"] * 32, counts)
    batch = search.transitions(64, 5)
    plans = {np.float32(o.reward): o.execution.counts for o in outcomes}
    steps = batch.time_step.observation["step"].numpy()
    actions = batch.action_step.action.numpy()[:, 0]
    found = batch.next_time_step.reward.numpy()
    for step, action, reward in zip(steps, actions, found, strict=True):
        assert (action + 1) / 2 * 32 == plans[reward][step]
    assert set(steps) == set(range(4)) and set(found) == set(plans)


def test_rewards_are_standardised_by_the_random_episodes(searched):
    search, outcomes = searched
    assert search.warmup == 4
    start = np.float32([o.reward for o in outcomes[:4]])
    judged = search._judged(tf.constant(start)).numpy()
    np.testing.assert_allclose([judged.mean(), judged.std()], [0, 1], atol=1e-5)


def test_only_the_final_reward_counts_in_each_step(searched):
    search, _ = searched
    agent = search.agent
    batch = search.transitions(8, 0)
    assert (batch.next_time_step.reward != 0).numpy().all()
    later = batch.next_time_step
    other = later._replace(observation={**later.observation, "step": later.observation["step"] * 0})
    losses = [
        agent.critic_loss(
            batch.time_step, batch.action_step.action, then, agent._td_errors_loss_fn, agent._gamma
        ).numpy()
        for then in (later, other)
    ]
    assert losses[0] == losses[1]


def test_log_probabilities_are_those_of_the_step(searched):
    search, _ = searched
    batch = search.transitions(8, 0)
    distribution = search.agent._actor_network(batch.time_step.observation)[0]
    search.agent._draws = 0
    actions, found = search.agent._actions_and_log_probs(batch.time_step)
    assert actions.shape == (8, 1) and found.shape == (8,)
    np.testing.assert_allclose(found, distribution.log_prob(actions), atol=1e-3)


@pytest.mark.parametrize("encoder", ["features", "multi_stage"])
def test_states_give_different_actions_values_and_gradients(encoder):
    search = SacSequentialSearch(PatternProblem(4), 16, 0, {**SMALL, "encoder": encoder})
    states = [search.observation(counts) for counts in ([], [4], [30], [30, 4, 20])]
    actor, critic = search.agent._actor_network, search.agent._critic_network_1
    actions = [actor(state)[0].mode().numpy()[0, 0] for state in states]
    values = [critic((state, tf.constant([[0.5]])))[0].numpy()[0] for state in states]
    found = [gradients(actor, state, lambda d: d.mode()[0, 0]) for state in states]
    for i, j in itertools.combinations(range(4), 2):
        assert abs(actions[i] - actions[j]) > 1e-5
        assert abs(values[i] - values[j]) > 1e-5
        assert np.abs(found[i] - found[j]).max() > 1e-5
    value = [critic((states[1], tf.constant([[a]])))[0].numpy()[0] for a in (-1.0, 1.0)]
    assert abs(value[0] - value[1]) > 1e-4


def test_episodes_start_uniform_then_explore_within_the_wall(searched):
    search, _ = searched
    np.testing.assert_array_equal(search.propose(0), np.zeros(4))
    for episode in range(1, 16):
        assert sum(search.roll_out(episode)) == 4 * PatternProblem.SIZE // 2
    assert search.roll_out(9) == search.roll_out(9) != search.roll_out(10)
    counts = []
    for _ in range(4):
        action = search.agent._actor_network(search.observation(counts))[0].mode().numpy()[0, 0]
        counts.append(search.wall.count(counts, (action + 1) / 2))
    assert search.roll_out(15) == tuple(counts)


def test_a_search_stopped_in_training_ends_as_one_left_alone(tmp_path):
    check_that_a_stop_changes_nothing(tmp_path, "sac_sequential", SMALL)


@pytest.mark.parametrize("evaluations", [1, 3])
def test_one_group_and_next_to_no_evaluations(evaluations):
    assert len(rewards("sac_sequential", 1, evaluations, **SMALL)) == evaluations


def test_learns_the_pattern():
    found = rewards("sac_sequential", encoder="features", layers=1, steps=10)
    assert found[-10:].mean() > -0.4 > rewards("random").mean()
