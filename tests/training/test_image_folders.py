"""Image folders: every file in one part, equal class shares, given parts kept, bad ones refused."""

import json
import shutil
import struct

import numpy as np
import pytest
import tensorflow as tf

import tfgraphprune as tgp
from tfgraphprune import experiment
from tfgraphprune.cli.config_flag import load_config
from tfgraphprune.training.augment import check_augmentation
from tfgraphprune.training.data import load_digits
from tfgraphprune.training.image_folders import load_image_folder

CLASSES = ("eight", "one", "zero")


def _write(folder, images, labels):
    """PNGs of digits, one folder a class, in the order of the labels."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = folder / CLASSES[label] / f"{number:03}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(tf.io.encode_png((image * 255).astype(np.uint8)).numpy())


@pytest.fixture(scope="module")
def images():
    """Twenty different images of each of three digits."""
    x, y = load_digits(0).train
    found = [x[y == digit][:20] for digit in (8, 1, 0)]
    return np.concatenate(found), np.repeat(np.arange(3), 20)


@pytest.fixture(scope="module")
def photos(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    _write(folder, *images)
    (folder / "one" / "notes.txt").write_text("no image")
    (folder / "one" / ".hidden.png").write_text("no image")
    return folder


@pytest.fixture
def own_copy(photos, tmp_path):
    return shutil.copytree(photos, tmp_path / "photos")


def _files(splits):
    return {part: set(names) for part, names in splits.files["files"].items()}


def test_every_image_is_in_one_part_with_its_label(photos, images):
    splits = load_image_folder(photos, 8, channels=1)
    assert splits.name == photos.name and splits.classes == 3 and splits.input_shape == (8, 8, 1)
    files = splits.files["files"]
    assert {part: len(names) for part, names in files.items()} == {
        "train": 42, "reward": 6, "test": 12
    }  # fmt: skip
    assert len({name for names in files.values() for name in names}) == 60
    for part, share in (("train", 14), ("reward", 2), ("test", 4)):
        pixels, labels = getattr(splits, part)
        assert pixels.dtype == np.float32 and (np.bincount(labels) == share).all()
        for name, image, label in zip(files[part], pixels, labels, strict=True):
            number = int(name[-7:-4])
            assert name.startswith(CLASSES[label] + "/") and images[1][number] == label
            np.testing.assert_allclose(image, images[0][number], atol=1 / 255)


def test_the_split_depends_on_the_seed_only_and_is_plain(photos):
    first, again, other = (load_image_folder(photos, 8, seed=seed) for seed in (0, 0, 1))
    assert first.files == again.files and _files(first) != _files(other)
    np.testing.assert_array_equal(first.test[0], again.test[0])
    assert json.loads(json.dumps(first.files)) == first.files
    assert first.files["classes"] == list(CLASSES)
    assert first.files["ignored"] == ["one/.hidden.png", "one/notes.txt"]


def test_images_of_any_size_become_one(photos):
    splits = load_image_folder(photos, (6, 10))
    assert splits.input_shape == (6, 10, 3)
    assert splits.train[0].min() >= 0 and splits.train[0].max() <= 1


GIVEN = {
    "all": ({"train": 40, "val": 8, "test": 12}, {"train": 40, "reward": 8, "test": 12}),
    "no val": ({"train": 45, "test": 15}, {"train": 40, "reward": 5, "test": 15}),
    "no test": ({"train": 40, "val": 20}, {"train": 32, "reward": 20, "test": 8}),
}


@pytest.mark.parametrize(("given", "expected"), GIVEN.values(), ids=GIVEN)
def test_parts_that_are_given_are_kept(images, tmp_path, given, expected):
    order = np.random.default_rng(0).permutation(60)
    for name, count in given.items():
        chosen, order = order[:count], order[count:]
        _write(tmp_path / name, images[0][chosen], images[1][chosen])
    splits = load_image_folder(tmp_path, 8)
    found = _files(splits)
    assert {part: len(names) for part, names in found.items()} == expected
    assert not found["train"] & (found["reward"] | found["test"])
    for part, name in (("reward", "val"), ("test", "test")):
        if name in given:
            assert all(file.startswith(f"{name}/") for file in found[part])


def test_a_copy_of_an_image_is_in_no_other_part(own_copy, images):
    copied = own_copy / "one" / "zz.png"
    shutil.copy(own_copy / "one" / "020.png", copied)
    splits = load_image_folder(own_copy, 8)
    assert splits.files["left_out"] == {"one/zz.png": "one/020.png"}
    assert sum(len(names) for names in _files(splits).values()) == 60
    _write(own_copy / "train", *images)
    _write(own_copy / "test", images[0][::7], images[1][::7])
    for name in CLASSES:
        shutil.rmtree(own_copy / name)
    splits = load_image_folder(own_copy, 8)
    assert len(splits.test[0]) == 9 and len(splits.files["left_out"]) == 9
    assert all(name.startswith("train/") for name in splits.files["left_out"])


def test_files_of_all_kinds_are_read_in_grey_and_in_colour(own_copy):
    """A bitmap of 24 bits; the first picture of a GIF; white photographs stay in range."""
    white = np.full((375, 500, 3), 255, np.uint8)
    (own_copy / "one" / "white.png").write_bytes(tf.io.encode_png(white).numpy())
    header = b"BM" + struct.pack(
        "<IHHIIiiHHIIiiII", 102, 0, 0, 54, 40, 4, 4, 1, 24, 0, 48, 0, 0, 0, 0
    )
    (own_copy / "one" / "blue.bmp").write_bytes(header + bytes([255, 0, 0]) * 16)
    gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
    (own_copy / "one" / "dot.gif").write_bytes(gif)
    for channels, blue in ((1, [29 / 255]), (3, [0, 0, 1])):
        splits = load_image_folder(own_copy, 64, channels=channels)
        found = {
            name: image
            for part, names in splits.files["files"].items()
            for name, image in zip(names, getattr(splits, part)[0], strict=True)
        }
        assert len(found) == 63 and max(image.max() for image in found.values()) == 1
        np.testing.assert_allclose(found["one/blue.bmp"][0, 0], blue, atol=5e-3)
        check_augmentation("rand_augment" if channels == 3 else None, splits.train, 3)


def test_hidden_folders_are_passed_over_and_links_followed(own_copy, tmp_path):
    shutil.copytree(own_copy / "zero", own_copy / "one" / ".thumbnails")
    shutil.move(own_copy / "zero", tmp_path / "elsewhere")
    (own_copy / "zero").mkdir()
    (own_copy / "zero" / "batch").symlink_to(tmp_path / "elsewhere")
    (own_copy / "zero" / "round").symlink_to(own_copy / "zero")
    splits = load_image_folder(own_copy, 8)
    names = {name for names in _files(splits).values() for name in names}
    assert len(names) == 60 and sum(name.startswith("zero/batch/") for name in names) == 20


def _empty(folder):
    for name in CLASSES[1:]:
        shutil.rmtree(folder / name)


def _both(folder):
    shutil.copytree(folder / "one", folder / "train" / "one")


def _unknown(folder):
    for name in CLASSES:
        shutil.move(folder / name, folder / "train" / name)
    (folder / "val" / "two").mkdir(parents=True)


def _few(folder):
    for file in sorted(folder.rglob("*.png"))[:52]:
        file.unlink()


def _no_training_images(folder):
    for file in sorted((folder / "one").glob("*.png")):
        file.unlink()


def _broken(folder):
    (folder / "zero" / "050.png").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "there is no image folder"),
        (_empty, "two or more classes, but has 1"),
        (_both, "either one folder a class or train/"),
        (_unknown, "a class 'two' that .*train has not"),
        (_few, "too few to hold some out"),
        (_no_training_images, "the class 'one' .* has no training images"),
        (_broken, "050.png can't be read as an image"),
    ],
)
def test_folders_that_cannot_be_used_are_refused(own_copy, change, message):
    change(own_copy)
    with pytest.raises(tgp.UserError, match=message):
        load_image_folder(own_copy, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image_size must be one or two whole numbers"),
        ({"image_size": (8, 8, 3)}, "image_size must be"),
        ({"channels": 2}, "channels must be 1 or 3"),
        ({"reward_share": 0.5, "test_share": 0.5}, "above 0 and below 1 together"),
        ({"image_size": 10**6}, "GB of memory"),
    ],
)
def test_numbers_out_of_range_are_refused(photos, arguments, message):
    with pytest.raises(tgp.UserError, match=message):
        load_image_folder(**{"path": photos, "image_size": 8, **arguments})


def _config(folder, **data):
    config = load_config("digits")
    config.data.name, config.data.dir = "folder", str(folder)
    for name, value in data.items():
        config.data[name] = value
    return config


def test_a_config_names_a_folder_and_the_run_records_the_split(photos, tmp_path):
    config = _config(photos, image_size=8, channels=1, split_seed=3)
    config.train.epochs, config.finetune.epochs = 1, 1
    config.search.agent, config.search.rivals = "uniform", ()
    config.export.quantizations = ()
    result = experiment.run(config, tmp_path / "run")
    recorded = json.loads((tmp_path / "run" / "splits.json").read_text())
    assert recorded == load_image_folder(photos, 8, channels=1, seed=3).files
    assert result.model.output_shape == (None, 3)


def test_a_config_without_the_folder_is_refused():
    with pytest.raises(tgp.UserError, match="must name the image folder"):
        experiment.load_splits(_config("").data)
    config = _config("photos").data
    with config.unlocked():
        del config.image_size
    with pytest.raises(tgp.UserError, match="image_size must be"):
        experiment.load_splits(config)
