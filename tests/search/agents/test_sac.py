import numpy as np
import pytest
import tensorflow as tf
from tf_agents.policies import greedy_policy, policy_saver
from tf_agents.utils import common

from tests.search.synthetic import PatternProblem, Stopped, StoppingProblem
from tfgraphprune.search.agents.sac import SacSearch
from tfgraphprune.search.agents.sac_learner import SacLearner, SacSettings
from tfgraphprune.search.determinism import deterministic_ops
from tfgraphprune.search.loop import run_search
from tfgraphprune.search.policy import Policy

SHORT = {"steps": 2, "batch": 8}


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
    search = SacSearch(PatternProblem(4), 12, seed=0, options=SHORT)
    return search, run(search, 0, 8)


def weights(search):
    return [v.numpy() for v in search.learner.agent.variables]


def test_the_replay_holds_executed_actions_and_raw_rewards(searched):
    search, outcomes = searched
    stored = search.learner.replay.gather_all()
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
    draws = [search.learner.replay.sample(64, tf.constant([3, step])) for step in (0, 0, 1)]
    actions = [draw.action_step.action.numpy() for draw in draws]
    stored = np.stack([o.execution.action for o in outcomes])
    found = (actions[0][:, None] == stored[None]).all(-1)
    assert found.any(1).all() and found.any(0).all()
    np.testing.assert_array_equal(actions[0], actions[1])
    assert not np.array_equal(actions[0], actions[2])


def test_rewards_are_standardised_by_the_random_episodes(searched):
    search, outcomes = searched
    start = np.float32([o.reward for o in outcomes[:3]])
    batch = search.learner._standardised(64, tf.constant([0, 0]))
    every = (np.float32([o.reward for o in outcomes]) - start.mean()) / start.std()
    distance = np.abs(batch.next_time_step.reward.numpy()[:, None] - every[None])
    assert distance.min(1).max() < 1e-4


def test_episodes_start_uniform_then_random_then_explore_then_settle(searched):
    search, _ = searched
    np.testing.assert_array_equal(search.propose(0), np.zeros(4))
    greedy = search.learner.act(11)[0]
    np.testing.assert_allclose(search.propose(11), greedy, atol=1e-6)
    explored = [search.propose(e) for e in (5, 6, 6)]
    assert np.abs(explored[0] - explored[1]).max() > 1e-2
    assert np.abs(explored[1] - greedy).max() > 1e-2
    np.testing.assert_array_equal(explored[1], explored[2])


def test_the_critics_start_apart_and_their_targets_start_on_them():
    agent = SacSearch(PatternProblem(4), 12, seed=0, options=SHORT).learner.agent
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
    fresh = weights(SacSearch(PatternProblem(4), 12, seed=0, options=SHORT))
    # The synthetic network has no filters for the motif level to read.
    names = [v.name for v in search.learner.agent.variables]
    pairs = zip(names, weights(search), fresh, strict=True)
    moved = [np.abs(a - b).max() > 0 for name, a, b in pairs if "motifs" not in name]
    assert np.mean(moved) > 0.95
    assert int(search.learner.agent.train_step_counter) == 6 * SHORT["steps"]


def test_tf_agents_checkpointer_restores_everything(tmp_path, searched):
    search, _ = searched
    common.Checkpointer(str(tmp_path), max_to_keep=1, **search.state()).save(
        search.learner.agent.train_step_counter
    )
    other = SacSearch(PatternProblem(4), 12, seed=5, options=SHORT)
    other.seed = other.learner._seed = search.seed
    checkpointer = common.Checkpointer(str(tmp_path), max_to_keep=1, **other.state())
    assert checkpointer.checkpoint_exists
    for ours, theirs in zip(weights(other), weights(search), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    stored = search.learner.replay.everything(), other.learner.replay.everything()
    tf.nest.map_structure(np.testing.assert_array_equal, *stored)
    for episode in (9, 11):
        np.testing.assert_array_equal(other.propose(episode), search.propose(episode))
    batches = [s.learner._standardised(16, tf.constant([0, 1])) for s in (other, search)]
    tf.nest.map_structure(np.testing.assert_array_equal, *batches)


def test_a_saved_policy_gives_the_same_action(tmp_path, searched):
    search, _ = searched
    learner = search.learner
    policy = greedy_policy.GreedyPolicy(learner.agent.policy)
    policy_saver.PolicySaver(policy).save(str(tmp_path / "policy"))
    loaded = tf.saved_model.load(str(tmp_path / "policy"))
    step = tf.nest.map_structure(
        lambda x: tf.convert_to_tensor(x)[None], learner.environment.reset()
    )
    action = loaded.action(step).action
    np.testing.assert_allclose(action, policy.action(step).action, atol=1e-6)
    features = step.observation["features"][:, ::-1]
    moved = step._replace(observation={**step.observation, "features": features})
    assert np.abs(loaded.action(moved).action - action).max() > 1e-3


def test_what_is_learned_is_the_actor_apart_from_the_graph(searched):
    search, _ = searched
    policy = search.learned()
    greedy = search.learner.act(0)[0]
    np.testing.assert_allclose(policy.action(search.problem.graph), greedy, atol=1e-6)
    assert policy.action(PatternProblem(9).graph).shape == (9,)


def test_a_search_starts_from_a_policy(searched):
    search, _ = searched
    policy = search.learned()
    problem = PatternProblem(7, seed=3)
    warm = SacSearch(problem, 12, seed=1, options={**SHORT, "policy": policy})
    np.testing.assert_allclose(warm.propose(0), policy.action(problem.graph), atol=1e-6)
    assert np.abs(warm.propose(1) - warm.propose(0)).max() > 1e-2
    for critic, stored in zip(warm.learner._networks()[1], policy.critics, strict=True):
        for ours, theirs in zip(critic.get_weights(), stored, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert isinstance(warm.learned(), Policy)


def test_padding_counts_for_nothing_in_log_probabilities():
    small, large = PatternProblem(3), PatternProblem(6, seed=2)
    with deterministic_ops(False):
        alone = SacLearner([small], 4, 0, SacSettings())
        both = SacLearner([large, small], 4, 0, SacSettings())
    both.agent._actor_network.set_weights(alone.agent._actor_network.get_weights())

    def step(learner, number):
        learner.environment.number = number
        first = learner.environment.reset()
        return tf.nest.map_structure(lambda x: tf.convert_to_tensor(x)[None], first)

    def sampled(learner, number):
        learner.agent._draws = 0
        return learner.agent._actions_and_log_probs(step(learner, number))

    actions, log_prob = sampled(both, 1)
    normal = alone.agent.collect_policy.distribution(step(alone, 0)).action.input_distribution
    raw = np.arctanh(actions.numpy()[0, :3])
    expected = (
        -0.5 * ((raw - normal.loc[0]) / normal.stddev()[0]) ** 2
        - np.log(normal.stddev()[0])
        - 0.5 * np.log(2 * np.pi)
        - np.log(1 - np.tanh(raw) ** 2)
    )
    np.testing.assert_allclose(log_prob[0], np.mean(expected), rtol=1e-3)


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
