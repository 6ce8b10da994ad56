"""Pruned == masked, on every kind of network and under extreme plans."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests import networks
from tests.network_layers import shared_inside_and_outside
from tfgraphprune.cost import Projection, resolve_limits
from tfgraphprune.errors import UserError
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning import PruningPlan, masked, prune
from tfgraphprune.pruning.masking import Silencer
from tfgraphprune.settings import Budget

PLANS = ("one channel each", "any number", "one channel fewer")


def make_plan(graph: LayerGraph, kind: str, seed: int = 0) -> PruningPlan:
    """Channels drawn at random, so that no order and no importance is special."""
    random = np.random.default_rng(seed)
    counts = {
        "one channel each": lambda size: 1,
        "any number": lambda size: int(random.integers(1, size)),
        "one channel fewer": lambda size: size - 1,
    }
    kept = {
        group.name: random.permutation(group.size)[: counts[kind](group.size)]
        for group in graph.prunable_groups
    }
    return PruningPlan.from_indices(graph, kept)


def error(left: list[np.ndarray], right: list[np.ndarray]) -> float:
    """Largest difference, as a share of the output's standard deviation."""
    assert [a.shape for a in left] == [b.shape for b in right]
    return max(
        float(np.abs(a - b).max() / (a.std() + 1e-12)) for a, b in zip(left, right, strict=True)
    )


def weighted(model) -> list[str]:
    """Names of the layers with weights, in order."""
    return sorted(layer.name for layer in model.layers if layer.weights)


def statistics(model) -> list[np.ndarray]:
    return [w.numpy() for w in model.weights if "moving_" in w.name.split("/")[-1]]


@pytest.mark.parametrize("name", networks.ALL)
def test_pruned_equals_masked(name, tmp_path):
    model = networks.build(name)
    graph = LayerGraph.from_model(model)
    before = [w.numpy() for w in model.weights]
    x = networks.inputs_for(model)
    if name == "dictionaries":
        x = dict(zip(sorted(model.input), x, strict=True))
    dense = networks.outputs_of(model, x)
    assert graph.prunable_groups
    silencer = Silencer(graph)
    reference = silencer.model
    assert error(dense, networks.outputs_of(reference, x)) < 1e-4, "the reference is another"
    for kind in PLANS:
        plan = make_plan(graph, kind)
        silencer.apply(plan.kept)
        small = prune(model, plan)
        expected, got = networks.outputs_of(reference, x), networks.outputs_of(small, x)
        assert error(expected, got) < 1e-4, kind
        assert error(dense, expected) > 1e-3, "the plan changes nothing"
        assert small.count_params() < model.count_params()
        for left, right in zip(statistics(reference), statistics(model), strict=True):
            np.testing.assert_array_equal(left, right)
        assert weighted(model) == weighted(small)
        if kind == "one channel each":
            check_product(small, x, got, tmp_path / "small.keras")
    for left, right in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(left, right.numpy())


def check_product(small, x, expected, path) -> None:
    """The pruned model is plain: it saves, loads and trains."""
    small.save(path)
    loaded = keras.models.load_model(path)
    for left, right in zip(expected, networks.outputs_of(loaded, x), strict=True):
        np.testing.assert_array_equal(left, right)
    with tf.GradientTape() as tape:
        loss = sum(tf.reduce_mean(tf.square(t)) for t in tf.nest.flatten(small(x, training=True)))
    variables = small.trainable_variables
    gradients = tape.gradient(loss, variables)
    assert all(g is not None and np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients)
    keras.optimizers.SGD(1e-3).apply_gradients(zip(gradients, variables, strict=True))
    assert all(np.isfinite(out).all() for out in networks.outputs_of(small, x))


def test_a_layer_shared_between_a_nested_model_and_what_is_around_it():
    """Cut like any other; only tf_keras itself can't save such a model."""
    model = networks.randomise(shared_inside_and_outside())
    plan = make_plan(LayerGraph.from_model(model), "any number")
    x = networks.inputs_for(model)
    small = prune(model, plan)
    assert small.count_params() < model.count_params()
    expected, got = (networks.outputs_of(m, x) for m in (masked(model, plan), small))
    assert error(expected, got) < 1e-4


@pytest.mark.parametrize("name", ["resnet_a", "nested_twice", "siamese", "with_settings"])
def test_a_plan_that_keeps_all_changes_no_bit(name):
    model = networks.build(name)
    graph, x = LayerGraph.from_model(model), networks.inputs_for(model)
    everything = {g.name: range(g.size) for g in graph.prunable_groups}
    for plan in (
        PruningPlan({}, graph.fingerprint),
        PruningPlan.from_indices(graph, everything),
        PruningPlan.from_keep_ratios(graph, 1.0),
    ):
        for other in (prune(model, plan), masked(model, plan)):
            for left, right in zip(
                networks.outputs_of(model, x), networks.outputs_of(other, x), strict=True
            ):
                np.testing.assert_array_equal(left, right)
    assert LayerGraph.from_model(prune(model, plan)).fingerprint == graph.fingerprint


def test_one_channel_fewer_removes_the_expected_slices():
    model = networks.build("residual")
    graph = LayerGraph.from_model(model)
    keep = [0, 1, 3, 4, 5]
    small = prune(model, PruningPlan.from_indices(graph, {"conv2d_2": keep}))
    cut = {"conv2d_2/kernel": 3, "conv2d_1/kernel": 2}
    cut |= {
        f"batch_normalization_2/{n}": 0 for n in "gamma beta moving_mean moving_variance".split()
    }
    for old, new in zip(model.weights, small.weights, strict=True):
        value, name = old.numpy(), old.name.split(":")[0]
        if name in cut:
            value = np.take(value, keep, cut.pop(name))
        np.testing.assert_array_equal(value, new.numpy(), err_msg=name)
    assert not cut


