"""What `finetune` trains with: the schedule, the weight decay and the smoothed labels."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfgraphprune.training.distill import Distiller
from tfgraphprune.training.finetune import LEARNING_RATES, finetune
from tfgraphprune.training.optimizers import new_optimizer


def network():
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(4, 3, name="conv")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    return keras.Model(image, keras.layers.Dense(3, name="scores")(keras.layers.Flatten()(x)))


class Rates(keras.callbacks.Callback):
    """The learning rate of each step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        optimizer = self.model.optimizer
        self.seen.append(float(optimizer.learning_rate.numpy()))


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    return random.normal(size=(320, 6, 6, 2)).astype("float32"), random.integers(0, 3, 320)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_rate_rises_over_a_twentieth_of_the_steps_and_falls_along_a_cosine(data, optimizer):
    rates = Rates()
    finetune(
        network(), data, epochs=4, batch_size=8, optimizer=optimizer, callbacks=(rates,), verbose=0
    )
    peak, warmup, steps = LEARNING_RATES[optimizer], 8, 160
    expected = [peak * step / warmup for step in range(warmup)] + [
        peak * (1 + np.cos(np.pi * step / (steps - warmup))) / 2 for step in range(steps - warmup)
    ]
    np.testing.assert_allclose(rates.seen, expected, atol=1e-6)


def test_weight_decay_leaves_biases_and_batchnorm(data):
    """With a teacher that the network equals, and no labels' share, decay alone moves weights."""
    model, teacher = network(), network()
    for other in (model, teacher):
        other.get_layer("conv").bias.assign(np.full(4, 0.7))
        other.get_layer("norm").gamma.assign(np.full(4, 1.3))
        other.get_layer("norm").trainable = False
    before = {w.name: w.numpy() for w in model.weights}
    settings = {"epochs": 1, "batch_size": 32, "alpha": 1.0, "verbose": 0}
    finetune(model, data, teacher=teacher, weight_decay=0.01, **settings)
    moved = {
        w.name.split(":")[0]: np.abs(w.numpy()).sum() / np.abs(before[w.name]).sum()
        for w in model.weights
        if np.abs(before[w.name]).sum() > 0
    }
    assert 0.99 < moved["conv/kernel"] < 0.9999 and 0.99 < moved["scores/kernel"] < 0.9999
    assert moved["conv/bias"] == pytest.approx(1, abs=1e-4)
    assert moved["norm/gamma"] == 1


def test_smoothed_labels_are_those_of_keras(data):
    model = network()
    x, y = data[0][:32], data[1][:32]
    taught = Distiller(model, None, 0.5, 4.0, 0.2)
    taught.compile(keras.optimizers.SGD(0.0))
    found = taught.evaluate(x, y, verbose=0, return_dict=True)["loss"]
    trained = taught.train_on_batch(x, y, return_dict=True)["loss"]
    smooth = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    one_hot = np.eye(3)[y]
    expected = float(smooth(one_hot, model(x, training=True)))
    plain = keras.losses.CategoricalCrossentropy(from_logits=True)
    assert trained == pytest.approx(expected, rel=1e-4)
    assert expected != pytest.approx(float(plain(one_hot, model(x, training=True))), rel=1e-3)
    assert np.isfinite(found)


def test_weight_decay_goes_by_the_end_of_a_name():
    optimizer = new_optimizer(network(), "sgd", None, 10, 1e-2)
    for name, decays in (
        ("debias/kernel", True), ("alphabeta/kernel", True), ("conv/bias", False),
        ("norm/gamma", False), ("norm/beta", False), ("lstm/recurrent_bias", False),
    ):  # fmt: skip
        variable = tf.Variable(1.0, name=name)
        assert optimizer._use_weight_decay(variable) is decays, name


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [("sgd", None, 1e-4), ("adam", None, None), ("adam", 0.01, 0.01), ("sgd", 0.0, None)],
)
def test_weight_decay_by_default_is_that_of_sgd(name, given, expected):
    assert new_optimizer(network(), name, None, 10, given).weight_decay == expected


def test_a_training_of_one_step_changes_the_weights(data):
    model = network()
    before = model.get_weights()
    finetune(model, (data[0][:32], data[1][:32]), epochs=1, batch_size=32, verbose=0)
    assert np.abs(model.get_weights()[0] - before[0]).max() > 1e-3
