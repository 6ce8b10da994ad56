"""GradualPruning in trainings of the user's own: what goes when, and what is left at the end."""

import itertools
import json
import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.models import digits_cnn
from tfgraphprune.training.callbacks import STATE, GradualPruning
from tfgraphprune.training.data import load_digits

layers = keras.layers

STEPS = {"begin_step": 4, "end_step": 16, "frequency": 3}
"""Ten steps an epoch: the last channels go in the second."""


@pytest.fixture(scope="module")
def data():
    x, y = load_digits(0).train
    return x[:320], y[:320]


class _Net(keras.Model):
    """A functional model with a training step of the user's own, which has a penalty."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            outputs = self(x, training=True)
            loss = self.compute_loss(x, y, outputs) + 1e-3 * tf.reduce_mean(outputs**2)
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return {"loss": loss, "steps": self.optimizer.iterations}


def _cnn():
    keras.utils.set_random_seed(0)
    return digits_cnn()


def _own_step():
    model = _cnn()
    return _Net(model.inputs, model.outputs)


def _grouped():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(12, 3, activation="swish", name="first")(image)
    x = layers.Conv2D(12, 3, groups=3, name="grouped")(x)
    x = layers.Concatenate()([x, layers.Conv2D(6, 1, name="beside")(x)])
    x = layers.Flatten()(layers.BatchNormalization()(x))
    return keras.Model(image, layers.Dense(10)(layers.Dense(16, "relu", name="hidden")(x)))


def _normalised():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, name="first")(image)
    x = layers.LayerNormalization()(x)
    x = layers.Conv2D(8, 3, activation="relu", name="second")(x)
    return keras.Model(image, layers.Dense(10)(layers.Flatten()(x)))


def _compiled(model, optimizer="adam", **more):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False, **more)
    return model


def _fit(model, data, callbacks, epochs=2, **more):
    return model.fit(
        *data, batch_size=32, epochs=epochs, callbacks=callbacks, verbose=0, shuffle=False, **more
    )


def _spread(left, right, x):
    expected = left.predict(x, verbose=0)
    return np.abs(right.predict(x, verbose=0) - expected).max() / expected.std()


TARGETS = {
    "ratio": lambda graph: 0.5,
    "ratios": lambda graph: {graph.prunable_groups[0].name: 0.5},
    "plan": lambda graph: tgp.PruningPlan.from_keep_ratios(graph, 0.5, "l1"),
    "budget": lambda graph: tgp.Budget(macs_ratio=0.5, params_ratio=0.9),
}


@pytest.mark.parametrize("build", [_cnn, _own_step, _grouped])
@pytest.mark.parametrize("target", TARGETS)
def test_the_pruned_model_equals_the_trained_one_and_is_smaller(data, build, target):
    model = _compiled(build())
    before = tgp.count_macs(model)
    graph = tgp.LayerGraph.from_model(model)
    callback = GradualPruning(TARGETS[target](graph), **STEPS)
    _fit(model, data, [callback])
    small = callback.pruned_model()
    assert _spread(model, small, data[0]) < 1e-4
    assert tgp.count_macs(small) < 0.9 * before == 0.9 * tgp.count_macs(model)
    if target == "budget":
        assert tgp.count_macs(small) <= 0.5 * before
    counts = {name: len(kept) for name, kept in callback.plan.kept.items()}
    again = {g.name: g.size for g in tgp.LayerGraph.from_model(small).channel_groups}
    assert {name: again[name] for name in counts} == counts
    assert isinstance(small, type(model))


class _Watch(keras.callbacks.Callback):
    """After every step: which channels of the stem each of its two readers still reads."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def on_train_batch_end(self, batch, logs=None):
        kernels = [self.model.get_layer(name).kernel.numpy() for name in ("block_conv1", "down")]
        self.rows.append([(k != 0).any((0, 1, 3)) for k in kernels])


