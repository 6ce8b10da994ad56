"""Folders of images, one folder a class, as a data set in three parts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfgraphprune.errors import UserError, first_line
from tfgraphprune.training.data import Arrays, Splits, check_memory, hold_out

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
"""Files that are read; of an animation, the first picture."""

_PARTS = {"train": "train", "reward": "val", "test": "test"}
"""The parts of a data set, and the folders in which a user may keep them."""

_Labelled = dict[str, int]
"""Files by path within the folder, with their classes."""


def load_image_folder(
    path: str | os.PathLike,
    image_size: int | tuple[int, int],
    *,
    channels: int = 3,
    reward_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
) -> Splits:
    """Images in one folder a class, resized to one size and held in memory.

    Where the folder holds `train/`, `val/` and `test/`, with the classes in each, those are the
    parts; `val` is the reward part. What is missing of `val/` and `test/`, or all three, is chosen
    with equal class shares. A file with the same bytes as another one is left out, first of the
    training images, so that no image is in two parts.

    Args:
        path: the folder.
        image_size: height and width, or one number for both.
        channels: 3 for colour, 1 for grey.
        reward_share: of all images, or of those in `train/`, if there is no `val/`.
        test_share: likewise, if there is no `test/`.
        seed: of the choice.

    Returns:
        The parts; `files` says which file is in which.

    Raises:
        UserError: no such folder, no classes, a class without training images, a file that is no
            image, more images than memory, or numbers out of range.
    """
    folder = Path(path)
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    _check_numbers(size, channels, reward_share, test_share)
    classes, given, ignored = _listed(folder)
    left_out = _drop_copies(folder, given)
    parts = _completed(given, {"reward": reward_share, "test": test_share}, seed)
    lacking = set(range(len(classes))) - set(parts["train"].values())
    if lacking:
        raise UserError(
            f"the class {classes[min(lacking)]!r} in {folder} has no training images left: give it "
            "more images."
        )
    check_memory(sum(map(len, parts.values())), (*size, channels))
    arrays = {name: _read(folder, files, size, channels) for name, files in parts.items()}
    files = {
        "folder": str(folder),
        "classes": classes,
        "seed": seed,
        "files": {name: list(members) for name, members in parts.items()},
        "left_out": left_out,
        "ignored": ignored,
    }
    return Splits(
        folder.name, arrays["train"], arrays["reward"], arrays["test"], len(classes), files
    )


def _check_numbers(
    size: Sequence[int], channels: int, reward_share: float, test_share: float
) -> None:
    if len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
        raise UserError(f"image_size must be one or two whole numbers from 1 on, not {size!r}.")
    if channels not in (1, 3):
        raise UserError(f"channels must be 1 or 3, not {channels!r}.")
    if not (0 < reward_share < 1 and 0 < test_share < 1 and reward_share + test_share < 1):
        raise UserError(
            "reward_share and test_share must be above 0 and below 1 together, not "
            f"{reward_share!r} and {test_share!r}."
        )


def _listed(folder: Path) -> tuple[list[str], dict[str, _Labelled], list[str]]:
    """The classes, the files of the parts that are given, and the files that are no images."""
    if not folder.is_dir():
        raise UserError(f"there is no image folder {folder}: give one with a folder a class.")
    inside = _folders(folder)
    given = {part: folder / name for part, name in _PARTS.items() if _folders(folder / name)}
    if given:
        others = [each.name for each in inside if each not in given.values()]
        if "train" not in given or others:
            raise UserError(
                f"{folder} must hold either one folder a class or train/, val/ and test/ with the "
                f"classes in them, but it has {', '.join(each.name for each in inside)}."
            )
    else:
        given = {"train": folder}
    classes = [each.name for each in _folders(given["train"])]
    if len(classes) < 2:
        raise UserError(
            f"{given['train']} must hold one folder for each of two or more classes, but has "
            f"{len(classes)}."
        )
    found, ignored = dict[str, _Labelled](), list[str]()
    for part, place in given.items():
        found[part] = {}
        for each in _folders(place):
            if each.name not in classes:
                raise UserError(
                    f"{place} has a class {each.name!r} that {given['train']} has not: "
                    "give training images of it, or take it away."
                )
            for file in _files(each):
                name = file.relative_to(folder).as_posix()
                if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
                    found[part][name] = classes.index(each.name)
                else:
                    ignored.append(name)
        if not found[part]:
            raise UserError(f"{place} has no images ({', '.join(SUFFIXES)}) in its folders.")
    return classes, found, ignored


def _files(path: Path) -> list[Path]:
    """The files in a folder and in those inside it, hidden folders left out, links followed."""
    found, seen = [], set[str]()
    for place, inside, names in os.walk(path, followlinks=True):
        inside[:] = [name for name in inside if not name.startswith(".")]
        real = os.path.realpath(place)
        if real in seen:  # a link leads back
            inside.clear()
            continue
        seen.add(real)
        found += [Path(place, name) for name in names]
    return sorted(file for file in found if file.is_file())


def _folders(path: Path) -> list[Path]:
    """The folders in a folder that are not hidden; none where there is no such folder."""
    if not path.is_dir():
        return []
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _drop_copies(folder: Path, parts: dict[str, _Labelled]) -> dict[str, str]:
    """Take copies of other files out of the parts; which they are, and of what."""
    first, copies = dict[str, str](), dict[str, str]()
    for part in ("test", "reward", "train"):
        for name in list(parts.get(part, ())):
            digest = hashlib.sha256(_content(folder / name)).hexdigest()
            if digest in first:
                copies[name] = first[digest]
                del parts[part][name]
            else:
                first[digest] = name
    return copies


def _completed(
    given: Mapping[str, _Labelled], shares: Mapping[str, float], seed: int
) -> dict[str, _Labelled]:
    """All three parts; what is missing is held out of the training images."""
    parts, left = dict(given), 1.0
    for part in ("test", "reward"):
        if part in parts:
            continue
        names = list(parts["train"])
        if len(names) < 10:
            raise UserError(
                f"{len(names)} training images are too few to hold some out: give more, or the "
                "folders train/, val/ and test/."
            )
        labels = np.array(list(parts["train"].values()))
        rest, held = hold_out(labels, shares[part] / left, seed)
        left -= shares[part]
        parts[part] = {names[i]: int(labels[i]) for i in sorted(held)}
        parts["train"] = {names[i]: int(labels[i]) for i in sorted(rest)}
    return {part: parts[part] for part in _PARTS}


def _read(folder: Path, files: _Labelled, size: Sequence[int], channels: int) -> Arrays:
    images = np.empty((len(files), *size, channels), np.float32)
    for number, name in enumerate(files):
        content = _content(folder / name)
        try:
            image = tf.image.resize(_decoded(content, channels), size, antialias=True)
        except tf.errors.OpError as error:
            raise _unreadable(folder / name, error) from error
        images[number] = np.clip(image, 0, 1)  # resizing rounds
    return images, np.array(list(files.values()), np.int64)


def _decoded(content: bytes, channels: int) -> tf.Tensor:
    """Pixels in [0, 1]; TensorFlow reads these two kinds in channels of their own only."""
    own = content.startswith((b"BM", b"GIF8"))
    image = tf.io.decode_image(content, 0 if own else channels, tf.float32, expand_animations=False)
    if own:
        image = image[..., :3]  # no alpha
        if image.shape[-1] > channels:
            return tf.image.rgb_to_grayscale(image)
        if image.shape[-1] < channels:
            return tf.image.grayscale_to_rgb(image)
    return image


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> UserError:
    return UserError(
        f"{file} can't be read as an image ({first_line(error)}): replace it, or take it away."
    )
