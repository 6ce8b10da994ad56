"""Training, distillation and resuming."""

import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.training.data import load_digits
from tfgraphprune.training.distill import Distiller
from tfgraphprune.training.finetune import finetune

layers = keras.layers


@pytest.fixture(scope="module")
def data():
    x, y = load_digits(0).train
    return x[:256], y[:256]


def _model(softmax=False):
    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(image)
    x = layers.BatchNormalization()(x)
    x = layers.Flatten()(layers.ReLU()(x))
    x = layers.Dense(10, activation="softmax" if softmax else None)(x)
    return keras.Model(image, x)


class _Stop(keras.callbacks.Callback):
    """Dies in the middle of an epoch, as a kill does."""

    def __init__(self, epoch):
        super().__init__()
        self._epoch, self._now = epoch, 0

    def on_epoch_begin(self, epoch, logs=None):
        self._now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self._now == self._epoch and batch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_finetune_learns(data, optimizer):
    model = _model()
    rows = finetune(model, data, epochs=8, optimizer=optimizer, batch_size=16, verbose=0)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert rows[-1]["accuracy"] > 0.8


def test_no_epochs_change_nothing(data):
    model = _model()
    before = model.get_weights()
    assert finetune(model, data, epochs=0) == []
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


def test_an_interrupted_training_ends_like_one_left_alone(data, tmp_path):
    settings = {"epochs": 4, "batch_size": 32, "augment": "shift", "seed": 5, "verbose": 0}
    alone = _model()
    rows = finetune(alone, data, teacher=_model(), **settings)
    folder = tmp_path / "ckpt"
    with pytest.raises(KeyboardInterrupt):
        finetune(
            _model(), data, teacher=_model(), checkpoint_dir=folder, callbacks=(_Stop(2),),
            **settings,
        )  # fmt: skip
    resumed, seen = _model(), []
    again = finetune(
        resumed, data, teacher=_model(), checkpoint_dir=folder, on_epoch=seen.append, **settings
    )
    assert [row["epoch"] for row in seen] == [3, 4]
    assert again == rows
    for left, right in zip(alone.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_callback_may_stop_the_training_for_good(data, tmp_path):
    class Counted(keras.callbacks.Callback):
        began = ended = 0

        def on_train_begin(self, logs=None):
            self.began += 1

        def on_train_end(self, logs=None):
            self.ended += 1

    def train(**more):
        keras.utils.set_random_seed(0)
        counted = Counted()
        patience = keras.callbacks.EarlyStopping("loss", min_delta=1e9, patience=2)
        rows = finetune(
            _model(), data, epochs=9, batch_size=64, callbacks=(patience, counted), verbose=0,
            **more,
        )  # fmt: skip
        return rows, counted

    rows, counted = train(checkpoint_dir=tmp_path)
    assert len(rows) == 3 and (counted.began, counted.ended) == (1, 1)
    again, counted = train(checkpoint_dir=tmp_path)
    assert again == rows and counted.began == 0


def test_a_torn_checkpoint_falls_back_to_the_one_before(data, tmp_path):
    settings = {"epochs": 3, "batch_size": 64, "seed": 5, "verbose": 0}
    alone = _model()
    finetune(alone, data, **settings)
    folder = tmp_path / "ckpt"
    with pytest.raises(KeyboardInterrupt):
        finetune(_model(), data, checkpoint_dir=folder, callbacks=(_Stop(2),), **settings)
    torn = next(folder.glob("ckpt-2.data*"))
    torn.write_bytes(torn.read_bytes()[:100])
    resumed, seen = _model(), []
    finetune(resumed, data, checkpoint_dir=folder, on_epoch=seen.append, **settings)
    assert [row["epoch"] for row in seen] == [2, 3]
    for left, right in zip(alone.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_weights(data, tmp_path):
    model = _model()
    finetune(model, data, epochs=1, checkpoint_dir=tmp_path / "a", verbose=0)
    broken = np.full((len(data[0]), 10), np.nan, np.float32)
    batches = tf.data.Dataset.from_tensor_slices((data[0], broken)).batch(64)
    good = [weight.numpy() for weight in model.trainable_weights]  # averages were estimated since
    with pytest.raises(tgp.UserError, match="training loss became"):
        finetune(model, batches, epochs=2, checkpoint_dir=tmp_path / "a", verbose=0)
    for left, right in zip(good, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(left, right.numpy())


@pytest.mark.parametrize("student_softmax", [False, True])
@pytest.mark.parametrize("teacher_softmax", [False, True])
def test_distillation_loss_is_hintons(data, student_softmax, teacher_softmax):
    student, teacher = _model(student_softmax), _model(teacher_softmax)
    teacher.set_weights([w * 1.3 for w in teacher.get_weights()])
    x, y = data[0][:16], data[1][:16]
    distiller = Distiller(student, teacher, alpha=0.3, temperature=2.0)
    value = float(distiller.compute_loss(tf.constant(x), tf.constant(y), student(x)))

    def softened(model, softmax, heat):
        out = model(x).numpy().astype(np.float64)
        logits = np.log(out) if softmax else out
        logits = logits / heat
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    hard = -softened(student, student_softmax, 1)[np.arange(16), y].mean()
    taught = softened(teacher, teacher_softmax, 2)
    soft = (np.exp(taught) * (taught - softened(student, student_softmax, 2))).sum(-1).mean()
    assert value == pytest.approx(0.7 * hard + 0.3 * 4 * soft, rel=1e-4)


def test_distillation_never_trains_the_teacher(data):
    student, teacher = _model(), _model()
    before = teacher.get_weights()
    finetune(student, data, epochs=1, teacher=teacher, verbose=0)
    for left, right in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert (student.get_weights()[0] != before[0]).any()


def test_one_hot_and_index_labels_train_alike(data):
    x, y = data
    left, right = _model(), _model()
    a = finetune(left, (x, y), epochs=1, verbose=0)
    b = finetune(right, (x, np.eye(10, dtype=np.float32)[y]), epochs=1, verbose=0)
    assert a[0]["loss"] == pytest.approx(b[0]["loss"], rel=1e-6)


@pytest.mark.parametrize("form", ["indices", "column", "rows"])
@pytest.mark.parametrize("shape", [None, [None, None]])
def test_labels_of_unknown_shape_train_like_others(data, form, shape):
    x, y = data
    labels = {"indices": y, "column": y[:, None], "rows": np.eye(10, dtype=np.float32)[y]}[form]
    if shape and labels.ndim == 1:
        return
    known = tf.data.Dataset.from_tensor_slices((x, labels)).batch(32)
    unknown = tf.data.Dataset.from_generator(
        lambda: iter(known),
        output_signature=(
            tf.TensorSpec([None, 8, 8, 1], x.dtype), tf.TensorSpec(shape, labels.dtype)
        ),
    )  # fmt: skip
    rows = [finetune(_model(), given, epochs=1, verbose=0)[0] for given in (known, unknown)]
    assert rows[0]["loss"] == pytest.approx(rows[1]["loss"], rel=1e-5)
    assert rows[0]["accuracy"] == pytest.approx(rows[1]["accuracy"])
    with pytest.raises(tgp.UserError, match="whose shape says"):
        finetune(_model(), unknown, epochs=1, class_weight={0: 2.0}, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "rmsprop"}, "optimizer must be one of"),
        ({"train_data": (np.zeros((3, 8, 8, 1)), np.zeros(2))}, "as many labels as examples"),
        ({"train_data": np.zeros(3)}, "must be a pair"),
    ],
)
def test_bad_input_is_refused(data, arguments, message):
    with pytest.raises(tgp.UserError, match=message):
        finetune(_model(), **{"train_data": data, **arguments})


