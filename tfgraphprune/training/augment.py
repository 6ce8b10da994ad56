"""Epochs whose order and augmentation depend on nothing but the seed and the epoch's number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.batches import Data, is_dataset, length, rows_of, tuples_of
from tfgraphprune.errors import UserError
from tfgraphprune.training.keras_cv_layers import (
    ROUNDING,
    cutmix,
    mixup,
    rand_augment,
    require_keras_cv,
)
from tfgraphprune.training.labels import as_rows

_CHECKED_EXAMPLES = 256


@dataclass(frozen=True)
class Augmentation:
    """What happens to a batch.

    Attributes:
        changes: functions `(images [b, h, w, c], seed int32 [2]) -> images`, one after another.
        mix: `(images, labels [b, k], seed) -> (images, labels)` comes last; labels become soft.
        unit_range: whether the images must be coloured, in [0, 1].
    """

    changes: tuple[Callable[..., tf.Tensor], ...] = ()
    mix: Callable[..., tuple[tf.Tensor, tf.Tensor]] | None = None
    unit_range: bool = False

    @property
    def needs_keras_cv(self) -> bool:
        """Whether some of it is done by KerasCV."""
        return self.mix is not None or rand_augment in self.changes


def epoch_dataset(
    data: Data,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    augment: str | None = None,
    classes: int | None = None,
) -> tf.data.Dataset:
    """The batches of one epoch.

    Args:
        data: `(x, y)` or `(x, y, w)` arrays, shuffled and augmented here; a `tf.data.Dataset` keeps
            its order and is augmented batch by batch.
        batch_size: for arrays; the last batch may be smaller.
        seed: with `epoch` decides order and augmentation; of each batch, its number does too.
        epoch: number of the epoch, from 0.
        augment: a name in `AUGMENTATIONS`, or none.
        classes: number of classes, for soft labels where the labels are indices; with 1, labels
            are numbers, such as those of a single sigmoid, and mixed as they are.

    Raises:
        UserError: an unknown name, or data that this augmentation can't change.
        MissingExtraError: the augmentation needs KerasCV, which is not installed.
    """
    random = np.random.Generator(np.random.Philox([seed, epoch]))
    if is_dataset(data):
        if augment is None:
            return _promptly_ended(data)
        change = _change(augment, classes, data.element_spec)
        root = tf.constant(random.integers(0, 2**31 - 1, 2, np.int32))

        def numbered(number: tf.Tensor, batch: tuple) -> tuple:
            key = tf.random.experimental.stateless_fold_in(root, tf.cast(number, tf.int32))
            return change(batch, key)

        augmented = data.enumerate().map(
            lambda number, *batch: numbered(number, batch[0] if len(batch) == 1 else batch),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return _promptly_ended(augmented.prefetch(2))
    parts = tf.nest.map_structure(np.asarray, tuples_of(data))
    order = random.permutation(length(parts[0]))
    keys = random.integers(0, 2**31 - 1, (-(-len(order) // batch_size), 2), np.int32)
    rows = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    spec = _spec(parts)
    change = _change(augment, classes, spec)
    _check_range(augment, parts[0])

    def generate() -> Any:
        for chosen, key in zip(rows, keys, strict=True):
            yield rows_of(parts, chosen), key

    batches = tf.data.Dataset.from_generator(
        generate, output_signature=(spec, tf.TensorSpec((2,), tf.int32))
    )
    batches = batches.apply(tf.data.experimental.assert_cardinality(len(rows)))
    changed = batches.map(change, num_parallel_calls=tf.data.AUTOTUNE)
    return _promptly_ended(changed.prefetch(2))


def _promptly_ended(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The data set without tf.data's autotuning, unless its maker chose that.

    An iterator whose autotuning thread misses its cancellation is deleted only when that thread
    wakes again, up to a minute later (seen with TensorFlow 2.21), and that after each epoch.
    `AUTOTUNE` then stands for as many parallel calls as there are cores, at most 16.
    """
    if batches.options().autotune.enabled is not None:
        return batches
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


def check_augmentation(name: str | None, data: Data, classes: int | None = None) -> None:
    """Refuse an augmentation that can't be applied, before long work starts.

    Args:
        name: in `AUGMENTATIONS`, or none.
        data: what it is to be applied to.
        classes: number of classes, where it is known.

    Raises:
        UserError: an unknown name, or data that this augmentation can't change.
        MissingExtraError: the augmentation needs KerasCV, which is not installed.
    """
    chosen = resolve_augmentation(name)
    if chosen.needs_keras_cv:
        require_keras_cv()
    if is_dataset(data):
        _change(name, classes, data.element_spec)
        return
    parts = tf.nest.map_structure(np.asarray, tuples_of(data))
    _change(name, classes, _spec(parts))
    _check_range(name, parts[0])


