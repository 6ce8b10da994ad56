import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.search.agents.episodes import check_that_a_stop_changes_nothing, gradients, play, rewards
from tests.search.synthetic import PatternProblem
from tfgraphprune.search.agents.ppo import PpoSearch

SMALL = {"encoder": "features", "hidden": 16, "update": 10}


@pytest.fixture(scope="module")
def searched():
    """A short search that has trained once and a bit, and its outcomes."""
    search = PpoSearch(PatternProblem(4), 40, 0, SMALL)
    return search, play(search, 0, 9)


def test_stored_are_the_sampled_actions_with_rewards_at_the_end():
    search = PpoSearch(PatternProblem(4), 1000, 0, {**SMALL, "update": 100})
    outcomes = play(search, 0, 5)
    stored = search.replay.everything()
    ends = np.flatnonzero(stored.next_step_type.numpy() == 2)
    assert len(ends) == 4 and ends[-1] + 1 == search.replay.num_frames()
    first = 0
    for end, outcome in zip(ends, outcomes[1:], strict=True):
        ratios, left = np.ones(4, np.float32), end - first
        for row in range(first, end + 1):
            np.testing.assert_array_equal(stored.observation["ratios"][row], ratios)
            ratios = np.clip(ratios * (1 - stored.action.numpy()[row]), 0.1, 1)
            gain = (outcome.reward - 1) * 0.99 ** (end - row)
            assert float(stored.policy_info["return"][row]) == pytest.approx(gain)
            assert float(stored.reward[row]) == (
                np.float32(outcome.reward - 1) if row == end else 0
            )
            assert float(stored.discount[row]) == float(row < end)
        assert int(stored.step_type[first]) == 0 and (left == 4 or _fits(search, ratios))
        proposed = search.problem.action_of(search._counts(ratios))
        assert search.problem.execute(proposed).counts == outcome.execution.counts
        first = end + 1


def _fits(search, ratios):
    return search.problem.projection.fits(np.array(search._counts(ratios)))


def test_an_episode_ends_when_the_budget_holds_and_not_before(searched):
    search, _ = searched
    lengths = set()
    for episode in range(10, 30):
        ratios = search.roll_out(episode)
        lengths.add(len(search._played))
        assert len(search._played) == 5 or _fits(search, ratios)
        before = [step.observation["ratios"].numpy()[0] for step in search._played]
        assert not any(_fits(search, r) for r in before)
        assert (ratios >= 0.1).all() and (ratios <= 1).all()
    assert len(lengths) > 1


def test_samples_have_the_deviation_and_follow_from_seed_episode_and_step(searched):
    search, _ = searched
    start = search.time_step(np.ones(4, np.float32), 0)
    draws = [search._act(start, tf.constant([1, n])) for n in range(200)]
    noise = np.array([(action - mode).numpy()[0] for mode, action, _ in draws])
    np.testing.assert_allclose(noise.std(), 0.5, atol=0.05)
    np.testing.assert_array_equal(search.roll_out(7), search.roll_out(7))
    assert np.abs(search.roll_out(7) - search.roll_out(8)).max() > 1e-2


def test_each_state_has_its_own_action_value_and_gradient(searched):
    search, _ = searched
    agent = search.agent
    ratios = [[1, 1, 1, 1], [0.5, 1, 1, 1], [1, 1, 1, 0.5], [0.2, 0.3, 0.4, 0.5]]
    states = [search.time_step(np.float32(r), step) for step, r in enumerate(ratios)]
    means = [agent.actor_net(s.observation)[0].mean().numpy()[0] for s in states]
    values = [agent._value_net(s.observation)[0].numpy()[0] for s in states]
    found = [gradients(agent.actor_net, s.observation, lambda d: d.mean()[0, 1]) for s in states]
    for i, j in itertools.combinations(range(4), 2):
        assert np.abs(means[i] - means[j]).max() > 1e-4
        assert abs(values[i] - values[j]) > 1e-5
        assert np.abs(found[i] - found[j]).max() > 1e-4


def test_a_batch_is_judged_state_by_state(searched):
    search, _ = searched
    ratios = np.float32([[[1, 1, 1, 1], [0.5, 1, 0.2, 1], [0.3, 0.3, 0.3, 0.3]]])
    together = {
        "ratios": ratios,
        "step": np.float32([[0, 0.2, 0.4]]),
        "graph": np.zeros((1, 3), np.int32),
    }
    found = search.agent.actor_net(together)[0].mean().numpy()[0]
    for step in range(3):
        alone = search.time_step(ratios[0, step], step).observation
        np.testing.assert_allclose(
            found[step], search.agent.actor_net(alone)[0].mean().numpy()[0], atol=1e-6
        )
    assert np.abs(found[0] - found[1]).max() > 1e-4


def test_training_makes_good_actions_likelier():
    search = PpoSearch(PatternProblem(4), 1000, 0, {**SMALL, "update": 100, "learning_rate": 1e-3})
    play(search, 0, 12)
    stored = search.replay.everything()
    returns = stored.policy_info["return"].numpy()

    def likelihoods():
        return search.agent.actor_net(stored.observation)[0].log_prob(stored.action).numpy()

    before = likelihoods()
    search._learn()
    assert np.corrcoef(likelihoods() - before, returns)[0, 1] > 0.2


def test_the_last_episode_is_greedy_and_the_first_uniform(searched):
    search, _ = searched
    np.testing.assert_array_equal(search.propose(0), np.zeros(4))
    ratios = np.ones(4, np.float32)
    for step in range(5):
        mean = search.agent.actor_net(search.time_step(ratios, step).observation)[0].mean()
        ratios = np.clip(ratios * (1 - mean.numpy()[0]), 0.1, 1)
        if _fits(search, ratios):
            break
    proposed = search.problem.action_of(search._counts(ratios))
    np.testing.assert_allclose(search.propose(39), proposed, atol=1e-5)


def test_updates_come_more_often_where_evaluations_are_few():
    def update(evaluations):
        return PpoSearch(PatternProblem(2), evaluations, 0, {"encoder": "features"}).update

    assert [update(n) for n in (1, 100, 1000)] == [10, 20, 100]


def test_what_was_played_is_used_once(searched):
    search, _ = searched
    assert int(search.agent.train_step_counter) in (10, 20, 30)
    assert int(search.replay.num_frames()) < 10


def test_a_search_stopped_in_training_ends_as_one_left_alone(tmp_path):
    rows = check_that_a_stop_changes_nothing(tmp_path, "ppo", {**SMALL, "learning_rate": 0.01})
    assert rows != rewards("ppo", 4, 10, 3, **SMALL).tolist()


@pytest.mark.parametrize("evaluations", [1, 3])
def test_one_group_and_next_to_no_evaluations(evaluations):
    assert len(rewards("ppo", 1, evaluations, **SMALL)) == evaluations


def test_learns_the_pattern():
    found = rewards("ppo", evaluations=100, encoder="features", learning_rate=3e-3)
    assert found[-20:].mean() > found[:20].mean() + 0.2
    assert found[-20:].mean() > rewards("random", evaluations=100).mean() + 0.2
