"""`search_plan` and `search_front` as users call them."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfgraphprune as tgp
from tfgraphprune.cost import resolve_limits
from tfgraphprune.search import plan_search
from tfgraphprune.search.evaluation.evaluator import RewardEvaluator
from tfgraphprune.search.registry import SEARCHERS

pytest.importorskip("tf_agents")

SHORT = {"encoder": "gcn", "hidden": 8, "layers": 1, "steps": 1, "batch": 8}


@pytest.fixture(scope="module")
def graph(digits_model):
    return tgp.LayerGraph.from_model(digits_model)


@pytest.fixture(scope="module")
def found(digits_model, graph, digits):
    return tgp.search_plan(
        digits_model, graph, digits.train, digits.reward, tgp.Budget(macs_ratio=0.5),
        tgp.Search(evaluations=8, options=SHORT, reward_examples=100), progress=False,
    )  # fmt: skip


def test_the_result_has_plan_history_figures_and_policy(found, graph):
    assert [row["evaluation"] for row in found.history if row["method"] == "sac"] == [*range(1, 9)]
    first, *_, last = (row for row in found.history if row["method"] == "sac")
    groups = len(graph.prunable_groups)
    assert first["images"] == 512 + 100 + 128 * (1 + 2 * groups)
    assert last["images"] - first["images"] == 7 * (512 + 100) + 3 * 512  # the knapsack's
    assert found.methods["sac"]["images"] == last["images"]
    assert found.methods["uniform"]["images"] == 512 + 100
    assert found.policy.shape == ("gcn", 8, 1)


def test_checkpoints_of_another_budget_model_or_data_are_refused(
    digits_model, graph, digits, tmp_path
):
    def search(model=digits_model, data=digits.reward, ratio=0.5, **more):
        return tgp.search_plan(
            model, tgp.LayerGraph.from_model(model), digits.train, data,
            tgp.Budget(macs_ratio=ratio), tgp.Search(agent="random", rivals=(), evaluations=2),
            progress=False, checkpoint_dir=str(tmp_path), **more,
        )  # fmt: skip

    before = search().history
    other = tf_keras.models.clone_model(digits_model)
    flipped = digits.reward[0][::-1], digits.reward[1][::-1]
    for change, message in (
        ({"ratio": 0.3}, "limits"),
        ({"model": other}, "model"),
        ({"data": flipped}, "data"),
        ({"metric": lambda labels, outputs: 0.0}, "settings"),
    ):
        with pytest.raises(tgp.UserError, match=f"belongs to a search with {message}"):
            search(**change)
    assert search(seed=np.int64(0)).history == before


def test_a_search_of_data_that_shuffle_goes_on(digits_model, graph, digits, tmp_path):
    def search():
        data = tf.data.Dataset.from_tensor_slices(digits.train).shuffle(2000).batch(64)
        return tgp.search_plan(
            digits_model, graph, data, digits.reward, tgp.Budget(macs_ratio=0.5),
            tgp.Search(agent="random", rivals=(), evaluations=2), progress=False,
            checkpoint_dir=tmp_path,
        ).history  # fmt: skip

    assert search() == search()


def test_a_metric_sees_examples_in_their_order(digits_model, graph, digits):
    seen = []
    tgp.search_plan(
        digits_model, graph, digits.train, digits.reward, tgp.Budget(macs_ratio=0.5),
        tgp.Search(agent="uniform", rivals=()), progress=False,
        metric=lambda labels, outputs: seen.append(labels) or 0.0,
    )  # fmt: skip
    np.testing.assert_array_equal(seen[0], digits.reward[1])


def test_a_rival_that_fails_is_left_out(digits_model, graph, digits):
    calls = []

    def reward(model):
        calls.append(model)
        if len(calls) > 2:
            raise RuntimeError("the metric broke")
        return float(len(calls))

    def search(agent, *rivals):
        return tgp.search_plan(
            digits_model, graph, digits.train, None, tgp.Budget(macs_ratio=0.5),
            tgp.Search(agent=agent, rivals=rivals, evaluations=2), reward=reward, progress=False,
        )  # fmt: skip

    found = search("random", "uniform")
    assert list(found.plans) == list(found.methods) == ["random"] and len(calls) == 3
    with pytest.raises(tgp.SearchFailedError, match="the metric broke"):
        search("uniform")


def test_methods_take_the_gradients_of_their_own_images(digits_model, graph, digits):
    def plan_of(*rivals):
        return tgp.search_plan(
            digits_model, graph, digits.train, digits.reward, tgp.Budget(macs_ratio=0.5),
            tgp.Search(agent="knapsack", rivals=rivals, evaluations=1), progress=False,
        ).history[0]  # fmt: skip

    assert plan_of("bottleneck") == plan_of()


def test_the_knapsack_s_plan_is_tried_first_and_charged_once(
    found, digits_model, graph, digits, tmp_path
):
    rows = [row for row in found.history if row["method"] == "sac"]
    search = {"evaluations": 8, "options": SHORT, "reward_examples": 100, "rivals": ()}

    def again(**more):
        return tgp.search_plan(
            digits_model, graph, digits.train, digits.reward, tgp.Budget(macs_ratio=0.5),
            tgp.Search(**{**search, **more}), progress=False, checkpoint_dir=tmp_path / "search",
            on_evaluation=stop,
        )  # fmt: skip

    def stop(row):
        if row["evaluation"] == 2 and not stopped:
            stopped.append(row)
            raise KeyboardInterrupt

    knapsack = tgp.search_plan(
        digits_model, graph, digits.train, digits.reward, tgp.Budget(macs_ratio=0.5),
        tgp.Search(**{**search, "agent": "knapsack", "options": {}}), progress=False,
    )  # fmt: skip
    assert rows[1]["counts"] == knapsack.history[0]["counts"]
    stopped = []
    with pytest.raises(KeyboardInterrupt):
        again()
    assert again().history == rows


def test_a_policy_travels_without_and_with_a_search(found, digits, tmp_path):
    from tfgraphprune.models import resnet_cifar

    found.policy.save(tmp_path / "policy")
    model = resnet_cifar(8, "A")
    graph = tgp.LayerGraph.from_model(model)
    random = np.random.default_rng(0)
    data = random.uniform(size=(64, 32, 32, 3)).astype("float32"), random.integers(0, 10, 64)
    search = {"policy": str(tmp_path / "policy"), "rivals": ()}
    budget = tgp.Budget(macs_ratio=0.4)
    zero = tgp.search_plan(
        model, graph, data, data, budget, tgp.Search(evaluations=0, **search), progress=False
    )
    assert zero.history == [] and zero.methods["sac"]["evaluations"] == 0
    assert tgp.count_macs(tgp.prune(model, zero.plan)) <= 0.4 * tgp.count_macs(model)
    few = tgp.search_plan(
        model, graph, data, data, budget,
        tgp.Search(evaluations=2, options={"steps": 1}, **search), progress=False,
    )  # fmt: skip
    assert few.history[0]["counts"] == [len(zero.plan.kept[n]) for n in names(graph)]
    assert few.policy.shape == ("gcn", 8, 1)


def names(graph):
    return [group.name for group in graph.prunable_groups]


def test_nothing_to_start_from_is_said(digits_model, graph, digits):
    with pytest.raises(tgp.UserError, match=r"Search\(policy=FOLDER\) or agent='pretrained'"):
        tgp.search_plan(
            digits_model, graph, digits.train, digits.reward, tgp.Budget(macs_ratio=0.5),
            tgp.Search(evaluations=0),
        )  # fmt: skip


def test_the_pretrained_policy_gives_a_plan_at_once(digits_model, graph, digits):
    found = tgp.search_plan(
        digits_model, graph, digits.train, digits.reward, tgp.Budget(macs_ratio=0.5),
        tgp.Search(agent="pretrained", rivals=()), progress=False,
    )  # fmt: skip
    assert len(found.history) == 1
    policy = tgp.load_policy("pretrained")
    assert len(policy.record["trained_on"]) > 20
    assert not any("resnet56" in name for name in policy.record["trained_on"])


def test_a_front_has_a_plan_for_each_budget_from_one_policy(digits_model, graph, digits, tmp_path):
    ratios = (0.3, 0.6)
    front = tgp.search_front(
        digits_model, graph, digits.train, digits.reward,
        [tgp.Budget(macs_ratio=ratio) for ratio in ratios],
        tgp.Search(evaluations=12, options=SHORT, reward_examples=100), progress=False,
    )  # fmt: skip
    dense = tgp.count_macs(digits_model)
    for ratio, point in zip(ratios, front.points, strict=True):
        share = tgp.count_macs(tgp.prune(digits_model, point.plan)) / dense
        assert point.shares["macs"] == pytest.approx(share) and ratio - 0.05 < share <= ratio
    assert [row["problem"] for row in front.history] == [0, 1] * 6
    small, large = front.points
    assert small.reward == max(r["reward"] for r in front.history if r["problem"] == 0)
    assert large.reward == max(r["reward"] for r in front.history)
    assert front.dense_reward > 0.9
    front.plot(tmp_path / "front.svg")
    assert "reward" in (tmp_path / "front.svg").read_text()
    with pytest.raises(tgp.UserError, match="one that a budget limits"):
        front.plot(tmp_path / "other.svg", "params")


def test_a_front_holds_no_plan_that_is_worse_than_a_smaller_one(digits_model, graph, digits):
    """The first plan, a small one, is the best of all; the dense network's metric breaks."""
    values = iter(range(0, -8, -1))
    front = tgp.search_front(
        digits_model, graph, digits.train, digits.reward,
        [tgp.Budget(macs_ratio=0.3), tgp.Budget(macs_ratio=0.9)],
        tgp.Search(evaluations=8, options=SHORT), metric=lambda labels, outputs: next(values),
        progress=False,
    )  # fmt: skip
    small, large = front.points
    assert small.reward == large.reward == 0 and small.plan == large.plan
    assert small.shares == large.shares and np.isnan(front.dense_reward)


