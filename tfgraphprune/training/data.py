"""Data sets with their three disjoint parts: training, reward, test."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.batches import Data, is_dataset, length, rows_of, sparse_labels
from tfgraphprune.errors import MissingExtraError, UserError, first_line

Arrays = tuple[np.ndarray, np.ndarray]

_TFDS_PARTS = ("train", "test")
_MEMORY_SHARE = 0.8


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set in three parts that share no image.

    Attributes:
        name: of the data set.
        train: float32 images `[n, height, width, channels]` in [0, 1] and int64 labels `[n]`.
        reward: likewise, held out of training; the search measures its reward here.
        test: likewise; looked at once, at the end.
        classes: number of classes.
        files: what `splits.json` records, where the images are files: which file is in which part.
    """

    name: str
    train: Arrays
    reward: Arrays
    test: Arrays
    classes: int
    files: Mapping[str, Any] = field(default_factory=dict)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return tuple(self.train[0].shape[1:])


def load_digits(seed: int = 0) -> Splits:
    """scikit-learn's 8x8 digits (Alpaydin and Kaynak, 1998), which ship with scikit-learn.

    Args:
        seed: of the stratified split into 1,077 training, 270 reward and 450 test images.
    """
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    bunch = load()
    images = (bunch.images / 16.0).astype(np.float32)[..., None]
    labels = bunch.target.astype(np.int64)
    rest, test, rest_labels, test_labels = train_test_split(
        images, labels, test_size=450, stratify=labels, random_state=seed
    )
    train, reward, train_labels, reward_labels = train_test_split(
        rest, rest_labels, test_size=270, stratify=rest_labels, random_state=seed
    )
    return Splits("digits", (train, train_labels), (reward, reward_labels), (test, test_labels), 10)


