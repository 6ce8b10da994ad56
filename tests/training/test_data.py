"""Data sets: disjoint parts, fixed splits, offline loading."""

import types

import numpy as np
import pytest
import tensorflow as tf

import tfgraphprune as tgp
from tfgraphprune.training import data
from tfgraphprune.training.data import load_digits, load_tfds, split_reward


@pytest.fixture(scope="module")
def digits():
    return load_digits(0)


def _rows(images):
    return [image.tobytes() for image in np.ascontiguousarray(images)]


def test_digits_have_the_fixed_sizes_and_range(digits):
    assert [len(part[0]) for part in (digits.train, digits.reward, digits.test)] == [1077, 270, 450]
    assert digits.input_shape == (8, 8, 1)
    assert digits.train[0].dtype == np.float32
    assert digits.train[0].min() == 0 and digits.train[0].max() == 1


def test_digits_parts_are_disjoint_stratified_and_repeatable(digits):
    parts = [set(_rows(part[0])) for part in (digits.train, digits.reward, digits.test)]
    assert not parts[0] & parts[2] and not parts[1] & parts[2] and not parts[0] & parts[1]
    for _, labels in (digits.train, digits.reward, digits.test):
        shares = np.bincount(labels, minlength=10) / len(labels)
        assert np.abs(shares - 0.1).max() < 0.015
    again = load_digits(0)
    np.testing.assert_array_equal(again.test[1], digits.test[1])
    assert (load_digits(1).test[1] != digits.test[1]).any()


def test_split_reward_keeps_classes_and_loses_nothing(digits):
    rest, held = split_reward(digits.train, 0.2, seed=3)
    assert len(held[0]) == 216
    assert sorted(_rows(rest[0]) + _rows(held[0])) == sorted(_rows(digits.train[0]))
    assert np.abs(np.bincount(held[1]) / len(held[1]) - 0.1).max() < 0.015
    again = split_reward(digits.train, 0.2, seed=3)[1]
    np.testing.assert_array_equal(held[1], again[1])


def test_split_reward_of_a_data_set_holds_out_the_last_batches(digits):
    batches = tf.data.Dataset.from_tensor_slices(digits.train).batch(100)
    rest, held = split_reward(batches, 0.2, seed=0)
    assert [int(d.reduce(0, lambda n, *_: n + 1)) for d in (rest, held)] == [9, 2]
    last = np.concatenate([y.numpy() for _, y in held])
    np.testing.assert_array_equal(last, digits.train[1][900:])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((np.zeros((5, 2)), np.zeros(5)), "too few"),
        (tf.data.Dataset.from_tensors((np.zeros((5, 2)), np.zeros(5))), "one batch"),
    ],
)
def test_split_reward_refuses_too_little(data, message):
    with pytest.raises(tgp.UserError, match=message):
        split_reward(data, 0.1, 0)


@pytest.fixture
def mock_cifar():
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=30):
        yield


def test_tfds_is_read_offline(mock_cifar):
    splits = load_tfds("cifar10", reward_examples=10)
    assert [len(part[0]) for part in (splits.train, splits.reward, splits.test)] == [20, 10, 30]
    assert splits.input_shape == (32, 32, 3) and splits.classes == 10
    assert splits.train[0].min() >= 0 and splits.train[0].max() <= 1


def test_tfds_refuses_what_it_cannot_do(mock_cifar, tmp_path):
    with pytest.raises(tgp.UserError, match="reward_examples must be from 1 to 29"):
        load_tfds("cifar10", reward_examples=30)
    with pytest.raises(tgp.UserError, match="no data folder"):
        load_tfds("cifar10", tmp_path / "none", download=False)
    with pytest.raises(tgp.UserError, match="with one class each, but its examples are"):
        load_tfds("ag_news_subset", reward_examples=10)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("train",), "must have the splits train and test, but has train"),
        (("train", "test"), "need 49152.0 GB of memory"),
    ],
)
def test_tfds_refuses_what_it_would_fetch_in_vain(parts, message):
    features = pytest.importorskip("tensorflow_datasets").features
    info = types.SimpleNamespace(
        supervised_keys=("picture", "kind"),
        features={
            "picture": features.Image(shape=(64, 32, 3)), "kind": features.ClassLabel(num_classes=7)
        },
        splits={name: types.SimpleNamespace(num_examples=10**9) for name in parts},
    )  # fmt: skip
    with pytest.raises(tgp.UserError, match=message):
        data._classes("this", info, features)
    info.splits = {}  # not known before it is fetched
    assert data._classes("this", info, features) == 7


def test_missing_tfds_names_the_extra(run_python):
    code = """
import tfgraphprune as tgp
from tfgraphprune.training.data import load_tfds
try:
    load_tfds("cifar10")
except tgp.MissingExtraError as error:
    print(error)
"""
    result = run_python(code, blocked=("tensorflow_datasets",))
    assert "pip install 'tfgraphprune[datasets]'" in result.stdout


def test_images_of_several_sizes_are_refused():
    sizes = tf.data.Dataset.from_generator(
        lambda: ((np.zeros((n, 4, 3), "uint8"), 0) for n in (4, 5)),
        output_signature=(tf.TensorSpec((None, 4, 3), tf.uint8), tf.TensorSpec((), tf.int64)),
    )
    with pytest.raises(tgp.UserError, match="images of one size are needed"):
        data._decode(sizes)
