"""tfmot's schedule over whole channel groups."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from tensorflow_model_optimization.python.core.sparsity.keras.prune_registry import PruneRegistry

import tfgraphprune as tgp
from tfgraphprune.models import digits_cnn
from tfgraphprune.training import gradual
from tfgraphprune.training.data import load_digits
from tfgraphprune.training.finetune import finetune, steps_an_epoch
from tfgraphprune.training.recoveries.gradual import MASKED, unmasked
from tfgraphprune.training.recoveries.registry import followed
from tfgraphprune.training.recovery import recover


@pytest.fixture(scope="module")
def data():
    x, y = load_digits(0).train
    return x[:320], y[:320]


@pytest.fixture(scope="module")
def dense(data):
    keras.utils.set_random_seed(0)
    model = digits_cnn()
    finetune(model, data, epochs=3, optimizer="adam", batch_size=32, verbose=0)
    return model


@pytest.fixture(scope="module")
def graph(dense):
    return tgp.LayerGraph.from_model(dense)


@pytest.fixture(scope="module")
def plan(graph):
    return tgp.PruningPlan.from_keep_ratios(graph, 0.5)


class _Watch(keras.callbacks.Callback):
    """How many channels each consumer's mask leaves, after every step."""

    def __init__(self, wrapped):
        super().__init__()
        self._wrappers = [w for w in wrapped.layers if isinstance(w, gradual.PruneChannels)]
        self.rows = []

    def on_train_batch_end(self, batch, logs=None):
        left = {}
        for wrapper in self._wrappers:
            mask = wrapper.pruning_vars[0][1].numpy()
            others = tuple(a for a in range(mask.ndim) if a != mask.ndim - 2)
            left[wrapper.layer.name] = mask.max(others)
        self.rows.append(left)


def test_shared_masks_shrink_channels_step_by_step_and_end_at_the_plan(graph, plan, data):
    steps = 4 * steps_an_epoch(data, 32)
    wrapped = gradual.wrap(graph, plan, steps)
    watch = _Watch(wrapped)
    callbacks = (*gradual.callbacks(), watch)
    finetune(wrapped, data, epochs=4, batch_size=32, callbacks=callbacks, verbose=0)
    stem = [row["block_conv1"].sum() for row in watch.rows]
    assert stem[0] > 12 and stem[-1] == 8
    assert all(later <= earlier for earlier, later in itertools.pairwise(stem))
    assert len(set(stem)) > 3
    for row in watch.rows:  # two readers of one group switch the same channels at the same step
        np.testing.assert_array_equal(row["block_conv1"], row["down"])
    assert tuple(np.flatnonzero(watch.rows[-1]["down"])) == plan.kept["stem"]


def test_stripped_is_plain_and_exactly_the_pruned_network(graph, plan, data):
    wrapped = gradual.wrap(graph, plan, 2 * steps_an_epoch(data, 32))
    finetune(
        wrapped, data, epochs=2, batch_size=32, callbacks=tuple(gradual.callbacks()), verbose=0
    )
    plain = gradual.strip(wrapped)
    assert not any("prune" in layer.name for layer in plain.layers)
    small = tgp.prune(plain, plan)
    expected = plain.predict(data[0], verbose=0)
    error = np.abs(small.predict(data[0], verbose=0) - expected).max() / expected.std()
    assert error < 1e-4
    assert tgp.count_macs(small) < 0.5 * tgp.count_macs(plain)