def load_tfds(
    name: str,
    data_dir: str | os.PathLike | None = None,
    reward_examples: int = 5000,
    download: bool = True,
) -> Splits:
    """An image classification set of TensorFlow Datasets; its last training images are reward.

    Args:
        name: such as `cifar10`; images of one size, splits `train` and `test`.
        data_dir: where prepared data lies, or is put; TensorFlow Datasets' own default.
        reward_examples: how many images, from the end of `train`, are held out.
        download: whether missing data may be fetched.

    Raises:
        MissingExtraError: tensorflow-datasets is not installed.
        UserError: no such data, or too little of it.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise MissingExtraError(f"Loading {name!r}", "tensorflow-datasets", "datasets") from error
    if data_dir is not None and not download and not Path(data_dir).is_dir():
        raise UserError(f"there is no data folder {data_dir}: give the folder, or allow download.")
    try:
        info = tfds.builder(name, data_dir=data_dir).info
        classes = _classes(name, info, tfds.features)
        parts = tfds.load(
            name,
            split=list(_TFDS_PARTS),
            data_dir=data_dir,
            download=download,
            as_supervised=True,
            shuffle_files=False,
        )
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"TensorFlow Datasets can't load {name!r} ({first_line(error)}): check the name, and "
            "that data_dir holds it where there is no network."
        ) from error
    (images, labels), test = (_decode(part) for part in parts)
    if not 0 < reward_examples < len(images):
        raise UserError(
            f"reward_examples must be from 1 to {len(images) - 1} for {name!r}, "
            f"not {reward_examples}."
        )
    train = (images[:-reward_examples], labels[:-reward_examples])
    reward = (images[-reward_examples:], labels[-reward_examples:])
    return Splits(name, train, reward, test, classes)


def _classes(name: str, info: Any, kinds: Any) -> int:
    """How many classes a data set has, refused before it is fetched if it has no images of them."""
    keys = info.supervised_keys if isinstance(info.supervised_keys, tuple) else ()
    image, label = (info.features[key] for key in keys[:2]) if len(keys) >= 2 else (None, None)
    if not isinstance(image, kinds.Image) or not isinstance(label, kinds.ClassLabel):
        raise UserError(
            f"{name!r} must be a data set of images with one class each, but its examples are "
            f"{', '.join(info.features)}: pass a tf.data.Dataset to tfgraphprune.compress."
        )
    missing = [part for part in _TFDS_PARTS if info.splits and part not in info.splits]
    if missing:
        raise UserError(
            f"{name!r} must have the splits {' and '.join(_TFDS_PARTS)}, but has "
            f"{', '.join(info.splits)}: pass a tf.data.Dataset to tfgraphprune.compress."
        )
    if info.splits and None not in image.shape:
        count = sum(info.splits[part].num_examples for part in _TFDS_PARTS)
        check_memory(count, image.shape)
    return int(label.num_classes)


def check_memory(count: int, shape: Sequence[int]) -> None:
    """Refuse more float32 images than the machine holds.

    Raises:
        UserError: they need more than four fifths of its memory.
    """
    needed = 4.0 * count * math.prod(shape)
    there = float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    if needed > _MEMORY_SHARE * there:
        raise UserError(
            f"{count} images of {shape[0]}x{shape[1]} need {needed / 1e9:.1f} GB of memory, but "
            f"there are {there / 1e9:.1f}: choose a smaller image_size of a folder, or pass a "
            "tf.data.Dataset to tfgraphprune.compress."
        )


def split_reward(data: Data, share: float, seed: int) -> tuple[Data, Data]:
    """Hold a share of the training data out for the reward.

    Args:
        data: arrays, with or without weights, split with equal class shares where each class has
            two examples; or a batched data set, whose last batches are held out.
        share: in (0, 1).
        seed: of the split of arrays.

    Returns:
        The rest and the held out part, each of the kind that came.

    Raises:
        UserError: too few examples.
    """
    if not 0 < share < 1:
        raise UserError(f"share must lie between 0 and 1, not {share!r}.")
    if is_dataset(data):
        batches = _batches_each_pass(data)
        if batches is None:
            raise UserError(
                "the training data set yields other batches in each pass, so that images held out "
                "for the reward would be trained on too: pass validation_data, or use "
                "shuffle(..., reshuffle_each_iteration=False)."
            )
        held = min(max(1, round(batches * share)), batches - 1)
        if batches < 2:
            raise UserError(
                "the training data has one batch, so none can be held out for the reward: pass "
                "validation_data."
            )
        return data.take(batches - held), data.skip(batches - held)
    count = length(data[0])
    if count < 10:
        raise UserError(
            f"{count} training examples are too few to hold some out: pass validation_data."
        )
    labels = tf.nest.flatten(data[1])[0]
    # Of labels that are no classes, each example's own: no two share one.
    classes = sparse_labels(labels) if np.ndim(labels) <= 2 else np.arange(count)
    rest, chosen = hold_out(classes, share, seed)
    return rows_of(tuple(data), rest), rows_of(tuple(data), chosen)


def hold_out(classes: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the rest and of a share, with equal class shares where that is possible.

    Args:
        classes: class indices `[n]`.
        share: in (0, 1).
        seed: of the choice.
    """
    from sklearn.model_selection import train_test_split

    counts = np.unique(classes, return_counts=True)[1]
    smaller = round(len(classes) * min(share, 1 - share))
    stratify = classes if counts.min() > 1 and smaller >= len(counts) else None
    rest, held = train_test_split(
        np.arange(len(classes)), test_size=share, stratify=stratify, random_state=seed
    )
    return rest, held


def _batches_each_pass(data: Data) -> int | None:
    """How many batches a data set has, if two passes over it yield the same ones."""
    first, second = (
        [hash(b"".join(np.asarray(t).tobytes() for t in tf.nest.flatten(batch))) for batch in data]
        for _ in range(2)
    )
    return len(first) if first == second else None


def _decode(part: Any) -> Arrays:
    images, labels = list[np.ndarray](), list[int]()
    for image, label in part.as_numpy_iterator():
        if images and image.shape != images[0].shape:
            raise UserError(
                "images of one size are needed, but those of the data set have several, such as "
                f"{images[0].shape} and {image.shape}: write them into a folder of images, which "
                "are scaled."
            )
        images.append(image)
        labels.append(label)
    scaled = np.empty((len(images), *images[0].shape), np.float32)
    for number, image in enumerate(images):
        np.divide(image, np.float32(255), out=scaled[number], dtype=np.float32)
    return scaled, np.array(labels, np.int64)