def test_what_callbacks_leave_is_kept(data, tmp_path):
    """Keras brings the best weights back at the end, after the last epoch's checkpoint."""

    def train(epochs):
        best = keras.callbacks.EarlyStopping(
            "loss", min_delta=1e9, patience=2, restore_best_weights=True
        )
        model = _model()
        rows = finetune(
            model, data, epochs=epochs, batch_size=16, callbacks=(best,), checkpoint_dir=tmp_path,
            averaging=0.9, teacher=_model(), verbose=0,
        )  # fmt: skip
        return len(rows), [w.numpy() for w in model.trainable_weights], best.best_weights

    # Not stopped yet, so that more epochs go on; then stopped for good.
    for asked, epochs in ((2, 2), (9, 5)):
        count, first, best = train(asked)
        assert count == epochs
        for weight in first:
            assert any(weight.shape == b.shape and (weight == b).all() for b in best)
        again, second, none = train(asked)
        assert again == count and none is None
        for left, right in zip(first, second, strict=True):
            np.testing.assert_array_equal(left, right)


def test_what_callbacks_save_is_the_model(data, tmp_path):
    model = _model()
    saved = keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras"), "loss")
    weights = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "{epoch}.weights.h5"), "loss", save_weights_only=True
    )
    finetune(
        model, data, epochs=2, teacher=_model(), callbacks=(saved, weights), batch_size=64,
        verbose=0,
    )  # fmt: skip
    loaded, other = keras.models.load_model(tmp_path / "2.keras", compile=False), _model()
    other.load_weights(tmp_path / "2.weights.h5")
    for mine, *others in zip(
        model.trainable_weights, loaded.trainable_weights, other.trainable_weights, strict=True
    ):
        for each in others:
            np.testing.assert_array_equal(mine, each)


def test_an_average_of_the_optimizer_comes_in_the_end(data):
    """Keras puts it in the place of the weights after each call of fit, which is an epoch here."""

    class Seen(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.begun, self.ended = [], []

        def on_epoch_begin(self, epoch, logs=None):
            self.begun.append(self.model.get_weights())

        def on_epoch_end(self, epoch, logs=None):
            self.ended.append(self.model.get_weights())

    model, seen = _model(), Seen()
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    finetune(model, data, epochs=3, batch_size=16, callbacks=(seen,), verbose=0)
    for before, after in zip(seen.ended, seen.begun[1:], strict=False):
        for left, right in zip(before, after, strict=True):
            np.testing.assert_array_equal(left, right)
    assert (model.get_weights()[0] != seen.ended[-1][0]).any()


def test_steps_that_were_not_made_do_not_count(data, monkeypatch):
    counted = []
    monkeypatch.setattr(
        sys.modules["tfgraphprune.training.finetune"],
        "catch_up",
        lambda *a, steps, epochs, **k: counted.append((steps, epochs)),
    )
    stop = keras.callbacks.EarlyStopping("loss", min_delta=1e9, patience=2)
    finetune(_model(), data, epochs=90, batch_size=64, callbacks=(stop,), verbose=0)
    assert counted == [(3 * 4, 3)]


def test_data_without_an_end_are_refused(data):
    endless = tf.data.Dataset.from_tensor_slices(data).batch(64).repeat()
    with pytest.raises(tgp.UserError, match="never ends"):
        finetune(_model(), endless, epochs=1, verbose=0)
