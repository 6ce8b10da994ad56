"""What training refuses, and what it leaves behind when it goes wrong."""

import shutil

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.training import fit
from tfgraphprune.training.data import load_digits, split_reward
from tfgraphprune.training.finetune import finetune

layers = keras.layers


@pytest.fixture(scope="module")
def data():
    x, y = load_digits(0).train
    return x[:128], y[:128]


def _model(classes=10, activation=None):
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, strides=2, activation="relu", name="first")(image)
    return keras.Model(image, layers.Dense(classes, activation)(layers.Flatten()(x)))


class _Spoil(keras.callbacks.Callback):
    """Makes a weight NaN after the last loss of an epoch was measured."""

    def __init__(self, model, epoch):
        super().__init__()
        self._kernel, self._epoch = model.get_layer("first").kernel, epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self._epoch:
            self._kernel.assign(self._kernel * np.nan)


@pytest.mark.parametrize("checkpoints", [False, True])
@pytest.mark.parametrize("epoch", [0, 1])
def test_weights_that_are_not_finite_give_way_to_those_before(data, tmp_path, checkpoints, epoch):
    settings = {"batch_size": 32, "verbose": 0}
    if checkpoints:
        settings["checkpoint_dir"] = str(tmp_path / "deep" / "folder")
    model, before = _model(), []
    before.append(model.get_weights())
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: before.append(model.get_weights())
    )
    with pytest.raises(tgp.UserError, match="stopped being finite"):
        finetune(model, data, epochs=2, callbacks=(keep, _Spoil(model, epoch)), **settings)
    for left, right in zip(before[epoch], model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def keras3_model():
    start = keras3.Input((8, 8, 1))
    return keras3.Model(start, keras3.layers.Dense(10)(keras3.layers.Flatten()(start)))


@pytest.mark.parametrize(
    ("make", "settings"),
    [(lambda: _model(), {"precision": "mixed_bfloat16"}), (keras3_model, {})],
    ids=["mixed precision", "twin of Keras 3"],
)
def test_a_copy_that_is_trained_hands_back_the_weights_from_before(
    data, monkeypatch, make, settings
):
    good = []

    def finite(learner):
        good.append(learner.get_weights())
        return len(good) < 2

    monkeypatch.setattr(fit, "_finite", finite)
    model = make()
    with pytest.raises(tgp.UserError, match="in epoch 2"):
        finetune(model, data, epochs=2, batch_size=32, verbose=0, **settings)
    for left, right in zip(good[0], model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_disk_that_is_too_small_is_said_before_training(data, tmp_path, monkeypatch):
    def run(free):
        model = _model()
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda folder: usage)
            return finetune(model, data, epochs=2, checkpoint_dir=tmp_path / "c", verbose=0)

    one = 2 * 4 * _model().count_params()  # weights and momentum
    with pytest.raises(tgp.UserError, match=r"need \d+ MB more, but the disk has 0 MB left"):
        run(2.5 * one)
    assert not list((tmp_path / "c").iterdir())
    rows = run(3.5 * one)
    assert len(rows) == 2
    assert run(0) == rows  # all is there


def test_labels_of_a_data_set_are_checked_as_it_is_read(data):
    batches = tf.data.Dataset.from_tensor_slices((data[0], data[1] + 1)).batch(32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels must be from 0"):
        finetune(_model(), batches, epochs=1, verbose=0)


X = np.zeros((4, 8, 8, 1), np.float32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": -1}, "epochs must be 0 or more"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"learning_rate": -0.1}, "learning_rate must be positive"),
        ({"alpha": 7.0}, "alpha must be from 0 to 1"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"label_smoothing": 1.0}, "label_smoothing must be from 0"),
        ({"validation_data": "x"}, "validation_data must be a pair"),
        ({"model": _model(1, "sigmoid")}, "two or more classes"),
        ({"teacher": _model(7)}, "teacher's outputs have shape"),
        (
            {"train_data": (X, np.arange(4) - 1)},
            "train_data must have labels from 0 to 9, .* -1 to 2",
        ),
        ({"train_data": (X, np.full((4, 1), 10))}, "has labels from 10 to 10"),
        ({"validation_data": (X, np.arange(4) + 7)}, "validation_data must have labels .* 7 to 10"),
        (
            {
                "train_data": tf.data.Dataset.from_tensors((np.zeros((4, 8, 8, 1)), np.zeros(4))),
                "augment": "shft",
            },
            "augment must be one of",
        ),
    ],
)
def test_settings_out_of_range_are_refused(data, arguments, message):
    with pytest.raises(tgp.UserError, match=message):
        finetune(**{"model": _model(), "train_data": data, **arguments})


def test_a_folder_that_can_t_be_written_is_said_before_training(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(tgp.UserError, match=r"can't be written \(Not a directory\)"):
        finetune(_model(), data, epochs=1, checkpoint_dir=tmp_path / "file" / "checkpoints")


def test_tensors_train_like_arrays(data):
    rows = finetune(_model(), tuple(map(tf.constant, data)), epochs=1, verbose=0)
    assert len(rows) == 1


@pytest.mark.parametrize("reshuffle", [False, True])
def test_a_data_set_that_reshuffles_cannot_be_split(reshuffle):
    numbers = np.arange(100, dtype=np.float32)[:, None]
    shuffled = tf.data.Dataset.from_tensor_slices((numbers, numbers[:, 0])).shuffle(
        100, seed=1, reshuffle_each_iteration=reshuffle
    )
    if reshuffle:
        with pytest.raises(tgp.UserError, match="other batches in each pass"):
            split_reward(shuffled.batch(10), 0.1, 0)
        return
    rest, held = split_reward(shuffled.batch(10), 0.1, 0)
    seen = [{int(v) for x, _ in part for v in x.numpy().ravel()} for part in (rest, held)]
    assert len(seen[0]) == 90 and len(seen[1]) == 10 and not seen[0] & seen[1]