@pytest.mark.parametrize(("schedule", "power"), [("polynomial", 3), ("linear", 1)])
def test_channels_go_together_when_the_schedule_says(data, schedule, power):
    model, watch = _compiled(_cnn()), _Watch()
    callback = GradualPruning(0.5, **STEPS, schedule=schedule)
    _fit(model, data, [callback, watch])
    size = model.get_layer("stem").filters
    expected = []
    for step in range(1, 21):
        turn = min(4 + max(step - 4, 0) // 3 * 3, 16)
        gone = 1 - (1 - (turn - 4) / 12) ** power
        expected.append(size - round(gone * size / 2))
    assert [int(left.sum()) for left, _ in watch.rows] == expected
    for left, right in watch.rows:
        np.testing.assert_array_equal(left, right)
    for earlier, later in itertools.pairwise(watch.rows):
        assert not (later[0] & ~earlier[0]).any()
    assert tuple(np.flatnonzero(watch.rows[-1][0])) == callback.plan.kept["stem"]


def test_the_least_important_channels_go_and_the_first_of_them_first(data):
    model, watch = _compiled(_cnn(), keras.optimizers.SGD(0.0)), _Watch()
    graph = tgp.LayerGraph.from_model(model)
    importance = tgp.criteria.l2(graph)["stem"]
    _fit(model, data, [GradualPruning(0.5, **STEPS), watch])
    for left, _ in watch.rows:
        assert importance[~left].max(initial=0) < importance[left].min()


def test_the_pruned_model_is_compiled_alike_and_trains_on(data):
    model = _compiled(_cnn(), keras.optimizers.Adam(3e-3))
    callback = GradualPruning(0.5, **STEPS)
    _fit(model, data, [callback])
    small = callback.pruned_model()
    assert small.optimizer.get_config() == model.optimizer.get_config()
    assert int(small.optimizer.iterations) == 0
    rows = [network.evaluate(*data, verbose=0, return_dict=True) for network in (small, model)]
    assert rows[0] == pytest.approx(rows[1], rel=1e-3) and "accuracy" in rows[0]
    assert _fit(small, data, [], epochs=3).history["loss"][-1] < rows[0]["loss"]


class _Kill(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self._epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self._epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("target", ["ratio", "budget"])
def test_a_resumed_training_ends_like_one_left_alone(data, tmp_path, target):
    def trained(folder, *, kill=None, first=True):
        model = _compiled(_cnn())
        callback = GradualPruning(
            TARGETS[target](tgp.LayerGraph.from_model(model)), **STEPS, workdir=tmp_path / folder
        )
        backup = keras.callbacks.BackupAndRestore(str(tmp_path / folder / "backup"))
        stop = [] if kill is None else [_Kill(kill)]
        # Whichever of the two comes first in the list.
        both = [callback, backup] if first else [backup, callback]
        history = _fit(model, data, [*both, *stop], epochs=3)
        return model, callback, history.epoch

    alone, expected, _ = trained("alone")
    for folder, first in (("before", True), ("after", False)):
        with pytest.raises(KeyboardInterrupt):
            trained(folder, kill=1, first=first)
        model, callback, epochs = trained(folder, first=first)
        assert epochs == [1, 2] and callback.plan == expected.plan
        for left, right in zip(alone.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_allclose(left, right, atol=1e-6)
        texts = {(tmp_path / name / STATE).read_text() for name in ("alone", folder)}
        assert len(texts) == 1


def test_without_a_workdir_what_has_gone_stays_gone(data):
    model = _compiled(_cnn())
    _fit(model, data, [GradualPruning(0.5, **STEPS)], epochs=1)
    gone = ~(model.get_layer("down").kernel.numpy() != 0).any((0, 1, 3))
    assert 0 < gone.sum() < 8
    callback = GradualPruning(0.5, **STEPS)
    _fit(model, data, [callback], epochs=1)
    assert not set(np.flatnonzero(gone)) & set(callback.plan.kept["stem"])
    assert _spread(model, callback.pruned_model(), data[0]) < 1e-4


def test_another_target_in_the_same_workdir_is_refused(data, tmp_path):
    model = _compiled(_cnn())
    _fit(model, data, [GradualPruning(0.5, **STEPS, workdir=tmp_path)], epochs=1)
    with pytest.raises(tgp.UserError, match="another target or schedule"):
        _fit(model, data, [GradualPruning(0.25, **STEPS, workdir=tmp_path)], epochs=1)
    (tmp_path / STATE).write_text(json.dumps({"plan": 3}))
    with pytest.raises(tgp.UserError, match="can't be read"):
        _fit(model, data, [GradualPruning(0.5, **STEPS, workdir=tmp_path)], epochs=1)


@pytest.mark.parametrize("steps", [1, 5])
def test_a_new_training_in_the_same_workdir_decides_anew(data, tmp_path, steps):
    for ratio in (0.5, 0.25):  # with five steps an execution none begins at step 4
        callback = GradualPruning(ratio, **STEPS, workdir=tmp_path)
        _fit(_compiled(_cnn(), steps_per_execution=steps), data, [callback], epochs=1)
        assert json.loads((tmp_path / STATE).read_text())["target"] == ratio


def test_weights_that_another_callback_brings_back_are_cut_too_with_a_warning(data, caplog):
    model = _compiled(_cnn())
    before = model.get_weights()
    callback = GradualPruning(0.5, **STEPS)
    with caplog.at_level("WARNING"):
        _fit(model, data, [callback])
        assert "brought back" not in caplog.text
        model.set_weights(before)
        small = callback.pruned_model()
    assert "brought back weights from before some channels went" in caplog.text
    assert _spread(model, small, data[0]) < 1e-4


def test_channels_under_a_normalization_over_them_stay(data):
    model = _compiled(_normalised())
    callback = GradualPruning(0.5, **STEPS)
    _fit(model, data, [callback])
    assert set(callback.plan.kept) == {"second"}
    assert _spread(model, callback.pruned_model(), data[0]) < 1e-4
    plan = tgp.PruningPlan.from_keep_ratios(tgp.LayerGraph.from_model(model), 0.5)
    with pytest.raises(tgp.UserError, match="'first' may not be cut: a normalization over"):
        _fit(model, data, [GradualPruning(plan, **STEPS)])


def test_frozen_layers_stay_and_multiples_hold(data):
    model = _compiled(_cnn())
    callback = GradualPruning(0.4, **STEPS, freeze=["stem"], channel_multiple=8)
    _fit(model, data, [callback])
    assert "stem" not in callback.plan.kept
    assert {len(kept) % 8 for kept in callback.plan.kept.values()} == {0}


def test_before_the_end_there_is_no_pruned_model(data):
    callback = GradualPruning(0.5, **STEPS)
    with pytest.raises(tgp.UserError, match="has made 0 steps"):
        callback.pruned_model()
    _fit(_compiled(_cnn()), data, [callback], epochs=1)
    with pytest.raises(tgp.UserError, match=r"last channels go at step 16, .* made 10 steps"):
        callback.pruned_model()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "half"}, "target must be a PruningPlan"),
        ({"target": True}, "target must be"),
        ({"target": tgp.Budget(file_bytes=1e5)}, "can't count file_bytes"),
        ({"begin_step": -1}, "begin_step must be"),
        ({"begin_step": 16}, "end_step must come after begin_step"),
        ({"frequency": 0}, "frequency must be"),
        ({"schedule": "cubic"}, "schedule must be"),
        ({"criterion": "l7"}, "criterion must be one of"),
    ],
)
def test_settings_out_of_range_are_refused_at_once(arguments, message):
    with pytest.raises(tgp.UserError, match=message):
        GradualPruning(**{"target": 0.5, **STEPS, **arguments})


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (1.5, "keep ratio"),
        (math.nan, "keep ratio"),
        ({"nowhere": 0.5}, "no channel group 'nowhere'"),
        (tgp.Budget(macs=1), "macs"),
        (tgp.PruningPlan({}, "another"), "made for another model"),
    ],
)
def test_a_target_that_does_not_fit_the_model_is_refused_before_the_first_step(
    data, target, message
):
    model = _compiled(_cnn())
    with pytest.raises(tgp.UserError, match=message):
        _fit(model, data, [GradualPruning(target, 1000, 2000)])
    assert int(model.optimizer.iterations) == 0