def test_channel_multiple_is_kept():
    model = networks.build("resnet_b")
    graph = LayerGraph.from_model(model, channel_multiple=4)
    assert {group.step for group in graph.channel_groups} == {4}
    for ratio, expected in ((0.3, 4), (0.7, 12), (1.0, 16)):
        plan = PruningPlan.from_keep_ratios(graph, ratio)
        sizes = dict(zip([g.name for g in graph.prunable_groups], plan.counts(graph), strict=True))
        assert sizes["s3b0_conv1"] == expected
        assert all(n % 4 == 0 for n in sizes.values())


@pytest.mark.parametrize(
    "loss", ["mse", keras.losses.Huber(2.0), lambda y, p: tf.reduce_mean(tf.square(p - y))]
)
@pytest.mark.parametrize("metric", ["mae", keras.metrics.MeanAbsoluteError("mae")])
def test_a_compiled_model_comes_back_compiled(loss, metric):
    model = networks.build("plain")
    model.compile(keras.optimizers.Adam(3e-4), loss=loss, metrics=[metric])
    graph = LayerGraph.from_model(model)
    small = prune(model, PruningPlan.from_keep_ratios(graph, 0.5))
    assert float(small.optimizer.learning_rate.numpy()) == pytest.approx(3e-4)
    assert small.optimizer is not model.optimizer
    x = networks.inputs_for(model)
    row = small.fit(x, np.ones((4, 3)), verbose=0).history
    assert set(row) == {"loss", "mae"} and np.isfinite(row["loss"]).all()
    # Neither optimizer nor metrics are shared.
    model.fit(x, np.ones((4, 3)), epochs=2, verbose=0)
    assert small.optimizer.iterations.numpy() == 1
    assert not any(mine is other for mine in small.metrics for other in model.metrics)


class Bare(keras.metrics.Mean):
    """A metric that can't be made anew from its configuration."""

    def __init__(self, threshold):
        super().__init__("bare")
        self.threshold = threshold


def test_what_can_t_be_made_anew_is_left_out_or_refused():
    model = networks.build("plain")
    model.compile(keras.optimizers.legacy.SGD(0.1), "mse", metrics=[Bare(0.5), "mae"])
    plan = PruningPlan.from_keep_ratios(LayerGraph.from_model(model), 0.5)
    small = prune(model, plan)
    assert small.optimizer is not model.optimizer
    row = small.fit(networks.inputs_for(model), np.zeros((4, 3)), verbose=0).history
    assert set(row) == {"loss", "mae"}

    class Odd(keras.optimizers.SGD):
        def __init__(self, needed):
            super().__init__(needed)

    model.compile(Odd(0.1), "mse")
    with pytest.raises(UserError, match="class is Odd, can't be made anew"):
        prune(model, plan)


def test_metrics_of_several_outputs_keep_their_names():
    start = keras.Input((8,))
    x = keras.layers.Dense(8)(start)
    outputs = [keras.layers.Dense(1, name=name)(x) for name in ("left", "right")]
    model = keras.Model(start, outputs)
    metric = {"left": keras.metrics.MeanAbsoluteError("mae")}
    model.compile("sgd", "mse", metrics=metric)
    data = np.zeros((4, 8)), [np.zeros((4, 1))] * 2
    row = model.fit(*data, verbose=0).history
    small = prune(model, PruningPlan.from_keep_ratios(LayerGraph.from_model(model), 0.5))
    assert set(small.fit(*data, verbose=0).history) == set(row) and "left_mae" in row


@pytest.mark.parametrize(
    "name", ["split_concat", "resnet_a", "arithmetic", "shuffle", "nested_twice"]
)
def test_a_loaded_model_is_cut_alike(name, tmp_path):
    """Keras gives the ops of a loaded model by name what it gave them by position before."""
    model = networks.build(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    plan = make_plan(LayerGraph.from_model(model), "any number")
    x = networks.inputs_for(model)
    for left, right in zip(prune(model, plan).weights, prune(loaded, plan).weights, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())
    for small in (prune(loaded, plan), prune(model, plan)):
        assert (
            error(networks.outputs_of(masked(loaded, plan), x), networks.outputs_of(small, x))
            < 1e-4
        )


@pytest.mark.parametrize("name", ["plain", "residual", "depthwise_2", "resnet_a"])
def test_dense_minus_one_with_a_constant_criterion_takes_one_channel_of_one_group(name):
    model = networks.build(name)
    graph = LayerGraph.from_model(model)
    limits = resolve_limits(Budget(params=model.count_params() - 1), graph)
    counts, _ = Projection.of(graph, limits).project(np.zeros(len(graph.prunable_groups)))
    missing = [g.size - n for g, n in zip(graph.prunable_groups, counts, strict=True)]
    assert sorted(missing) == [0] * (len(missing) - 1) + [1]
    group = graph.prunable_groups[missing.index(1)]
    constant = {g.name: np.ones(g.size) for g in graph.channel_groups}
    plan = PruningPlan.from_counts(graph, {group.name: group.size - 1}, lambda graph: constant)
    assert plan.kept == {group.name: tuple(range(group.size - 1))}
    small = prune(model, plan)
    expected = {
        (axis.path, axis.weight): graph.variable(axis).numpy() for g in graph.channel_groups
        for axis in g.axes
    }  # fmt: skip
    for axis in group.axes:
        key = (axis.path, axis.weight)
        expected[key] = np.delete(expected[key], axis.positions[-1], axis.axis)
    for (path, index), value in expected.items():
        found = small.get_layer(path[-1]).weights[index].numpy()
        np.testing.assert_array_equal(found, value, err_msg=str(path))
