"""Weights from `.npz` archives: every built-in network, by its naming; nothing half accepted."""

from functools import cache, partial

import numpy as np
import pytest
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.models import (
    load_npz_weights,
    mobilenet_v1,
    mobilenet_v2,
    resnet_cifar,
    shufflenet_v1,
    shufflenet_v2,
    vgg16_bn,
)

layers = keras.layers

_SHORT = {"Conv2D": "conv", "DepthwiseConv2D": "dw", "BatchNormalization": "bn", "Dense": "dense"}


def _archive(model, first=0):
    """Random arrays for all weights of a model under the importer's names, and what they are for.

    Args:
        model: a functional model.
        first: the number that counting begins with.
    """
    arrays, places, seen = {}, {}, dict.fromkeys(_SHORT, first)
    dense = sum(type(layer) is layers.Dense for layer in model.layers)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        kind = type(layer).__name__
        if kind not in _SHORT:
            continue
        number = "" if kind == "Dense" and dense == 1 else f"{seen[kind]:02d}"
        seen[kind] += 1
        for weight in layer.weights:
            attribute = weight.name.split("/")[-1].split(":")[0].removeprefix("depthwise_")
            name = f"{_SHORT[kind]}{number}/{attribute}"
            arrays[name] = rng.normal(size=weight.shape).astype(np.float32)
            places[name] = weight
    return arrays, places


def _two_dense():
    x = keras.Input((4,), name="x")
    return keras.Model(x, layers.Dense(3, name="b")(layers.Dense(5, use_bias=False, name="a")(x)))


def _grouped():
    x = keras.Input((5, 5, 4), name="x")
    y = layers.Conv2D(6, 3, groups=2, name="grouped")(x)
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(y)
    y = layers.BatchNormalization(scale=False, name="bn")(y)
    return keras.Model(x, layers.Dense(3, name="logits")(layers.Flatten(name="flat")(y)))


NETWORKS = {
    "resnet8": partial(resnet_cifar, 8, "B"),
    "vgg16_bn": partial(vgg16_bn, hidden=(8, 8)),
    "mobilenet_v1": partial(mobilenet_v1, 0.25),
    "mobilenet_v2": partial(mobilenet_v2, 0.25),
    "shufflenet_v1": partial(shufflenet_v1, 3, 0.25),
    "shufflenet_v2": partial(shufflenet_v2, 0.5),
    "grouped": _grouped,
    "two_dense": _two_dense,
}


@cache
def _built(name):
    return NETWORKS[name]()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("first", [0, 1])
def test_all_weights_arrive(name, first, tmp_path):
    model = _built(name)
    model.set_weights([np.full_like(weight, 7) for weight in model.get_weights()])
    arrays, places = _archive(model, first)
    assert len(arrays) == len(model.weights)
    np.savez(tmp_path / "w.npz", **arrays)
    load_npz_weights(model, tmp_path / "w.npz")
    for array, weight in places.items():
        np.testing.assert_array_equal(weight.numpy(), arrays[array], err_msg=array)


# Where an array ends up, written out by hand.
@pytest.mark.parametrize(
    ("name", "places"),
    [
        (
            "resnet8",
            {
                "conv00/kernel": ("stem", "kernel"),
                "conv04/kernel": ("stage2_block1_shortcut", "kernel"),
                "conv08/kernel": ("stage3_block1_conv2", "kernel"),
                "bn02/moving_variance": ("stage1_block1_conv2_bn", "moving_variance"),
                "dense/bias": ("logits", "bias"),
            },
        ),
        (
            "vgg16_bn",
            {
                "conv12/bias": ("stage5_conv3", "bias"),
                "dense00/kernel": ("hidden1", "kernel"),
                "dense02/bias": ("logits", "bias"),
            },
        ),
        (
            "mobilenet_v1",
            {
                "dw12/kernel": ("block13_depthwise", "depthwise_kernel"),
                "conv13/kernel": ("block13_pointwise", "kernel"),
                "bn25/gamma": ("block13_depthwise_bn", "gamma"),
            },
        ),
        (
            "shufflenet_v1",
            {
                "conv03/kernel": ("stage1_unit2_reduce", "kernel"),
                "dw15/kernel": ("stage3_unit4_depthwise", "depthwise_kernel"),
            },
        ),
        (
            "shufflenet_v2",  # side by side: by the distance from the output
            {
                "dw00/kernel": ("stage1_unit1_shortcut_depthwise", "depthwise_kernel"),
                "conv01/kernel": ("stage1_unit1_pointwise1", "kernel"),
                "conv02/kernel": ("stage1_unit1_shortcut_pointwise", "kernel"),
                "conv03/kernel": ("stage1_unit1_pointwise2", "kernel"),
            },
        ),
    ],
)
def test_an_array_goes_to_the_layer_that_its_number_means(name, places, tmp_path):
    model = _built(name)
    arrays, _ = _archive(model)
    np.savez(tmp_path / "w.npz", **arrays)
    load_npz_weights(model, tmp_path / "w.npz")
    for array, (layer, attribute) in places.items():
        value = getattr(model.get_layer(layer), attribute).numpy()
        np.testing.assert_array_equal(value, arrays[array], err_msg=array)


