"""Every recovery on a network of more than plain layers: composite, nested, frozen, in 16 bits."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tests.network_layers import Block
from tfgraphprune.settings import RECOVERIES, FineTune
from tfgraphprune.training.recoveries.scratch import redraw
from tfgraphprune.training.recovery import recover

L = keras.layers


class Closed(Block):
    """One that can't be made anew."""

    def get_config(self):
        raise NotImplementedError


def _network(block=Block):
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    start = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, strides=2, activation="relu", name="stem")(start)
    x = block(8, name="block")(x)
    x = L.Conv2D(8, 1, activation="relu", trainable=False, name="frozen")(x)
    inner = keras.Sequential([keras.Input((3, 3, 8)), L.Conv2D(8, 1, activation="relu")], "nested")
    x = L.GlobalAveragePooling2D()(inner(x))
    return keras.Model(start, L.Dense(3, name="logits")(x))


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    return random.normal(size=(64, 8, 8, 3)).astype("float32"), random.integers(0, 3, 64)


CASES = [*((name, Block) for name in RECOVERIES), *((n, Closed) for n in ("gradual", "soft"))]


@pytest.mark.parametrize(("name", "block"), CASES)
def test_ends_at_the_plan(data, name, block):
    model = _network(block)
    graph = tgp.LayerGraph.from_model(model)
    plan = tgp.PruningPlan.from_keep_ratios(graph, 0.5)
    assert {"block/convs_0", "frozen"} <= set(plan.kept)
    before = model.get_weights()
    found = recover(graph, plan, FineTune(epochs=2, recovery=name, batch_size=32), data, data)
    counts = {n: len(kept) for n, kept in plan.kept.items()}
    assert {n: len(kept) for n, kept in found.plan.kept.items()} == counts
    sizes = {g.size for g in tgp.LayerGraph.from_model(found.model).prunable_groups}
    assert sizes == {4} and len(found.rows) >= 2
    expected = tgp.prune(model, found.plan)
    assert found.model.count_params() == expected.count_params()
    if name == "refill":  # tfmot does not prune what is not trainable
        assert found.plan.kept["frozen"] == plan.kept["frozen"]
    if name != "reconstruct":  # which fits kernels that read less than they did
        np.testing.assert_array_equal(
            found.model.get_layer("frozen").kernel, expected.get_layer("frozen").kernel
        )
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_channel_that_no_single_weight_decides_on_is_the_plans(data):
    """tfmot prunes no attention: refill keeps what the plan keeps there."""
    start = keras.Input((6, 8))
    x = L.MultiHeadAttention(4, 3, name="attention")(start, start)
    model = keras.Model(start, L.Dense(3, name="logits")(L.Flatten()(x)))
    graph = tgp.LayerGraph.from_model(model)
    heads = next(g for g in graph.prunable_groups if g.size == 4)
    plan = tgp.PruningPlan.from_indices(graph, {heads.name: [1, 3]})
    sequences = np.random.default_rng(0).normal(size=(64, 6, 8)).astype("float32"), data[1]
    settings = FineTune(epochs=2, recovery="refill", batch_size=32)
    assert recover(graph, plan, settings, sequences, sequences).plan.kept[heads.name] == (1, 3)


@pytest.mark.parametrize("name", ["gradual", "refill"])
def test_tfmot_refuses_models_in_16_bits(data, name):
    with tf.device("CPU"):
        start = keras.Input((4,))
        hidden = L.Dense(8, dtype="mixed_bfloat16", name="half")(start)
        model = keras.Model(start, L.Dense(3, dtype="float32")(hidden))
    graph = tgp.LayerGraph.from_model(model)
    plan = tgp.PruningPlan.from_keep_ratios(graph, 0.5)
    rows = data[0][:, 0, 0, :1].repeat(4, -1), data[1]
    with pytest.raises(tgp.UserError, match="'half' computes in bfloat16"):
        recover(graph, plan, FineTune(epochs=2, recovery=name), rows, rows)
    with pytest.raises(tgp.UserError, match="'half' computes in bfloat16"):
        tgp.sparsify(model, rows, sparsity=0.5)


def test_several_stages_from_random_weights_are_refused():
    with pytest.raises(tgp.UserError, match=r"so stages must be 1, not 2"):
        FineTune(recovery="scratch_b", stages=2)


def test_redrawn_layers_begin_as_keras_begins_them():
    """Frozen ones stay, an LSTM remembers, and initializers may be functions."""
    start = keras.Input((5, 4))
    x = L.Dense(4, trainable=False, name="frozen")(start)
    x = L.LSTM(3, name="lstm")(x)
    ones = lambda shape, dtype=None: tf.ones(shape, dtype)  # noqa: E731
    model = keras.Model(start, L.Dense(2, kernel_initializer=ones, name="logits")(x))
    frozen = model.get_layer("frozen").kernel.numpy()
    model.get_layer("lstm").cell.bias.assign(np.full(12, 7.0))
    redraw(model, 0)
    np.testing.assert_array_equal(model.get_layer("frozen").kernel, frozen)
    np.testing.assert_array_equal(
        model.get_layer("lstm").cell.bias, np.repeat([0, 1, 0, 0], 3).astype("float32")
    )
    assert (model.get_layer("logits").kernel.numpy() == 1).all()