def resolve_augmentation(name: str | None) -> Augmentation:
    """The augmentation with this name; without a name, one that does nothing.

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


def _spec(parts: tuple) -> tuple:
    """What batches of these arrays are like."""
    return tf.nest.map_structure(lambda p: tf.TensorSpec((None, *p.shape[1:]), p.dtype), parts)


def _change(augment: str | None, classes: int | None, spec: tuple) -> Callable[..., tuple]:
    """`change(batch, seed) -> batch` for batches of this kind."""
    chosen = resolve_augmentation(augment)
    if augment is None:
        return lambda batch, seed: batch
    if not isinstance(spec[0], tf.TensorSpec) or spec[0].shape.rank != 4:
        raise UserError(
            f"augment={augment!r} takes batches of images [b, h, w, c], not {spec[0]!r}: augment "
            "within your own pipeline."
        )
    if chosen.unit_range and spec[0].shape[-1] != 3:
        raise UserError(
            f"augment={augment!r} changes colours, so it takes images of three channels, not of "
            f"{spec[0].shape[-1]}: use another augmentation."
        )
    if chosen.mix is not None:
        _check_mixed_labels(augment, classes, spec[1])

    def change(batch: tuple, seed: tf.Tensor) -> tuple:
        images, labels, *weights = batch
        for number, function in enumerate(chosen.changes):
            images = function(images, _stream(seed, number))
        if chosen.mix is None:
            return (images, labels, *weights)
        return _mixed(chosen.mix, images, labels, weights, classes, seed)

    return change


def _check_mixed_labels(augment: str | None, classes: int | None, labels: Any) -> None:
    if not isinstance(labels, tf.TensorSpec) or labels.shape.rank not in (None, 1, 2):
        raise UserError(
            f"augment={augment!r} mixes one label an example, [b] or [b, k], not {labels!r}: use "
            "another augmentation."
        )
    if classes is None and labels.shape.rank != 2:
        raise UserError(
            f"augment={augment!r} makes soft labels, for which it must know the classes: give "
            "one-hot rows."
        )


def _mixed(
    mix: Callable[..., tuple[tf.Tensor, tf.Tensor]],
    images: tf.Tensor,
    labels: tf.Tensor,
    weights: list[tf.Tensor],
    classes: int | None,
    seed: tf.Tensor,
) -> tuple:
    """The batch with soft labels; an example's part in a mixture counts by its weight."""
    if classes == 1:  # a sigmoid or a value
        labels = tf.reshape(labels, [-1, 1])
    elif classes is not None:
        labels = as_rows(labels, classes)
    labels = tf.cast(labels, tf.float32)
    seed = _stream(seed, -1)
    if not weights:
        return mix(images, labels, seed)
    weight = tf.reshape(tf.cast(weights[0], tf.float32), [-1, 1])
    images, mixed = mix(images, tf.concat([labels * weight, weight], 1), seed)
    return images, tf.math.divide_no_nan(mixed[:, :-1], mixed[:, -1:]), mixed[:, -1]


def _stream(seed: tf.Tensor, number: int) -> tf.Tensor:
    """A seed for each part of an augmentation; the first part's is the batch's own."""
    return tf.random.experimental.stateless_fold_in(seed, number) if number else seed


def _check_range(augment: str | None, images: Any) -> None:
    if not resolve_augmentation(augment).unit_range:
        return
    first = images[:_CHECKED_EXAMPLES]
    if first.min() < -ROUNDING or first.max() > 1 + ROUNDING:
        raise UserError(
            f"augment={augment!r} takes images in [0, 1], but these lie in "
            f"[{first.min()}, {first.max()}]: scale them, with a Rescaling layer in the model."
        )


def _dimensions(images: tf.Tensor) -> tuple:
    shape = tf.shape(images)
    return shape[0], shape[1], shape[2], shape[3]


AUGMENTATIONS: Mapping[str | None, Augmentation] = {
    None: Augmentation(),
    "shift": Augmentation((shift,)),
    "crop_flip": Augmentation((crop_flip,)),
    "rand_augment": Augmentation((rand_augment,), unit_range=True),
    "crop_flip_rand_augment": Augmentation((crop_flip, rand_augment), unit_range=True),
    "cutmix": Augmentation(mix=cutmix),
    "crop_flip_cutmix": Augmentation((crop_flip,), cutmix),
    "mixup": Augmentation(mix=mixup),
    "crop_flip_mixup": Augmentation((crop_flip,), mixup),
}
"""By the names that `FineTune.augment` and `finetune(augment=...)` take."""