def test_a_front_is_refused_before_it_starts(digits_model, graph, digits):
    budgets = [tgp.Budget(macs_ratio=0.5), tgp.Budget(macs=10)]
    with pytest.raises(tgp.UserError, match="can only reach"):
        tgp.search_front(digits_model, graph, digits.train, digits.reward, budgets)
    for some, search, message in (
        (budgets, tgp.Search(agent="cma_es"), "by the agent 'sac', not 'cma_es'"),
        (budgets[:1], tgp.Search(), "needs two budgets or more, not 1"),
        (budgets, tgp.Search(evaluations=3), "2 problems needs 4 evaluations or more, not 3"),
        (budgets, tgp.Search(time_limit="1m"), "has no time limit"),
        (budgets, tgp.Search(options={"hiden": 8}), "no option 'hiden'"),
    ):
        with pytest.raises(tgp.UserError, match=message):
            tgp.search_front(digits_model, graph, digits.train, digits.reward, some, search)


def test_an_unknown_option_and_an_unknown_method_are_refused(digits_model, graph, digits):
    arguments = (digits_model, graph, digits.train, digits.reward, tgp.Budget(macs_ratio=0.5))
    with pytest.raises(tgp.UserError, match="is of another one: give LayerGraph"):
        tgp.search_plan(tf_keras.models.clone_model(digits_model), *arguments[1:])
    with pytest.raises(tgp.UserError, match="has no option 'learning': it takes encoder"):
        tgp.search_plan(*arguments, tgp.Search(options={"learning": 1}, rivals=()))
    with pytest.raises(tgp.UserError, match=r"must be one of sac, .*, not 'magic'"):
        tgp.search_plan(*arguments, tgp.Search(agent="magic"))
    with pytest.raises(tgp.UserError, match="agent 'ddpg' can't start from a policy"):
        tgp.search_plan(*arguments, tgp.Search(agent="ddpg", policy="pretrained"))