def test_tfmots_summaries_show_the_channels_go(graph, plan, data, tmp_path):
    gradual.train(graph, plan, data, epochs=2, batch_size=32, log_dir=tmp_path, verbose=0)
    found = {}
    for path in sorted(tmp_path.rglob("events.out.tfevents.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if "sparsity" in value.tag:
                    found.setdefault(value.tag, []).append(float(tf.make_ndarray(value.tensor)))
    names = ("block_conv1", "block_conv2", "down", "expand", "project", "logits")
    shares = {f"prune_channels_{name}/mask:0/sparsity": [0.0, 0.5] for name in names}
    assert found == shares


def test_without_tfmots_callback_training_fails(graph, plan, data):
    wrapped = gradual.wrap(graph, plan, 10)
    with pytest.raises(Exception, match="UpdatePruningStep"):
        finetune(wrapped, data, epochs=1, verbose=0)


def test_the_original_model_is_not_touched(dense, graph, plan, data):
    before = dense.get_weights()
    wrapped = gradual.wrap(graph, plan, steps_an_epoch(data, 64))
    finetune(wrapped, data, epochs=1, callbacks=tuple(gradual.callbacks()), verbose=0)
    for left, right in zip(before, dense.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_constant_schedule_takes_all_in_the_first_step(graph, plan, data):
    wrapped = gradual.wrap(graph, plan, 3, schedule="constant")
    watch = _Watch(wrapped)
    callbacks = (*gradual.callbacks(), watch)
    finetune(wrapped, (data[0][:96], data[1][:96]), epochs=1, batch_size=32, callbacks=callbacks)
    for row in watch.rows:
        assert tuple(np.flatnonzero(row["down"])) == plan.kept["stem"]


def test_wrappers_are_tfmots(graph, plan):
    wrapped = gradual.wrap(graph, plan, 10)
    wrappers = [w for w in wrapped.layers if isinstance(w, gradual.PruneChannels)]
    assert {w.layer.name for w in wrappers} == {
        "block_conv1", "block_conv2", "down", "expand", "project", "logits",
    }  # fmt: skip
    base = tfmot.sparsity.keras.UpdatePruningStep()
    base.set_model(wrapped)
    base.on_train_begin()
    assert len(base.prunable_layers) == len(wrappers)


def recurrent():
    steps = keras.Input((6, 5))
    x = keras.layers.LSTM(8, return_sequences=True, name="first")(steps)
    x = keras.layers.GRU(6, name="second")(x)
    return keras.Model(steps, keras.layers.Dense(3, name="scores")(x))


def attention():
    steps = keras.Input((6, 8))
    x = keras.layers.MultiHeadAttention(4, 3, name="heads")(steps, steps)
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(steps, keras.layers.Dense(3, name="scores")(x))


@pytest.mark.parametrize("make", [recurrent, attention])
def test_in_layers_of_many_kernels_each_follows_its_own_groups(make):
    """Masks end as exactly those that silence what the plan cuts."""
    keras.utils.set_random_seed(0)
    model = make()
    graph = tgp.LayerGraph.from_model(model)
    plan = tgp.PruningPlan.from_keep_ratios(graph, 0.5)
    assert plan.kept and not unmasked(graph)
    x = np.random.default_rng(0).normal(size=(32, *model.input_shape[1:])).astype("float32")
    labels = np.arange(32) % 3
    plain, _ = gradual.train(
        graph, plan, (x, labels), epochs=2, batch_size=4, learning_rate=1e-9, verbose=0
    )
    expected = tgp.masked(model, plan)
    for left, right in zip(plain.weights, expected.weights, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-4, err_msg=left.name)


def test_the_table_of_masked_weights_is_tfmots():
    for name, weights in MASKED.items():
        layer = getattr(keras.layers, name)
        if name in ("GRU", "LSTM", "SimpleRNN"):
            cell = getattr(keras.layers, f"{name}Cell")
            known = PruneRegistry._RNN_CELLS_WEIGHTS_MAP[cell]
        else:
            known = PruneRegistry._LAYERS_WEIGHTS_MAP[layer]
        assert {weight.split(".")[-1] for weight in known} == set(weights), name


def unfollowed():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, name="normed")(image)
    x = keras.layers.Conv2D(8, 3, name="read")(keras.layers.LayerNormalization()(x))
    x = keras.layers.Conv2D(6, 3, name="last")(x)
    x = keras.layers.TimeDistributed(keras.layers.Dense(4), name="outer")(x)
    return keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x)))


def test_what_can_t_be_followed_stays_whole_and_says_why():
    graph = tgp.LayerGraph.from_model(unfollowed())
    frozen = followed(graph, "gradual")
    reasons = {group.name: group.reason for group in frozen.channel_groups if not group.prunable}
    before = {group.name for group in graph.prunable_groups}
    new = {name: reason for name, reason in reasons.items() if name in before}
    assert sorted(new) == ["last", "normed"]
    assert "statistics" in new["normed"] and "a TimeDistributed reads" in new["last"]
    assert followed(graph, "soft") is graph
    plan = tgp.PruningPlan.from_keep_ratios(graph, 0.5)
    data = np.zeros((4, 8, 8, 3), "float32"), np.arange(4) % 3
    with pytest.raises(tgp.UserError, match="gradual can't shrink the group 'normed'"):
        recover(graph, plan, tgp.FineTune(epochs=1, recovery="gradual"), data, data)
