"""Epochs are functions of (seed, epoch)."""

import numpy as np
import pytest
import tensorflow as tf

import tfgraphprune as tgp
from tfgraphprune.settings import finetune as settings
from tfgraphprune.training.augment import (
    AUGMENTATIONS,
    check_augmentation,
    crop_flip,
    epoch_dataset,
    shift,
)

X = np.arange(20 * 6 * 6 * 2, dtype=np.float32).reshape(20, 6, 6, 2) + 1
Y = np.arange(20)


def _epoch(seed=0, epoch=0, augment=None):
    batches = list(epoch_dataset((X, Y), batch_size=8, seed=seed, epoch=epoch, augment=augment))
    assert [len(y) for _, y in batches] == [8, 8, 4]
    return tuple(np.concatenate(part) for part in zip(*batches, strict=True))


@pytest.mark.parametrize("augment", [None, "shift", "crop_flip"])
def test_an_epoch_repeats_under_its_seed_and_number_only(augment):
    first, again = _epoch(augment=augment), _epoch(augment=augment)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (_epoch(epoch=1, augment=augment)[1] != first[1]).any()
    assert (_epoch(seed=1, augment=augment)[1] != first[1]).any()


def test_an_epoch_has_every_example_once_with_its_label():
    x, y = _epoch()
    assert sorted(y) == list(Y)
    np.testing.assert_array_equal(x, X[y])


def test_shift_moves_by_a_pixel_at_most_and_brings_zeros():
    images = tf.constant(X)
    moved = shift(images, tf.constant([1, 2])).numpy()
    padded = np.pad(X, ((0, 0), (1, 1), (1, 1), (0, 0)))
    found = set()
    for image, candidates in zip(moved, padded, strict=True):
        places = [
            (r, c)
            for r in range(3)
            for c in range(3)
            if np.array_equal(image, candidates[r : r + 6, c : c + 6])
        ]
        assert len(places) == 1
        found |= set(places)
    assert len(found) > 4


def test_crop_flip_mirrors_about_half():
    images = np.zeros((200, 6, 6, 1), np.float32)
    images[:, :, :3] = 1
    moved = crop_flip(tf.constant(images), tf.constant([3, 4])).numpy()
    left = moved[:, :, :3].sum((1, 2, 3)) >= moved[:, :, 3:].sum((1, 2, 3))
    assert 60 < left.sum() < 160


def test_without_augmentation_a_data_set_is_passed_through():
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    for ours, theirs in zip(epoch_dataset(data, batch_size=1, seed=0, epoch=0), data, strict=True):
        for left, right in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("augment", [None, "shift"])
def test_autotuning_is_off_unless_the_maker_of_a_data_set_chose_it(augment):
    chosen = {"batch_size": 5, "seed": 0, "epoch": 0, "augment": augment}
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(5)
    options = tf.data.Options()
    options.autotune.enabled = True
    options.threading.private_threadpool_size = 2
    theirs = epoch_dataset(batches.with_options(options), **chosen).options()
    assert theirs.autotune.enabled and theirs.threading.private_threadpool_size == 2
    for data in ((X, Y), batches):
        assert epoch_dataset(data, **chosen).options().autotune.enabled is False


def test_a_data_set_keeps_its_order_and_each_batch_is_moved_in_its_own_way():
    same = tf.data.Dataset.from_tensor_slices((np.tile(X[:5], (4, 1, 1, 1)), Y)).batch(5)
    chosen = {"batch_size": 1, "seed": 3, "augment": "shift"}
    first, again, other = (
        [(x.numpy(), y.numpy()) for x, y in epoch_dataset(same, epoch=epoch, **chosen)]
        for epoch in (0, 0, 1)
    )
    np.testing.assert_array_equal(np.concatenate([y for _, y in first]), Y)
    for (left, _), (right, _) in zip(first, again, strict=True):
        np.testing.assert_array_equal(left, right)
    assert len({x.tobytes() for x, _ in (*first, *other)}) == 8


def test_weights_go_with_their_examples():
    batches = epoch_dataset((X, Y, Y / 2), batch_size=8, seed=0, epoch=0, augment="shift")
    rows = [np.concatenate(part) for part in zip(*batches, strict=True)]
    assert sorted(rows[1]) == list(Y)
    np.testing.assert_array_equal(rows[2], rows[1] / 2)


def test_settings_and_training_know_the_same_names():
    assert tuple(AUGMENTATIONS) == settings.AUGMENTATIONS


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        ((X, Y), {"augment": "magic"}, "augment must be one of"),
        ((X, Y), {"augment": "rand_augment"}, "three channels, not of 2"),
        ((X[..., :1].repeat(3, -1), Y), {"augment": "rand_augment"}, "takes images in"),
        ((X, Y), {"augment": "mixup"}, "give one-hot rows"),
        ((X, {"a": Y}), {"augment": "mixup"}, "mixes one label an example"),
        ((X, X[..., 0]), {"augment": "cutmix"}, "mixes one label an example"),
        ((X[:, :, 0], Y), {"augment": "shift"}, "takes batches of images"),
        (
            tf.data.Dataset.from_tensors(({"image": X}, Y)),
            {"augment": "shift"},
            "takes batches of images",
        ),
    ],
)
def test_what_cannot_be_augmented_is_refused(data, arguments, message):
    with pytest.raises(tgp.UserError, match=message):
        check_augmentation(data=data, name=arguments["augment"])
    with pytest.raises(tgp.UserError, match=message):
        epoch_dataset(data, batch_size=4, seed=0, epoch=0, **arguments)