def test_every_method_is_documented():
    from tfgraphprune.search.registry import searcher_class

    assert all(searcher_class(name).__doc__ for name in SEARCHERS)


def test_without_evaluations_nothing_is_rewarded(digits_model, graph, digits):
    def plan(model, graph, reward_data):
        search = tgp.Search(agent="pretrained", evaluations=0)
        budget = tgp.Budget(macs_ratio=0.5)
        return tgp.search_plan(model, graph, digits.train, reward_data, budget, search).plan

    found = plan(digits_model, graph, None)
    assert (
        found.counts(graph).tolist()
        == plan(digits_model, graph, digits.reward).counts(graph).tolist()
    )
    limits = resolve_limits(tgp.Budget(macs_ratio=0.5), graph)
    assert all(limit.cost(found.counts(graph)) <= limit.value for limit in limits)
    image = digits_model.input
    several = tf_keras.Model(image, [digits_model.output, digits_model.output])
    plan(several, tgp.LayerGraph.from_model(several), None)


def test_a_budget_that_cannot_be_met_is_refused_first(digits_model, graph, digits, monkeypatch):
    monkeypatch.setattr(plan_search, "RewardEvaluator", lambda *a, **k: pytest.fail("long work"))
    with pytest.raises(tgp.UserError, match="budget"):
        tgp.search_plan(
            digits_model, graph, digits.train, digits.reward, tgp.Budget(macs_ratio=1e-4)
        )