def _rename(old, new):
    return lambda arrays: arrays.update({new: arrays.pop(old)})


def _put(name, value):
    return lambda arrays: arrays.update({name: value})


@pytest.mark.parametrize(
    ("build", "change", "message"),
    [
        (_grouped, lambda a: a.pop("bn00/beta"), "missing \\['bn00/beta'\\], left over nothing"),
        (_grouped, _put("extra/kernel", np.ones(1)), "missing nothing, left over \\['extra/kernel"),
        (_grouped, _put("bn00/gamma", np.ones(12)), "left over \\['bn00/gamma'\\]"),
        (_grouped, _put("conv01/kernel", np.ones(1)), "left over \\['conv01/kernel'\\]"),
        (_grouped, _rename("dw00/kernel", "dw00/depthwise_kernel"), "missing \\['dw00/kernel'\\]"),
        (_grouped, _rename("dense/bias", "dense00/bias"), "missing \\['dense/bias'\\]"),
        (_grouped, _put("conv00/kernel", np.ones((3, 3, 4, 6))), "shape \\(3, 3, 4, 6\\)"),
        (_grouped, _put("dw00/kernel", np.ones((3, 3, 12, 1))), "shape \\(3, 3, 12, 1\\)"),
        (_grouped, _put("dense/bias", np.array([0, np.nan, 0])), "not finite"),
        (_grouped, _put("dense/bias", np.full(3, 1e300)), "not finite"),
        (_grouped, _put("dense/bias", np.array(["a", "b", "c"])), "give real numbers"),
        (_grouped, _put("dense/bias", np.ones(3, complex)), "give real numbers"),
        (_two_dense, _rename("dense01/bias", "dense/bias"), "left over \\['dense/bias'\\]"),
        (_two_dense, _put("dense00/bias", np.ones(5)), "left over \\['dense00/bias'\\]"),
    ],
)
def test_an_archive_that_does_not_fit_is_refused_and_changes_nothing(
    build, change, message, tmp_path
):
    model = build()
    arrays, _ = _archive(model)
    change(arrays)
    np.savez(tmp_path / "w.npz", **arrays)
    _refused(model, tmp_path / "w.npz", message)


def _separable():
    x = keras.Input((4, 4, 4), name="x")
    y = layers.GlobalAveragePooling2D()(layers.SeparableConv2D(4, 3)(x))
    return keras.Model(x, layers.Dense(4)(y))


def _nested():
    x = keras.Input((4,), name="x")
    return keras.Model(x, layers.Dense(4)(keras.Sequential([layers.Dense(4)])(x)))


@pytest.mark.parametrize("build", [_separable, _nested])
def test_a_network_with_other_weights_is_refused(build, tmp_path):
    np.savez(tmp_path / "w.npz", **{"dense/kernel": np.ones((4, 4)), "dense/bias": np.ones(4)})
    _refused(build(), tmp_path / "w.npz", "has no name for")


def _empty(path):
    path.write_bytes(b"")


def _single_array(path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def _objects(path):
    np.savez(path, **{"dense00/kernel": np.array([{}, None])})


@pytest.mark.parametrize("write", [_empty, _single_array, _objects, lambda path: None])
def test_a_file_that_is_no_archive_is_refused(write, tmp_path):
    write(tmp_path / "w.npz")
    _refused(_two_dense(), tmp_path / "w.npz", "can't read weights")


def _refused(model, path, message):
    before = model.get_weights()
    with pytest.raises(tgp.UserError, match=message):
        load_npz_weights(model, path)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
