"""Data with sample weights, from the door to the loss; what is no data is refused."""

import numpy as np
import pytest
import tensorflow as tf

from tfgraphprune.batches import as_arrays, as_dataset, check
from tfgraphprune.errors import UserError
from tfgraphprune.models import digits_cnn
from tfgraphprune.search.plan_search import sample
from tfgraphprune.training.data import split_reward
from tfgraphprune.training.finetune import finetune

X, Y = np.arange(24, dtype=np.float32).reshape(12, 2), np.arange(12)
W = Y / 4


def test_weights_are_the_third_part_of_every_batch():
    check((X, Y, W), "data")
    batches = as_dataset((X, Y, W), 5)
    check(batches, "data")
    np.testing.assert_array_equal(np.concatenate([w for _, _, w in batches]), W)
    for data in ((X, Y, W), batches):
        for found in (as_arrays(data, 7), sample(data, 7, 0)):
            assert len(found) == 2 and len(found[0]) == len(found[1]) == 7


def test_weights_stay_with_their_examples_when_some_are_held_out():
    for part in split_reward((X, Y, W), 0.25, 0):
        np.testing.assert_array_equal(part[2], part[1] / 4)
        np.testing.assert_array_equal(part[0], X[part[1]])


REFUSED = [
    (W[:5], "float64 of shape (5,) from 0.0 to 1.0"),
    (W[:, None], "of shape (12, 1)"),
    (-W, "from -2.75 to -0.0"),
    (np.full(12, np.inf), "one finite number from 0 on"),
    (W.astype(str), "<U32 of shape (12,)."),
]


@pytest.mark.parametrize(("weights", "message"), REFUSED)
def test_weights_that_are_none_are_refused(weights, message):
    with pytest.raises(UserError) as error:
        check((X, Y, weights), "train_data")
    assert str(error.value).startswith("the weights of train_data") and message in str(error.value)


@pytest.mark.parametrize("kind", ["arrays", "data set"])
def test_examples_without_weight_do_not_count_in_training(digits, kind):
    """Half of the labels are wrong, and weigh nothing."""
    x, y = (part[:600] for part in digits.train)
    odd = np.arange(600) % 2
    data = x, np.where(odd, (y + 1) % 10, y), 2.0 * (1 - odd)
    data = data if kind == "arrays" else tf.data.Dataset.from_tensor_slices(data).batch(32)
    model = digits_cnn()
    finetune(model, data, epochs=6, optimizer="adam", batch_size=32, verbose=0)
    found = model.predict(x, verbose=0).argmax(1)
    assert (found == y).mean() > 0.8
