from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.policies import greedy_policy, policy_saver
from tf_agents.utils import common

from tests.search.agents.episodes import check_that_a_stop_changes_nothing
from tests.search.agents.episodes import play as run
from tests.search.synthetic import PatternProblem, chain_graph, with_guess
from tfgraphprune.errors import UserError
from tfgraphprune.search.agents.sac import SacSearch
from tfgraphprune.search.agents.sac_learner import SacLearner, SacSettings
from tfgraphprune.search.loop import run_search
from tfgraphprune.search.policy import Policy

SHORT = {"steps": 2, "batch": 8}


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


@pytest.fixture(scope="module")
def alone_and_together():
    """Learners for a small problem alone and beside a larger one, with the same weights."""
    small, large = PatternProblem(3), PatternProblem(6, seed=2)
    alone = SacLearner([small], 8, 0, SacSettings())
    both = SacLearner([large, small], 8, 0, SacSettings())
    for ours, theirs in zip(both.agent.variables, alone.agent.variables, strict=True):
        ours.assign(theirs)
    return alone, both


def test_rewards_are_standardised_problem_by_problem(alone_and_together):
    learner = alone_and_together[1]
    problems = learner._problems
    random = np.random.default_rng(0)
    played = [[], []]
    for turn in range(8):
        number = turn % 2
        action = random.uniform(-1, 1, len(problems[number].graph.names))
        played[number].append(learner.play(action, 0.0, -np.inf, number))
    learner.standardise()
    batch = learner._standardised(200, tf.constant([0, 1]))
    numbers = batch.next_time_step.observation["graph"].numpy()
    stored, rewards = batch.action_step.action.numpy(), batch.next_time_step.reward.numpy()
    for number, outcomes in enumerate(played):
        raw = np.float32([o.reward for o in outcomes])
        expected = (raw - raw.mean()) / raw.std()
        groups = len(problems[number].graph.names)
        assert not stored[numbers == number][:, groups:].any()
        for action, reward in zip(
            stored[numbers == number][:, :groups], rewards[numbers == number], strict=True
        ):
            which = [np.array_equal(o.execution.action, action) for o in outcomes].index(True)
            assert reward == pytest.approx(expected[which], abs=1e-4)


def test_episodes_start_uniform_then_random_then_explore_then_settle(searched):
    search, _ = searched
    np.testing.assert_array_equal(search.propose(0), np.zeros(4))
    greedy = search.learner.act(11)[0]
    np.testing.assert_allclose(search.propose(11), greedy, atol=1e-6)
    explored = [search.propose(e) for e in (5, 6, 6)]
    assert np.abs(explored[0] - explored[1]).max() > 1e-2
    assert np.abs(explored[1] - greedy).max() > 1e-2
    np.testing.assert_array_equal(explored[1], explored[2])


def test_random_episodes_start_at_the_guess_and_stay_near_it_by_turns():
    problem = PatternProblem(4)
    guess = np.float32([0.9, -0.6, 0.2, -0.3])
    problem.graph = with_guess(problem.graph, guess)
    guided, free = (
        SacSearch(problem, 40, seed=0, options=SHORT | {"guided": guided})
        for guided in (True, False)
    )
    np.testing.assert_array_equal(guided.propose(1), guess)
    distances = [np.abs(guided.propose(episode) - guess).max() for episode in range(2, 10)]
    assert max(distances[1::2]) <= 0.4 + 1e-6 and min(distances[::2]) > 0.4
    for episode in (2, 4, 6):
        np.testing.assert_array_equal(guided.propose(episode), free.propose(episode))
    assert np.abs(free.propose(1) - guess).max() > 0.1


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


def test_what_is_handed_back_is_the_average_of_the_weights():
    learner = SacLearner([PatternProblem(3)], 8, 0, SacSettings(averaging=0.75, steps=2, batch=4))
    (actor, _), first = learner._networks(), learner.policy()
    expected = actor.get_weights()
    for theirs, ours in zip(first.actor, expected, strict=True):
        np.testing.assert_array_equal(theirs, ours)
    for episode in range(3):
        learner.play(learner.act(episode)[1], 0.0, -np.inf)
        learner.learn()
        trained = actor.get_weights()
        expected = [0.75 * a + 0.25 * w for a, w in zip(expected, trained, strict=True)]
    for theirs, ours in zip(learner.policy().actor, expected, strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-6)
    moved = [np.abs(a - w).max() for a, w in zip(learner.policy().actor, trained, strict=True)]
    assert max(moved) > 1e-4


