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


@pytest.mark.parametrize(("mine", "theirs"), [("softmax", None), (None, "softmax")])
@pytest.mark.parametrize("loss", ["categorical_crossentropy", crossentropy_of_shares])
def test_probabilities_learn_from_logits_and_the_other_way_round(mine, theirs, loss):
    (student, _), (_, teacher) = _pair(mine), _pair(theirs)
    expected = _part(_pair(None), keras.losses.CategoricalCrossentropy(from_logits=True))
    assert _part((student, teacher), loss) == pytest.approx(expected, rel=1e-3)


def sigmoid_cross_entropy(y, z):
    return tf.nn.sigmoid_cross_entropy_with_logits(y, z)


def test_a_loss_of_sigmoids_by_another_name_counts_like_that_of_keras():
    expected = _part(_pair(None), keras.losses.BinaryCrossentropy(from_logits=True))
    assert _part(_pair(None), sigmoid_cross_entropy) == pytest.approx(expected, rel=1e-4)


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


def own_squares(y, z):
    return 3.0 * tf.reduce_mean(tf.square(y - z), -1)


def labels_of_another_kind(y, z):
    return tf.reduce_mean(tf.square(0.1 * y - z), -1)


def labels_of_another_shape(y, z):
    return tf.reduce_mean(tf.square(y[:, 5] - z[:, 0]))


def _measured(loss, scale):
    """The teacher's part after a look at its outputs, and both models' outputs."""
    model, teacher = _regression(1, scale), _regression(2, scale)
    model.compile("sgd", loss)
    taught = CompiledDistiller(model, teacher, alpha=1.0)
    taught.measure([(X[:40],), (X[40:],)])
    outputs = model(X), teacher(X)
    y = tf.zeros((len(X), 6))[:, : 6 if loss is labels_of_another_shape else 1]
    part = float(taught.compute_loss(X, y, outputs[0], None))
    return part, *map(np.asarray, outputs)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", lambda mine, theirs: np.square(mine - theirs).mean()),
        (keras.losses.MeanAbsoluteError(), lambda mine, theirs: np.abs(mine - theirs).mean()),
        (own_squares, lambda mine, theirs: 3 * np.square(mine - theirs).mean()),
        (labels_of_another_kind, None),
        (labels_of_another_shape, None),
    ],
)
def test_a_loss_that_compares_counts_in_its_own_units_and_squares_by_the_variance_else(
    loss, expected, scale
):
    part, mine, theirs = _measured(loss, scale)
    if expected is None:

        def expected(mine, theirs):
            return np.square(mine - theirs).mean() / theirs.var()

    assert part == pytest.approx(expected(mine, theirs), rel=1e-3)


@pytest.mark.parametrize("spread", [0.03, 1.0])
def test_a_regression_that_trains_alone_trains_with_its_teacher(spread):
    random = np.random.default_rng(0)
    x = random.normal(size=(256, 8)).astype(np.float32)
    y = (spread * np.tanh(x @ random.normal(size=(8, 1)))).astype(np.float32)
    errors = []
    for taught in (False, True):
        models = []
        for _ in range(2):
            keras.utils.set_random_seed(0)
            start = keras.Input((8,))
            hidden = layers.Dense(32, "relu")(start)
            models.append(keras.Model(start, layers.Dense(1)(hidden)))
            models[-1].compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
        teacher, student = models
        tgp.finetune(teacher, (x, y), epochs=20, verbose=0)
        given = teacher if taught else None
        tgp.finetune(student, (x, y), epochs=20, teacher=given, verbose=0)
        errors.append(np.square(student.predict(x, verbose=0) - y).mean() / y.var())
    assert errors[1] < 1 and errors[1] < 1.5 * errors[0] + 0.02


def test_a_constant_has_the_unit_one_and_nothing_the_mean_zero():
    start = keras.Input((3,))
    same = layers.Dense(1, kernel_initializer="zeros", bias_initializer="ones")(start)
    outputs = teaching.first_outputs(keras.Model(start, same), [(X,)])
    assert teaching.variances(outputs) == [1.0]
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