class _Unsaid(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule without a configuration."""

    def __call__(self, step):
        return 1e-3


def test_an_optimizer_that_can_t_be_made_anew_is_refused_before_the_first_step(data):
    model = _compiled(_cnn(), keras.optimizers.Adam(_Unsaid()))
    with pytest.raises(tgp.UserError, match="can't be made anew"):
        _fit(model, data, [GradualPruning(0.5, **STEPS)])
    assert int(model.optimizer.iterations) == 0


@pytest.mark.parametrize(("epochs", "warned"), [(1, True), (2, False)])
def test_a_training_that_ends_too_early_says_so_at_its_start(data, caplog, epochs, warned):
    _fit(_compiled(_cnn()), data, [GradualPruning(0.5, **STEPS)], epochs)
    assert ("go at step 16, but this training has 10" in caplog.text) == warned


def test_a_workdir_that_can_t_be_written_is_refused_before_the_first_step(data, tmp_path):
    (tmp_path / "file").write_text("")
    model = _compiled(_cnn())
    callback = GradualPruning(0.5, 1000, 2000, workdir=tmp_path / "file" / "run")
    with pytest.raises(tgp.UserError, match=r"can't be written .* give a workdir that can"):
        _fit(model, data, [callback])
    assert int(model.optimizer.iterations) == 0


KERAS_3 = """
import os
import numpy as np
import keras
from tensorflow.keras import layers
import tfgraphprune as tgp
from tfgraphprune.training.data import load_digits
x, y = (part[:320] for part in load_digits(0).train)
image = keras.Input((8, 8, 1))
h = layers.Conv2D(8, 3, activation="relu", name="first")(image)
h = layers.BatchNormalization()(h)
h = layers.Conv2D(8, 3, activation="relu", name="second")(h)
model = keras.Model(image, layers.Dense(10)(layers.Flatten()(h)))
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
callback = tgp.callbacks.GradualPruning(0.5, 4, 16, 3)
model.fit(x, y, batch_size=32, epochs=2, callbacks=[callback], verbose=0)
small = callback.pruned_model()
expected = model.predict(x, verbose=0)
assert np.abs(small.predict(x, verbose=0) - expected).max() / expected.std() < 1e-4
assert small.get_layer("first").filters == 4 and isinstance(small, keras.Model)
print(keras.__version__[0], os.environ.get("TF_USE_LEGACY_KERAS"))
"""


def test_in_a_program_with_keras_3(run_python):
    ended = run_python(KERAS_3)
    assert ended.stdout.endswith("3 None\n"), ended.stderr


def test_a_model_that_is_compiled_again_goes_on(data):
    model = _compiled(_cnn())
    callback = GradualPruning(0.5, **STEPS)
    _fit(model, data, [callback], epochs=1)
    made = callback._step()
    _compiled(model, "sgd")
    _fit(model, data, [callback], epochs=1)
    assert callback._step() == 2 * made
    assert _spread(model, callback.pruned_model(), data[0]) < 1e-4


def test_the_steps_before_another_compile_count_after_an_early_resume(data, tmp_path):
    model = _compiled(_cnn())
    callback = GradualPruning(0.5, **STEPS, workdir=tmp_path)
    _fit(model, data, [callback], epochs=1)
    _compiled(model, "sgd")
    _fit(model, data, [callback], epochs=1)
    copy = _compiled(_cnn(), "sgd")  # in a new process, two steps after the second compile
    copy.set_weights(model.get_weights())
    copy.optimizer.iterations.assign(2)
    again = GradualPruning(0.5, **STEPS, workdir=tmp_path)
    _fit(copy, data, [again], epochs=1)
    assert again.plan == callback.plan and again._step() == 10 + 2 + 10
    assert _spread(copy, again.pruned_model(), data[0]) < 1e-4


def test_another_model_begins_anew(data):
    callback = GradualPruning(0.5, **STEPS)
    for _ in range(2):
        model = _compiled(_cnn())
        _fit(model, data, [callback])
        assert callback._step() == model.optimizer.iterations
        assert _spread(model, callback.pruned_model(), data[0]) < 1e-4