@pytest.mark.parametrize("how", ["given", "saved", "without critics"])
def test_a_search_starts_from_a_policy(tmp_path, searched, how):
    search, _ = searched
    policy = search.learned()
    start = replace(policy, critics=[]) if how == "without critics" else policy
    if how == "saved":
        policy.save(tmp_path)
        start = str(tmp_path)
    problem = PatternProblem(7, seed=3)
    warm = SacSearch(problem, 12, seed=1, options={**SHORT, "policy": start})
    np.testing.assert_allclose(warm.propose(0), policy.action(problem.graph), atol=1e-6)
    np.testing.assert_allclose(warm.propose(0), warm.learner.act(0)[0], atol=1e-6)
    assert np.abs(warm.propose(1) - warm.propose(0)).max() > 1e-2
    agent = warm.learner.agent
    targets = [agent._target_critic_network_1, agent._target_critic_network_2]
    for critic, target, stored in zip(
        warm.learner._networks()[1], targets, policy.critics, strict=True
    ):
        same = [np.array_equal(a, b) for a, b in zip(critic.get_weights(), stored, strict=True)]
        assert all(same) == (how != "without critics")
        for ours, theirs in zip(target.get_weights(), critic.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert isinstance(warm.learned(), Policy)


def test_a_search_from_a_policy_tries_what_is_known_and_else_explores_with_it():
    guess = np.float32([0.9, -0.6, 0.2, -0.3])
    problem = PatternProblem(4)
    problem.graph = with_guess(problem.graph, guess)
    policy = SacSearch(problem, 40, seed=5, options=SHORT).learned()
    warm = SacSearch(problem, 40, seed=0, options={**SHORT, "policy": policy})
    np.testing.assert_allclose(warm.propose(0), policy.action(problem.graph), atol=1e-6)
    np.testing.assert_array_equal(warm.propose(1), guess)
    assert np.abs(warm.propose(3) - guess).max() <= 0.4 + 1e-6
    for episode in (2, 4):
        np.testing.assert_array_equal(warm.propose(episode), warm.learner.act(episode)[1])
    free = SacSearch(problem, 40, seed=0, options={**SHORT, "policy": policy, "guided": False})
    for episode in (1, 2, 3):
        np.testing.assert_array_equal(free.propose(episode), free.learner.act(episode)[1])


def test_a_policy_for_other_features_is_refused(searched):
    problem = PatternProblem(4)
    problem.graph = chain_graph(4, features=5)
    with pytest.raises(UserError, match="6 features and 2 types of edges"):
        SacSearch(problem, 12, seed=1, options={**SHORT, "policy": searched[0].learned()})


def test_padding_counts_for_nothing_in_log_probabilities(alone_and_together):
    alone, both = alone_and_together

    def step(learner, number):
        learner.environment.number = number
        first = learner.environment.reset()
        return tf.nest.map_structure(lambda x: tf.convert_to_tensor(x)[None], first)

    def sampled(learner, number):
        learner.agent._draws = 0
        return learner.agent._actions_and_log_probs(step(learner, number))

    normal = alone.agent.collect_policy.distribution(step(alone, 0)).action.input_distribution
    for learner, number in ((alone, 0), (both, 1)):
        actions, log_prob = sampled(learner, number)
        raw = np.arctanh(actions.numpy()[0, :3])
        expected = (
            -0.5 * ((raw - normal.loc[0]) / normal.stddev()[0]) ** 2
            - np.log(normal.stddev()[0])
            - 0.5 * np.log(2 * np.pi)
            - np.log(1 - np.tanh(raw) ** 2)
        )
        np.testing.assert_allclose(log_prob[0], np.mean(expected), rtol=1e-3)


def test_a_search_stopped_in_training_ends_as_one_left_alone(tmp_path):
    rows = check_that_a_stop_changes_nothing(tmp_path, "sac", {**SHORT, "encoder": "features"})
    assert rows[9]["counts"] != rows[8]["counts"]


@pytest.mark.parametrize("evaluations", [1, 2])
def test_one_group_and_next_to_no_evaluations(evaluations):
    options = {**SHORT, "encoder": "features"}
    rows = run_search(
        PatternProblem(1), "sac", evaluations=evaluations, seed=0, options=options, progress=False
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
