"""Epochs whose order and augmentation depend on nothing but the seed and the epoch's number."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tfgraphprune.batches import Data, is_dataset
from tfgraphprune.errors import UserError

Augmentation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""`augment(images [b, h, w, c], seed int32 [2]) -> images [b, h, w, c]`."""


def epoch_dataset(
    data: Data, *, batch_size: int, seed: int, epoch: int, augment: str | None = None
) -> tf.data.Dataset:
    """The batches of one epoch.

    Args:
        data: `(x, y)` arrays, shuffled and augmented here; a `tf.data.Dataset` is passed through.
        batch_size: for arrays; the last batch may be smaller.
        seed: with `epoch` decides order and augmentation.
        epoch: number of the epoch, from 0.
        augment: a name in `AUGMENTATIONS`, or none.
    """
    if is_dataset(data):
        return data
    x, y = np.asarray(data[0]), np.asarray(data[1])
    random = np.random.Generator(np.random.Philox([seed, epoch]))
    order = random.permutation(len(x))
    keys = random.integers(0, 2**31 - 1, (-(-len(x) // batch_size), 2), np.int32)
    rows = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    change = resolve_augmentation(augment)

    def generate():
        yield from ((x[chosen], y[chosen], key) for chosen, key in zip(rows, keys, strict=True))

    spec = (
        tf.TensorSpec((None, *x.shape[1:]), x.dtype),
        tf.TensorSpec((None, *y.shape[1:]), y.dtype),
        tf.TensorSpec((2,), tf.int32),
    )
    batches = tf.data.Dataset.from_generator(generate, output_signature=spec)
    batches = batches.apply(tf.data.experimental.assert_cardinality(len(rows)))
    batches = batches.map(lambda images, labels, key: (change(images, key), labels))
    return batches.prefetch(2)


def resolve_augmentation(name: str | None) -> Augmentation:
    """The augmentation with this name; without a name, none.

    Raises:
        UserError: an unknown name.
    """
    if name not in AUGMENTATIONS:
        raise UserError(f"augment must be one of {tuple(AUGMENTATIONS)}, not {name!r}.")
    return AUGMENTATIONS[name]


def shift(images: tf.Tensor, seed: tf.Tensor, pixels: int = 1) -> tf.Tensor:
    """Move each image by up to `pixels` in each direction, zeros coming in."""
    sides = [[0, 0], [pixels, pixels], [pixels, pixels], [0, 0]]
    size, height, width, _ = _dimensions(images)
    padded = tf.pad(images, sides)
    offsets = tf.random.stateless_uniform(
        (size, 2), seed, minval=0, maxval=2 * pixels + 1, dtype=tf.int32
    )
    rows = offsets[:, :1] + tf.range(height)[None]
    columns = offsets[:, 1:] + tf.range(width)[None]
    moved = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.ensure_shape(tf.gather(moved, columns, axis=2, batch_dims=1), images.shape)


def crop_flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Pad by four pixels, crop at random, mirror every second image: He et al., CVPR 2016."""
    moved = shift(images, seed, 4)
    flipped = tf.random.stateless_uniform((tf.shape(images)[0], 1, 1, 1), seed + 1) < 0.5
    return tf.where(flipped, moved[:, :, ::-1], moved)


def _dimensions(images: tf.Tensor) -> tuple:
    shape = tf.shape(images)
    return shape[0], shape[1], shape[2], shape[3]


AUGMENTATIONS: Mapping[str | None, Augmentation] = {
    None: lambda images, seed: images,
    "shift": shift,
    "crop_flip": crop_flip,
}
