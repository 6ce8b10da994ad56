"""Every recovery by one driver, and what is special about each."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.models import digits_cnn
from tfgraphprune.settings import RECOVERIES as NAMES
from tfgraphprune.settings import FineTune
from tfgraphprune.training.data import load_digits
from tfgraphprune.training.finetune import finetune
from tfgraphprune.training.recoveries.refill import surviving
from tfgraphprune.training.recoveries.registry import RECOVERIES, check_recovery
from tfgraphprune.training.recoveries.scratch import redraw
from tfgraphprune.training.recoveries.soft import SoftMasks, coupled_l2
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


def _sizes(model):
    return {g.name: g.size for g in tgp.LayerGraph.from_model(model).prunable_groups}


def test_the_settings_name_them_all():
    assert tuple(RECOVERIES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_ends_at_the_plan_learns_and_resumes(graph, plan, data, name, tmp_path):
    settings = FineTune(epochs=3, recovery=name, batch_size=32)
    before = graph.model.get_weights()
    seen = []
    logs = {"log_dir": tmp_path / "logs"}
    found = recover(graph, plan, settings, data, data, on_epoch=seen.append, **logs)
    assert _sizes(found.model) == {name: len(kept) for name, kept in found.plan.kept.items()}
    assert {n: len(k) for n, k in found.plan.kept.items()} == {
        n: len(k) for n, k in plan.kept.items()
    }
    found.plan.check(graph)
    assert found.rows[-1]["accuracy"] > 0.3
    assert seen == found.rows and [row["epoch"] for row in seen] == list(range(1, len(seen) + 1))
    assert list((tmp_path / "logs").rglob("events.out.tfevents.*"))
    for old, new in zip(before, graph.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)

    def stop(epoch, row):
        if row["epoch"] == epoch:
            raise KeyboardInterrupt

    resumed = functools.partial(
        recover, graph, plan, settings, data, data, checkpoint_dir=tmp_path / "c"
    )
    for epoch in (1, 3) if name in ("soft", "refill") else (2,):  # in either half of two
        with pytest.raises(KeyboardInterrupt):
            resumed(on_epoch=functools.partial(stop, epoch))
    for _ in range(2):  # it goes on, and then finds it all done
        again = resumed()
        assert again.plan == found.plan and len(again.rows) == len(found.rows)
        for row, same in zip(again.rows, found.rows, strict=True):
            assert row == pytest.approx(same, rel=1e-3)
        for old, new in zip(found.model.get_weights(), again.model.get_weights(), strict=True):
            np.testing.assert_allclose(old, new, atol=1e-4)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("scratch")])
def test_no_epochs_only_cut(graph, plan, data, name):
    found = recover(graph, plan, FineTune(epochs=0, recovery=name), data, data)
    assert found.rows == [] and found.plan == plan
    assert _sizes(found.model) == {name: len(kept) for name, kept in plan.kept.items()}


@pytest.mark.parametrize("name", ["one_shot", "reconstruct", "scratch_e", "scratch_b"])
@pytest.mark.parametrize("returns", [True, False])
def test_fit_fn_replaces_the_training(graph, plan, data, name, returns):
    def fit_fn(model, teacher):
        assert teacher is graph.model
        model.get_layer("logits").bias.assign(np.full(10, 7.0))
        return model if returns else None

    settings = FineTune(epochs=5, recovery=name)
    found = recover(graph, plan, settings, data, data, fit_fn=fit_fn)
    assert found.rows == [] and found.model.get_layer("logits").bias.numpy()[0] == 7


@pytest.mark.parametrize("name", ["gradual", "soft", "refill"])
def test_fit_fn_is_refused_where_it_would_be_passed_over(graph, plan, data, name):
    with pytest.raises(tgp.UserError, match="can't use fit_fn"):
        recover(graph, plan, FineTune(recovery=name), data, data, fit_fn=lambda m, t: m)


def test_features_are_refused_where_they_would_not_be_compared(graph, plan, data):
    with pytest.raises(tgp.UserError, match="feature_weight can't be added to fit_fn"):
        settings = FineTune(feature_weight=1.0)
        recover(graph, plan, settings, data, data, fit_fn=lambda m, t: m)


def test_an_optimizer_that_can_t_be_made_anew_is_refused_before_long_work(data):
    class Unsaid(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 1e-3

    model = digits_cnn()
    model.compile(keras.optimizers.Adam(Unsaid()), "mse")
    with pytest.raises(tgp.UserError, match="can't be made anew"):
        check_recovery(FineTune(), model, None)


def test_scratch_forgets_and_trains_for_equal_compute(graph, plan, data):
    def fit_fn(model, teacher):
        return model

    start = {
        seed: recover(
            graph, plan, FineTune(epochs=1, recovery="scratch_e"), data, data, fit_fn=fit_fn,
            seed=seed,
        ).model
        for seed in (0, 1)
    }  # fmt: skip
    cut = tgp.prune(graph.model, plan)
    kernels = [m.get_layer("block_conv2").kernel.numpy() for m in (start[0], start[1], cut)]
    assert all(np.abs(a - b).max() > 0.01 for a, b in itertools.pairwise(kernels))
    scratch_b = FineTune(epochs=2, recovery="scratch_b", batch_size=64)
    rows = recover(graph, plan, scratch_b, data, data).rows
    ratio = tgp.count_macs(graph.model) / tgp.count_macs(cut)
    assert len(rows) == round(2 * ratio) > 2


def test_redrawn_weights_have_the_spread_of_their_initializers():
    image = keras.Input((8, 8, 16))
    x = keras.layers.Conv2D(64, 3, kernel_initializer="he_normal", name="conv")(image)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.Bidirectional(keras.layers.LSTM(8), name="both")(
        keras.layers.Reshape((16, 64))(x)
    )
    model = keras.Model(image, keras.layers.Dense(64, name="dense")(x))
    zeros = [np.zeros_like(w) for w in model.get_weights()]
    model.set_weights(zeros)
    redraw(model, 0)
    conv = model.get_layer("conv").kernel.numpy()
    assert conv.std() == pytest.approx(np.sqrt(2 / (9 * 16)), rel=0.1)
    bn = model.get_layer("bn")
    assert (bn.gamma.numpy() == 1).all() and (bn.moving_variance.numpy() == 1).all()
    assert (bn.beta.numpy() == 0).all()
    limit = np.sqrt(6 / (16 + 64))
    assert 0.9 * limit < np.abs(model.get_layer("dense").kernel.numpy()).max() <= limit
    recurrent = model.get_layer("both").forward_layer.cell.recurrent_kernel.numpy()
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(8), atol=1e-5)  # orthogonal
    assert np.abs(model.get_layer("depthwise").depthwise_kernel.numpy()).max() > 0


def test_statistics_that_no_initializer_makes_are_not_redrawn():
    normalization = keras.layers.Normalization(name="normalization")
    normalization.adapt(np.random.default_rng(0).normal(3, 2, (64, 5)))
    start = keras.Input((5,))
    model = keras.Model(start, keras.layers.Dense(3)(normalization(start)))
    before = [w.numpy() for w in normalization.weights]
    kernel = model.layers[-1].kernel.numpy()
    redraw(model, 0)
    for old, new in zip(before, normalization.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.abs(model.layers[-1].kernel.numpy() - kernel).max() > 0.01


def _masked(graph, plan):
    model = keras.models.clone_model(graph.model)
    model.set_weights(graph.model.get_weights())
    counts = {name: len(kept) for name, kept in plan.kept.items()}
    return model, SoftMasks(tgp.LayerGraph.from_model(model), counts)


def _readers(graph, name):
    """The weights that read a group of which every layer has it on the last axis but one."""
    return [axis for axis in graph.group(name).axes if axis.role == "in" and axis.blocks == 1]


def test_soft_pruning_silences_channels_and_lets_them_come_back(graph, plan, data):
    """A channel that is silenced after one epoch can win a place after a later one."""
    model, masks = _masked(graph, plan)
    masks.on_epoch_end(0)
    chosen = masks.choose()
    silent = tgp.PruningPlan(chosen, masks._graph.fingerprint)
    np.testing.assert_allclose(model(data[0]), tgp.masked(model, silent)(data[0]), atol=1e-5)
    name = next(iter(plan.kept))
    gone = next(i for i in range(graph.group(name).size) if i not in chosen[name])
    axis = _readers(masks._graph, name)[0]
    kernel = masks._graph.variable(axis)
    place = [slice(None)] * kernel.shape.rank
    place[axis.axis] = axis.positions[gone]
    value = kernel.numpy()
    assert (value[tuple(place)] == 0).all()
    value[tuple(place)] = 10.0
    kernel.assign(value)
    assert gone in masks.choose()[name]
    masks.on_epoch_end(1)
    assert (kernel.numpy()[tuple(place)] == 10).all()


def test_norms_are_of_all_that_makes_or_reads_a_channel():
    start = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(4, 1, name="maker")(start)
    x = keras.layers.Conv2D(6, 1, groups=2, name="reader")(x)
    model = keras.Model(start, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    graph = tgp.LayerGraph.from_model(model)
    name = next(g.name for g in graph.channel_groups if "maker" in g.producers)
    found, group = coupled_l2(graph)[name], graph.group(name)
    made, read = (np.square(model.get_layer(n).kernel.numpy()[0, 0]) for n in ("maker", "reader"))
    each = made.sum(0) + np.concatenate([read[:, :3].sum(1), read[:, 3:].sum(1)])
    positions = next(axis.positions for axis in group.axes if axis.role == "in")
    np.testing.assert_allclose(found, np.sqrt(each[positions].sum(1)), rtol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_soft_pruning_zeroes_what_is_trained(graph, plan, data, precision, monkeypatch):
    seen = []
    after = SoftMasks.on_epoch_end
    name = next(g.name for g in graph.channel_groups if "block_conv1" in g.producers)

    def look(masks, epoch, logs=None):
        after(masks, epoch, logs)
        kernel = masks.model.student.get_layer("block_conv2").kernel.numpy()
        seen.append(int((np.abs(kernel).sum((0, 1, 3)) == 0).sum()))

    monkeypatch.setattr(SoftMasks, "on_epoch_end", look)
    settings = FineTune(epochs=4, recovery="soft", batch_size=32, precision=precision)
    found = recover(graph, plan, settings, data, data)
    going = graph.group(name).size - len(plan.kept[name])
    assert seen == [going, going] and going > 0
    assert all(layer.compute_dtype == "float32" for layer in found.model.layers)


@pytest.mark.parametrize("name", ["gradual", "refill"])
def test_tfmots_recoveries_compute_in_float32_only(name):
    with pytest.raises(tgp.UserError, match=r"so precision can't be 'mixed_bfloat16'"):
        FineTune(recovery=name, precision="mixed_bfloat16")


def test_fit_fn_is_given_the_teacher_that_is_named(graph, plan, data):
    other, given = keras.models.clone_model(graph.model), []

    def fit_fn(model, teacher):
        given.append(teacher)
        return model

    for distill in (True, False):
        settings = FineTune(epochs=1, distill=distill)
        recover(graph, plan, settings, data, data, fit_fn=fit_fn, teacher=other)
    assert given[0] is given[1] is other


def test_survivors_are_counted_in_the_filters_that_make_a_channel(graph):
    model = keras.models.clone_model(graph.model)
    model.set_weights(graph.model.get_weights())
    layer = model.get_layer("block_conv1")
    value = layer.kernel.numpy()
    value[:, :, 3:, 2] = 0
    value[..., 5] = 0
    layer.kernel.assign(value)
    name = next(g.name for g in graph.channel_groups if "block_conv1" in g.producers)
    found = surviving(tgp.LayerGraph.from_model(model))[name]
    size = value[..., 0].size
    assert found[5] == 0 and found[2] == 9 * 3 and found[0] == size


def test_silenced_channels_get_ordinary_gradients(graph, plan, data):
    """They are not frozen: one more step moves them, and not by far more than others."""
    model, masks = _masked(graph, plan)
    masks.on_epoch_end(0)
    for name, kept in masks.choose().items():
        axis = _readers(masks._graph, name)[0]
        kernel = masks._graph.variable(axis)
        with tf.GradientTape() as tape:
            outputs = model(data[0], training=True)
            losses = keras.losses.sparse_categorical_crossentropy(data[1], outputs, True)
            loss = tf.reduce_mean(losses)
        lines = np.moveaxis(np.abs(tape.gradient(loss, kernel).numpy()), axis.axis, 0)
        sizes = lines.reshape(len(lines), -1).max(1)[axis.positions].max(1)
        gone = np.setdiff1d(np.arange(len(sizes)), kept)
        assert 0 < sizes[gone].max() < 20 * sizes[list(kept)].max()


def test_fit_fn_must_return_a_model(graph, plan, data):
    def fit_fn(model, teacher):
        model.compile("sgd", "mse")
        return keras.callbacks.History()

    with pytest.raises(tgp.UserError, match=r"fit_fn must return the trained model.*not History"):
        recover(graph, plan, FineTune(), data, data, fit_fn=fit_fn)
