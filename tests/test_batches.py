"""Data with sample weights, from the door to the loss; what is no data is refused."""

import numpy as np
import pytest
import tensorflow as tf

from tfgraphprune.batches import as_arrays, as_dataset, check, input_batches, length, sample
from tfgraphprune.errors import UserError
from tfgraphprune.identity import identity
from tfgraphprune.models import digits_cnn
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


def test_samples_of_sorted_classes_hold_all_of_them():
    labels = np.repeat([0, 1], 500)
    x, y = sample((labels[:, None], labels), 300, seed=0)
    np.testing.assert_array_equal(x[:, 0], y)
    for batch in (y[:100], y[100:200], y[200:]):
        assert 0.3 < batch.mean() < 0.7
    assert sorted(sample((X, Y), None, seed=0)[1]) == sorted(Y)


class Rows:
    """Rows that are taken by label, as those of a shuffled pandas column."""

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)

    def __getitem__(self, rows):
        return self.values[::-1][rows]


@pytest.mark.parametrize("labels", [tf.constant(Y), Rows(Y)], ids=["tensor", "by label"])
def test_rows_are_taken_by_position(labels):
    x, y = sample((tf.constant(X), labels), 5, seed=0)
    np.testing.assert_array_equal(x, X[y])
    for part in split_reward((X, labels), 0.25, 0):
        np.testing.assert_array_equal(part[0], X[part[1]])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tf.data.Dataset.from_tensor_slices((np.ones((9, 8, 8, 3)), np.ones(9))), "(rank 0)"),
        (tf.data.Dataset.from_tensor_slices((X, np.eye(12))), "(rank 1)"),
        (tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).take(0), "it is empty"),
        (tf.data.Dataset.from_tensor_slices(({"angle": X[:, 0], "x": X}, Y)), "(rank 0)"),
    ],
)
def test_data_sets_that_are_not_batched_are_refused(data, message):
    with pytest.raises(UserError) as error:
        check(data, "train_data")
    assert message in str(error.value)


def test_examples_are_counted_in_tensors_of_all_kinds():
    rows = tf.RaggedTensor.from_row_lengths(tf.range(6), [1, 2, 3])
    for x in (rows, rows.to_sparse(), rows.to_tensor(), {"a": rows}, (np.ones((3, 2)), rows)):
        assert length(x) == 3


def test_one_of_several_inputs_may_be_a_number():
    check(tf.data.Dataset.from_tensor_slices(({"angle": X[:, 0], "x": X}, Y)).batch(4), "data")


def test_a_data_set_that_shuffles_is_the_same_data_in_each_process():
    def key(data):
        return identity(digits_cnn(), "", (data,), {})["data"]

    plain = tf.data.Dataset.from_tensor_slices((X, Y))
    assert key(plain.shuffle(12).batch(4)) == key(plain.shuffle(12).batch(4))
    assert key(plain.shuffle(12).batch(4)) != key(plain.shuffle(12).batch(6))
    assert key(plain.batch(4)) != key(plain.map(lambda x, y: (x + 1, y)).batch(4))


def test_no_images_are_held_out_of_a_data_set_that_shuffles_later_batches():
    first = tf.data.Dataset.from_tensor_slices((X[:4], Y[:4])).batch(2)
    rest = tf.data.Dataset.from_tensor_slices((X[4:], Y[4:])).shuffle(8).batch(2)
    with pytest.raises(UserError, match="other batches in each pass"):
        split_reward(first.concatenate(rest), 0.25, 0)


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


def test_weights_may_be_given_by_output():
    several = (np.ones(len(X)), np.arange(len(X)))
    check((X, [Y, Y], several), "train_data")
    check((X, {"a": Y, "b": Y}, {"a": several[0], "b": several[1]}), "train_data")
    with pytest.raises(UserError, match="the weights of train_data"):
        check((X, {"a": Y, "b": Y}, {"a": several[0], "b": -several[1]}), "train_data")


def test_batches_of_inputs_hold_all_classes():
    classes = np.repeat(np.arange(10), 64)
    batches = list(input_batches((classes, classes), 128))
    assert sorted(np.concatenate(batches)) == classes.tolist()
    assert all(len(set(batch.numpy())) == 10 for batch in batches)
    data = tf.data.Dataset.from_tensor_slices(({"a": classes}, classes)).batch(100)
    assert [len(batch["a"]) for batch in input_batches(data, 7)] == [100] * 6 + [40]
