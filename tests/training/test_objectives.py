"""Compiled models keep their losses, metrics, optimizer and training step."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.training.data import load_digits
from tfgraphprune.training.objectives import (
    CompiledDistiller,
    compile_settings,
    is_compiled,
    learner,
)

layers = keras.layers


@pytest.fixture(scope="module")
def images():
    x, y = load_digits(0).train
    return x[:256], y[:256]


def _body():
    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, strides=2, name="conv")(image)
    return image, layers.Flatten()(layers.ReLU()(x))


def _softmax():
    image, x = _body()
    model = keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(x))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, lambda y: y, "accuracy"


def _logits():
    image, x = _body()
    model = keras.Model(image, layers.Dense(10, name="digit")(x))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["categorical_accuracy"])
    return model, lambda y: np.eye(10, dtype=np.float32)[y], "categorical_accuracy"


def _multi_label():
    image, x = _body()
    model = keras.Model(image, layers.Dense(2, activation="sigmoid", name="facts")(x))
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["binary_accuracy"])
    return model, lambda y: np.stack([y % 2, y > 4], -1).astype(np.float32), "binary_accuracy"


def _several():
    image, x = _body()
    digit = layers.Dense(10, name="digit")(x)
    value = layers.Dense(1, name="value")(x)
    model = keras.Model(image, {"digit": digit, "value": value})
    model.compile(
        "adam",
        {
            "digit": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "value": "mse",
        },
        loss_weights={"digit": 1.0, "value": 0.01},
        metrics={"digit": "accuracy"},
    )
    return model, lambda y: {"digit": y, "value": y.astype(np.float32)[:, None]}, "digit_accuracy"


@pytest.mark.parametrize("make", [_softmax, _logits, _multi_label, _several])
@pytest.mark.parametrize(
    ("taught", "used"), [(False, False), (True, False), (True, True)], ids=["", "taught", "used"]
)
def test_a_compiled_model_learns_by_its_own_losses(images, make, taught, used):
    model, labels, metric = make()
    optimizer = model.optimizer
    data = tf.data.Dataset.from_tensor_slices((images[0], labels(images[1]))).batch(16)
    teacher = make()[0] if taught else None
    if used:
        model.evaluate(data, verbose=0)
    rows = tgp.finetune(model, data, epochs=6, teacher=teacher, verbose=0)
    assert rows[-1][metric] > rows[0][metric]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert ("distillation" in rows[0]) == taught
    assert model.optimizer is optimizer and model.evaluate(data, verbose=0)  # still compiled


@pytest.mark.parametrize("make", [_softmax, _logits, _multi_label, _several])
def test_the_teachers_part_is_zero_for_equals_and_pulls_towards_the_teacher(images, make):
    model, labels, _ = make()
    equal = CompiledDistiller(model, make()[0], alpha=1.0)
    y = tf.nest.map_structure(tf.constant, labels(images[1][:32]))
    x = tf.constant(images[0][:32])
    assert float(equal.compute_loss(x, y, model(x), None)) == pytest.approx(0, abs=1e-4)
    other = make()[0]
    other.set_weights([w + 0.3 for w in other.get_weights()])
    taught = CompiledDistiller(model, other, alpha=1.0)
    with tf.GradientTape() as tape:
        before = taught.compute_loss(x, y, model(x, training=True), None)
    gradients = tape.gradient(before, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(1e-4 * gradient)
    assert 0 < float(taught.compute_loss(x, y, model(x), None)) < float(before)


def test_sample_weights_reach_the_compiled_loss(images):
    model, _, _ = _softmax()
    weights = np.where(images[1] < 5, 1.0, 0.0).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices((*images, weights)).batch(32)
    tgp.finetune(model, data, epochs=25, verbose=0)
    right = model.predict(images[0], verbose=0).argmax(-1) == images[1]
    assert right[images[1] < 5].mean() > 0.7 > 0.2 > right[images[1] >= 5].mean()


class _OwnStep(keras.Model):
    """Counts its steps."""

    def train_step(self, data):
        self.add_count()
        return super().train_step(data)

    def add_count(self):
        self.count = getattr(self, "count", 0) + 1


def test_an_own_training_step_is_used(images):
    image, x = _body()
    model = _OwnStep(image, layers.Dense(10)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, run_eagerly=True)
    assert learner(model, None, 0.5, 4.0, 0.0) is model
    rows = tgp.finetune(model, images, epochs=2, batch_size=64, verbose=0, teacher=model)
    assert model.count == 8 and rows[1]["loss"] < rows[0]["loss"]


def test_an_own_training_step_takes_the_optimizer_that_is_named_and_gives_it_back(images):
    image, x = _body()
    model = _OwnStep(image, layers.Dense(10)(x))
    own = keras.optimizers.Adam(0.1)
    model.compile(own, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(*images, verbose=0)  # Keras keeps this step, which holds the optimizer
    before = model.get_weights()
    tgp.finetune(
        model, images, epochs=1, optimizer="sgd", learning_rate=1e-9, weight_decay=0, verbose=0
    )
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)
    assert model.optimizer is own and int(own.iterations) == 8
    model.fit(*images, verbose=0)
    assert int(own.iterations) == 16
    assert max(np.abs(a - b).max() for a, b in zip(before, model.get_weights(), strict=True)) > 0.05


class _Subclass(keras.Model):
    """A model without a layer graph, trained by a step of its own."""

    def __init__(self):
        super().__init__()
        self.body = keras.Sequential([layers.Flatten(), layers.Dense(10), layers.Dropout(0.0)])
        self.norm = layers.BatchNormalization()

    def call(self, x, training=None):
        return self.norm(self.body(x), training=training)

    def train_step(self, data):
        return super().train_step(data)


def test_a_subclass_is_trained_by_a_step_of_its_own(images, tmp_path):
    model = _Subclass()
    model(images[0][:1])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    rows = tgp.finetune(
        model, images, epochs=3, validation_data=images, checkpoint_dir=tmp_path, verbose=0
    )
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    assert model.evaluate(*images, verbose=0)[1] > 0.5


@pytest.mark.parametrize("penalty", [None, "l2"])
def test_a_compile_with_metrics_only_says_nothing_of_training(images, penalty):
    found = []
    for metrics in (None, ["accuracy"]):
        image, x = _body()
        model = keras.Model(image, layers.Dense(10, kernel_regularizer=penalty)(x))
        if metrics:
            model.compile(metrics=metrics)
        assert not is_compiled(model)
        found.append(tgp.finetune(model, images, epochs=2, teacher=model, verbose=0))
    assert found[0] == found[1] and found[0][1]["accuracy"] > found[0][0]["accuracy"]


def test_losses_that_the_model_adds_are_a_compile():
    start = keras.Input((4,))
    model = keras.Model(start, layers.Dense(4)(start))
    model.add_loss(tf.reduce_mean(tf.square(model.output - start)))
    model.compile("adam")
    assert is_compiled(model)


def test_a_metric_of_several_values_has_a_number_for_each(images, tmp_path):
    model, labels, _ = _logits()
    f1 = keras.metrics.F1Score(average=None, name="f1")
    model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True), metrics=[f1])
    data = images[0], labels(images[1])
    rows = tgp.finetune(
        model, data, epochs=1, validation_data=data, log_dir=tmp_path,
        checkpoint_dir=tmp_path / "c", verbose=0,
    )  # fmt: skip
    names = [f"{part}f1_{number}" for part in ("", "val_") for number in range(10)]
    assert set(rows[0]) == {"epoch", "loss", "val_loss", *names}
    (events,) = tmp_path.glob("events.out.tfevents.*")
    tags = {
        v.tag for e in tf.compat.v1.train.summary_iterator(str(events)) for v in e.summary.value
    }
    assert set(names) <= tags


def test_refused(images):
    model, _, _ = _several()
    with pytest.raises(tgp.UserError, match="same outputs"):
        tgp.finetune(model, images, teacher=_softmax()[0])
    with pytest.raises(tgp.UserError, match="label_smoothing can't be added"):
        tgp.finetune(model, images, label_smoothing=0.1)
    with pytest.raises(tgp.UserError, match="needs optimizer too"):
        tgp.finetune(_softmax()[0], images, learning_rate=0.1)
    with pytest.raises(tgp.UserError, match="weight_decay needs optimizer too"):
        tgp.finetune(_softmax()[0], images, weight_decay=0.1)
    image, x = _body()
    own = _OwnStep(image, x)
    with pytest.raises(tgp.UserError, match="not compiled"):
        tgp.finetune(own, images)
    own.compile("adam", "mse")
    with pytest.raises(tgp.UserError, match="feature_weight can't be added to the train_step"):
        tgp.finetune(own, images, teacher=own, feature_weight=1.0)


def test_another_compile_is_told_apart_and_the_same_one_is_not():
    model, _, _ = _several()
    schedule = keras.optimizers.schedules.ExponentialDecay
    crossentropy = keras.losses.SparseCategoricalCrossentropy
    digit = {"digit": crossentropy(from_logits=True), "value": "mse"}

    def own(labels, outputs):
        return tf.reduce_mean(outputs)

    compiles = [
        lambda: {"optimizer": "adam", "loss": digit},
        lambda: {"optimizer": keras.optimizers.Adam(1e-4), "loss": digit},
        lambda: {"optimizer": keras.optimizers.Adam(schedule(0.1, 10, 0.9)), "loss": digit},
        lambda: {"optimizer": "adam", "loss": {"digit": crossentropy(), "value": "mse"}},
        lambda: {"optimizer": "adam", "loss": {"digit": own, "value": "mse"}},
        lambda: {"optimizer": "adam", "loss": digit, "loss_weights": {"digit": 2.0}},
    ]
    found = []
    for settings in compiles * 2:
        model.compile(**settings())
        found.append(json.dumps(compile_settings(model), sort_keys=True))
    assert found[:6] == found[6:] and len(set(found)) == 6
    assert not any(" at 0x" in text for text in found)
