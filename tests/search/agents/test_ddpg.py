import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.search.agents.episodes import check_that_a_stop_changes_nothing, gradients, play, rewards
from tests.search.synthetic import PatternProblem
from tfgraphprune.errors import SearchFailedError, UserError
from tfgraphprune.search.agents.ddpg import DdpgSearch

SMALL = {"units": 16, "batch": 8}
AGMC = {**SMALL, "encoder": "gcn_lstm", "hidden": 8}


@pytest.fixture(scope="module")
def searched():
    """A short search that has trained for some episodes, and its outcomes."""
    search = DdpgSearch(PatternProblem(4), 16, 0, SMALL)
    return search, play(search, 0, 8)


@pytest.fixture(scope="module")
def agmc():
    search = DdpgSearch(PatternProblem(3), 16, 0, AGMC)
    return search, play(search, 0, 2)


@pytest.mark.parametrize("name", ["searched", "agmc"])
def test_what_is_stored_is_what_was_executed(name, request):
    search, outcomes = request.getfixturevalue(name)
    stored = search.replay.everything()
    size = PatternProblem.SIZE
    counts = np.array([outcome.execution.counts for outcome in outcomes])
    np.testing.assert_array_equal(stored["ratios"] * size, counts)
    np.testing.assert_array_equal(stored["reward"], np.float32([o.reward for o in outcomes]))
    batch = search.transitions(64, 5)
    first, last = batch.time_step, batch.next_time_step
    for row in range(64):
        step = int(first.observation["step"][row])
        reward = last.reward.numpy()[row]
        episode = next(i for i, o in enumerate(outcomes) if np.float32(o.reward) == reward)
        plan = counts[episode].tolist()
        assert batch.action_step.action.numpy()[row, 0] * size == plan[step]
        for time_step, decided in ((first, step), (last, step + 1)):
            seen = tf.nest.map_structure(lambda x, r=row: x.numpy()[r], time_step.observation)
            np.testing.assert_array_equal(seen["ratios"][:decided] * size, plan[:decided])
            assert (seen["ratios"][decided:] == 1).all() and seen["step"] == decided
            np.testing.assert_array_equal(seen["shares"], search.wall.shares(plan[:decided]))
        ends = step + 1 == len(plan)
        assert float(last.discount[row]) == 1 - ends
        assert int(last.step_type[row]) == 1 + ends and int(first.step_type[row]) == int(step > 0)


def test_draws_follow_from_the_step(searched):
    search, _ = searched
    draws = [search.transitions(16, step) for step in (3, 3, 4)]
    tf.nest.map_structure(np.testing.assert_array_equal, draws[0], draws[1])
    assert (draws[0].next_time_step.reward != draws[2].next_time_step.reward).numpy().any()


def test_the_wall_holds_and_leaves_nothing(searched):
    search, _ = searched
    for episode in range(1, 16):
        counts = search.roll_out(episode)
        assert sum(counts) == 4 * PatternProblem.SIZE // 2
        assert search.problem.projection.fits(np.array(counts))


def test_agmc_has_no_wall_and_no_random_episodes(agmc):
    search, outcomes = agmc
    assert search.warmup == 0 and search.settings.bounding == "projection"
    free = [search.roll_out(episode) for episode in range(1, 8)]
    assert any(sum(counts) > 3 * PatternProblem.SIZE // 2 for counts in free)
    assert all(sum(o.execution.counts) <= 3 * PatternProblem.SIZE // 2 + 2 for o in outcomes)


def test_the_state_of_agmc_follows_from_what_was_decided(agmc):
    search, _ = agmc
    actor = search.agent._actor_network
    actions = [actor(search.observation([count]))[0].numpy() for count in (2, 30)]
    assert np.abs(actions[0] - actions[1]).max() > 1e-5


def test_warm_up_is_a_quarter_at_most():
    made = [DdpgSearch(PatternProblem(2), n, 0, SMALL).warmup for n in (1, 40, 1000)]
    assert made == [0, 10, 100]


def test_noise_stays_in_range_and_shrinks(searched):
    search, _ = searched
    draws = {}
    for episode in (search.warmup, search.warmup + 40):
        random = np.random.default_rng(0)
        draws[episode] = [search._explored(0.9, 0.9, episode, random) for _ in range(300)]
    early, late = draws.values()
    assert min(early) >= 0 and max(early) <= 1 and np.std(early) > 0.2
    assert 0.5 * 0.5 * 0.95**40 < np.std(late) < 0.5 * 0.95**40 * 1.2


def test_rewards_are_judged_by_a_moving_average():
    search = DdpgSearch(PatternProblem(2), 8, 0, SMALL)
    first = search._judged(tf.constant([1.0, 3.0])).numpy()
    second = search._judged(tf.constant([5.0, 7.0])).numpy()
    np.testing.assert_allclose(first, [-1, 1])
    np.testing.assert_allclose(second, [1, 3])


def test_states_give_different_actions_values_and_gradients(searched):
    search, _ = searched
    states = [search.observation(counts) for counts in ([], [4], [30], [30, 4, 20])]
    actor, critic = search.agent._actor_network, search.agent._critic_network
    action = tf.constant([[0.5]])
    actions = [actor(state)[0].numpy()[0, 0] for state in states]
    values = [critic((state, action))[0].numpy()[0] for state in states]
    found = [gradients(actor, state, lambda a: a[0, 0]) for state in states]
    for i, j in itertools.combinations(range(4), 2):
        assert abs(actions[i] - actions[j]) > 1e-5
        assert abs(values[i] - values[j]) > 1e-5
        assert np.abs(found[i] - found[j]).max() > 1e-5


def test_episodes_start_uniform_and_end_greedy(searched):
    search, _ = searched
    np.testing.assert_array_equal(search.propose(0), np.zeros(4))
    explored = [search.propose(episode) for episode in (9, 10, 10)]
    assert np.abs(explored[0] - explored[1]).max() > 1e-2
    np.testing.assert_array_equal(explored[1], explored[2])
    counts = []
    for _ in range(4):
        ratio = search.agent._actor_network(search.observation(counts))[0].numpy()[0, 0]
        counts.append(search.wall.count(counts, ratio))
    assert search.roll_out(15) == tuple(counts)


def test_an_unknown_bounding_is_refused():
    with pytest.raises(UserError, match="wall, projection, not 'fence'"):
        DdpgSearch(PatternProblem(2), 8, 0, {"bounding": "fence"})


def test_a_search_stopped_in_training_ends_as_one_left_alone(tmp_path):
    check_that_a_stop_changes_nothing(tmp_path, "ddpg", SMALL)


@pytest.mark.parametrize("evaluations", [1, 3])
def test_one_group_and_next_to_no_evaluations(evaluations):
    assert len(rewards("ddpg", 1, evaluations, **SMALL)) == evaluations


def test_learns_the_pattern_as_published():
    found, random = rewards("ddpg"), rewards("random")
    assert found[-10:].mean() > -0.3 > random.mean()


def test_a_training_that_diverged_is_said():
    search = DdpgSearch(PatternProblem(3), 16, 0, SMALL)
    search._act = lambda observation, seed: (tf.constant(np.nan), tf.constant(0.0))
    for episode in (9, 15):
        with pytest.raises(SearchFailedError, match="diverged: an action became nan"):
            search.propose(episode)