def test_a_policy_itself_starts_a_search(found, digits_model, graph, digits):
    again = tgp.search_plan(
        digits_model, graph, digits.train, None, tgp.Budget(macs_ratio=0.4),
        tgp.Search(policy=found.policy, evaluations=0), progress=False,
    )  # fmt: skip
    assert again.policy is found.policy


def test_the_size_of_batches_reaches_the_evaluator(digits_model, graph, digits, monkeypatch):
    made = []

    class Seen(RewardEvaluator):
        def __init__(self, *arguments, **more):
            super().__init__(*arguments, **more)
            made.append(max(len(x) for part in self._images for x in part))

    monkeypatch.setattr(plan_search, "RewardEvaluator", Seen)
    for size in (16, 32):
        tgp.search_plan(
            digits_model, graph, digits.train, digits.reward, tgp.Budget(macs_ratio=0.5),
            tgp.Search(agent="uniform", rivals=(), eval_batch_size=size, reward_examples=40),
            progress=False,
        )  # fmt: skip
    assert made == [16, 32]


def test_inputs_of_no_fixed_size(digits):
    image = tf_keras.Input((None, None, 1))
    x = tf_keras.layers.Conv2D(8, 3, activation="relu")(image)
    x = tf_keras.layers.Conv2D(8, 3, activation="relu")(x)
    model = tf_keras.Model(
        image, tf_keras.layers.Dense(10)(tf_keras.layers.GlobalAveragePooling2D()(x))
    )
    graph = tgp.LayerGraph.from_model(model)
    settings = {"budget": tgp.Budget(params_ratio=0.5), "search": tgp.Search(evaluations=4)}
    found = tgp.search_plan(model, graph, digits.train, digits.reward, **settings, progress=False)
    small = tgp.prune(model, found.plan)
    assert small.count_params() <= 0.5 * model.count_params()
    with pytest.raises(tgp.UserError, match="MACs need a fixed input size"):
        tgp.compress(model, digits.train, digits.reward, **settings)
