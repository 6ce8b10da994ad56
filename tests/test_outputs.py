"""What a model's outputs are, by how they are made and by the loss of its compile."""

import pytest
import tensorflow as tf
import tf_keras as keras

from tfgraphprune.outputs import gives_probabilities, scores_classes, takes_units_apart, units

layers = keras.layers


def _model(*ends):
    x = start = keras.Input((4,))
    for end in ends:
        x = end(x)
    return keras.Model(start, x)


def _softmax():
    return layers.Dense(3, "softmax")


ENDS = {
    "softmax": ([_softmax()], True),
    "logits": ([layers.Dense(3)], False),
    "a layer of its own": ([layers.Dense(3), layers.Softmax()], True),
    "an operation": ([layers.Dense(3), tf.nn.sigmoid], True),
    "mixed precision's last layer": ([_softmax(), layers.Activation("linear")], True),
    "a cast": ([_softmax(), lambda x: tf.cast(x, tf.float64)], True),
    "other shapes": ([_softmax(), layers.Reshape((3, 1)), layers.Flatten()], True),
    "two of them": ([_softmax(), layers.Dropout(0.1), layers.Activation("linear")], True),
    "nested": ([_model(_softmax()), layers.Activation("linear")], True),
    "logits handed on": ([layers.Dense(3), layers.Activation("linear")], False),
    "another function": ([_softmax(), layers.Activation("relu")], False),
    "a product": ([_softmax(), lambda x: x * 2.0], False),
    "nothing but handing on": ([layers.Flatten()], False),
}


@pytest.mark.parametrize(("ends", "expected"), ENDS.values(), ids=ENDS)
def test_probabilities_are_found_behind_what_hands_them_on(ends, expected):
    assert gives_probabilities(_model(*ends)) is expected


def sigmoid_cross_entropy(labels, outputs):
    return tf.nn.sigmoid_cross_entropy_with_logits(labels, outputs)


@pytest.mark.parametrize(
    ("loss", "apart"),
    [
        ("binary_crossentropy", True),
        (keras.losses.BinaryFocalCrossentropy(), True),
        (sigmoid_cross_entropy, True),
        ("sparse_categorical_crossentropy", False),
        (keras.losses.CategoricalFocalCrossentropy(), False),
    ],
)
def test_losses_of_sigmoids_score_no_classes(loss, apart):
    model = _model(layers.Dense(3))
    model.compile("sgd", loss)
    assert takes_units_apart(loss) is apart
    assert scores_classes(model) is not apart


def test_units():
    class Own(keras.Model):
        def call(self, x):
            return x

    start = keras.Input((4,))
    assert units(_model(layers.Dense(3))) == 3
    assert units(keras.Model(start, [start, start])) is None
    assert units(Own()) is None
