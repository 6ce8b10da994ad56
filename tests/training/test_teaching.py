"""The teacher's part of a compiled model's loss: what an output is, and what it counts."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.training import teaching
from tfgraphprune.training.objectives import CompiledDistiller

layers = keras.layers
X = np.random.default_rng(0).normal(size=(65, 3)).astype(np.float32)


def crossentropy_of_logits(y, z):
    return keras.losses.categorical_crossentropy(y, z, from_logits=True)


def crossentropy_of_shares(y, z):
    return keras.losses.categorical_crossentropy(y, z)


class LogitsCrossentropy(keras.losses.Loss):
    def call(self, y, z):
        return crossentropy_of_logits(y, z)


class SharesCrossentropy(keras.losses.Loss):
    def call(self, y, z):
        return crossentropy_of_shares(y, z)


def _pair(activation, nested=False, outputs=1):
    """A model and a teacher; they have the same weights whatever the activation."""
    found = []
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        start = keras.Input((3,))
        ends = [layers.Dense(4, activation, name=f"end{i}")(start) for i in range(outputs)]
        model = keras.Model(start, ends if outputs > 1 else ends[0])
        if nested:
            again = keras.Input((3,))
            model = keras.Model(again, model(again))
        found.append(model)
    return found


def _part(pair, loss, **compiled):
    """The teacher's part alone, at T = 2."""
    model, teacher = pair
    model.compile("sgd", loss, **compiled)
    taught = CompiledDistiller(model, teacher, alpha=1.0, temperature=2.0)
    y = [tf.one_hot(np.arange(65) % 4, 4)] * len(model.outputs)
    return float(taught.compute_loss(X, y if len(y) > 1 else y[0], model(X), None))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("activation", "loss"),
    [
        (None, crossentropy_of_logits),
        (None, LogitsCrossentropy()),
        ("softmax", crossentropy_of_shares),
        ("softmax", SharesCrossentropy()),
        ("softmax", "categorical_crossentropy"),
    ],
)
def test_a_loss_that_says_nothing_of_logits_is_read_by_the_output(activation, loss, nested):
    explicit = keras.losses.CategoricalCrossentropy(from_logits=True)
    expected = _part(_pair(None), explicit)
    assert expected > 0.01
    assert _part(_pair(activation, nested), loss) == pytest.approx(expected, rel=1e-3)


def test_what_a_loss_says_of_logits_counts():
    said = keras.losses.CategoricalCrossentropy(from_logits=False)
    shares = _part(_pair("softmax"), said)
    assert _part(_pair(None), said) != pytest.approx(shares, rel=0.1)


def test_sigmoids_count_by_the_mean_as_in_the_loss_of_keras():
    pair = _pair(None)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    mine, theirs = (model(X) / 2.0 for model in pair)
    target = tf.sigmoid(theirs)
    expected = 2.0**2 * float(loss(target, mine) - loss(target, theirs))
    assert _part(pair, loss) == pytest.approx(expected, rel=1e-4)


def test_outputs_count_by_their_loss_weights_and_not_without_a_loss():
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    alone = [
        _part(_pair(None, outputs=3), {f"end{i}": loss}, loss_weights={f"end{i}": 1.0})
        for i in range(3)
    ]
    weights = {"end0": 0.5, "end2": 10.0}
    found = _part(_pair(None, outputs=3), dict.fromkeys(weights, loss), loss_weights=weights)
    assert found == pytest.approx(0.5 * alone[0] + 10 * alone[2], rel=1e-4)


def test_outputs_of_whole_numbers_have_no_part():
    pairs = [keras.Model(m.input, [m.output, tf.argmax(m.output, -1)]) for m in _pair(None)]
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    assert _part(pairs, [loss, None]) == pytest.approx(_part(_pair(None), loss), rel=1e-5)


def _regression(seed, scale=1.0):
    keras.utils.set_random_seed(seed)
    start = keras.Input((3,))
    kernel = keras.initializers.RandomNormal(stddev=scale)
    model = keras.Model(start, layers.Dense(1, kernel_initializer=kernel)(start))
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    return model


def test_a_last_batch_of_one_example_counts_like_any_other():
    settings = {"epochs": 1, "batch_size": 64, "verbose": 0}
    (row,) = tgp.finetune(
        _regression(1), (X, X[:, :1]), teacher=_regression(2), alpha=0.5, **settings
    )
    assert 0.1 < row["distillation"] < 10


def test_the_squared_difference_is_in_units_of_the_teachers_variance():
    found = []
    for scale in (1.0, 100.0):
        model, teacher = _regression(1, scale), _regression(2, scale)
        taught = CompiledDistiller(model, teacher, alpha=1.0)
        taught.measure([(X[:40],), (X[40:],)])
        found.append(float(taught.compute_loss(X, tf.constant(X[:, :1]), model(X), None)))
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    difference = np.square(model.predict(X, verbose=0) - teacher.predict(X, verbose=0)).mean()
    assert found[1] == pytest.approx(difference / teacher.predict(X, verbose=0).var(), rel=1e-3)


def test_a_constant_has_the_unit_one_and_nothing_the_mean_zero():
    start = keras.Input((3,))
    same = layers.Dense(1, kernel_initializer="zeros", bias_initializer="ones")(start)
    assert teaching.variances(keras.Model(start, same), [(X,)]) == [1.0]
    assert float(teaching.mean(tf.zeros([0, 4]))) == 0


class Head(keras.Model):
    """A model without outputs of its own, as subclasses are."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(4, "softmax")

    def call(self, x):
        return self.dense(x)


def test_an_output_of_a_subclass_is_taken_for_logits_unless_the_loss_says_otherwise():
    found = []
    for _ in range(2):
        start = keras.Input((3,))
        found.append(keras.Model(start, Head()(start)))
    assert teaching.probabilities(found[0]) == [False]
    assert np.isfinite(_part(found, "categorical_crossentropy"))
