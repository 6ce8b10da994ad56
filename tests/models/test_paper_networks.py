"""The networks of the papers: sizes, shapes, names that do not depend on the process, refusals."""

from functools import cache, partial

import numpy as np
import pytest
import tensorflow as tf

import tfgraphprune as tgp
from tfgraphprune.models import (
    mobilenet_v1,
    mobilenet_v2,
    shufflenet_v1,
    shufflenet_v2,
    vgg16_bn,
)
from tfgraphprune.models.parts import channel_shuffle, scaled

BUILDERS = {
    "vgg16_bn": vgg16_bn,
    "vgg16_bn_one_hidden": partial(vgg16_bn, hidden=(512,)),
    "vgg16_bn_quarter": partial(vgg16_bn, width=0.25),
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v1_half": partial(mobilenet_v1, 0.5),
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v2_half": partial(mobilenet_v2, 0.5),
    "shufflenet_v1": shufflenet_v1,
    "shufflenet_v1_g8": partial(shufflenet_v1, 8),
    "shufflenet_v1_half": partial(shufflenet_v1, 3, 0.5),
    "shufflenet_v2": shufflenet_v2,
    "shufflenet_v2_half": partial(shufflenet_v2, 0.5),
}


@cache
def built(name):
    return BUILDERS[name]()


def _size(tensor):
    return int(np.prod(tensor.shape))


def _macs(model):
    """By hand: each weight of a kernel is used once for every position of the layer's output."""
    total = 0
    for layer in model.layers:
        kernel = getattr(layer, "depthwise_kernel", None)
        kernel = getattr(layer, "kernel", None) if kernel is None else kernel
        if kernel is not None:
            total += _size(kernel) * int(np.prod(layer.output_shape[1:-1]))
    return total


# Trained parameters: those of torchvision (VGG-16 BN without its dense layers, MobileNet V2,
# ShuffleNet V2) or Keras Applications (MobileNet) for ImageNet, with 10 classes in the place of
# 1000; ShuffleNet V1 is added up from table 1 of the paper, as all MACs and channels of BatchNorm
# (whose moving statistics are two numbers each) are from the papers' tables.
@pytest.mark.parametrize(
    ("name", "trained", "norms", "macs"),
    [
        ("vgg16_bn", 14_723_136 + 2 * 512 * 513 + 5_130, 4_224, 313_725_952),
        ("vgg16_bn_one_hidden", 14_723_136 + 512 * 513 + 5_130, 4_224, 313_463_808),
        ("mobilenet_v1", 4_231_976 - 990 * 1025, 10_944, 46_354_432),
        ("mobilenet_v1_half", 823_722, 5_472, 12_167_168),
        ("mobilenet_v2", 3_504_872 - 990 * 1281, 17_056, 87_976_448),
        ("mobilenet_v2_half", 700_490, 9_272, 27_969_024),
        ("shufflenet_v1", 914_338, 12_240, 42_590_592),
        ("shufflenet_v1_g8", 913_138, 19_584, 42_703_872),
        ("shufflenet_v1_half", 242_134, 6_120, 11_126_976),
        ("shufflenet_v2", 2_278_604 - 990 * 1025, 8_090, 45_002_112),
        ("shufflenet_v2_half", 1_366_792 - 990 * 1025, 3_976, 10_902_016),
    ],
)
def test_size(name, trained, norms, macs):
    model = built(name)
    assert sum(map(_size, model.trainable_weights)) == trained
    assert model.count_params() == trained + 2 * norms
    assert _macs(model) == macs
    if not name.startswith("shufflenet_v1"):
        assert tgp.count_macs(model) == macs


# Channels and side of the last maps, and of the first that are as small as half the image.
@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("vgg16_bn", {"stage1_pool": (16, 64), "stage5_pool": (1, 512)}),
        ("mobilenet_v1", {"block1_pointwise": (32, 64), "block13_pointwise": (2, 1024)}),
        ("mobilenet_v1_half", {"block2_pointwise": (16, 64), "block13_pointwise": (2, 512)}),
        ("mobilenet_v2", {"stage2_block2_add": (32, 24), "features": (4, 1280)}),
        ("mobilenet_v2_half", {"stage3_block1_project": (16, 16), "features": (4, 1280)}),
        ("shufflenet_v1", {"stage1_unit1_concat": (16, 240), "stage3_unit4_add": (4, 960)}),
        ("shufflenet_v1_g8", {"stage1_unit1_expand": (16, 360), "stage3_unit4_add": (4, 1536)}),
        ("shufflenet_v1_half", {"stage1_unit1_reduce": (32, 30), "stage3_unit4_add": (4, 480)}),
        ("vgg16_bn_quarter", {"stage1_pool": (16, 16), "stage5_pool": (1, 128)}),
        ("shufflenet_v2", {"stage1_unit1_concat": (16, 116), "features": (4, 1024)}),
        ("shufflenet_v2_half", {"stage2_unit8_concat": (8, 96), "features": (4, 1024)}),
    ],
)
def test_maps(name, shapes):
    for layer, (side, channels) in shapes.items():
        assert built(name).get_layer(layer).output_shape == (None, side, side, channels)


SMALL = [
    "vgg16_bn_one_hidden",
    "mobilenet_v1_half",
    "mobilenet_v2_half",
    "shufflenet_v1_half",
    "shufflenet_v2_half",
]


@pytest.mark.parametrize("name", SMALL)
def test_images_become_logits_of_any_batch(name):
    images = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    logits = built(name)(images).numpy()
    assert logits.shape == (3, 10)
    assert np.isfinite(logits).all()
    scale = np.abs(logits).max()  # tiny: the BatchNorms of a new network scale nothing
    assert scale > 0
    np.testing.assert_allclose(built(name)(images[:1]) / scale, logits[:1] / scale, atol=1e-4)


def _names(model):
    """The names of all layers but those that Keras makes, and numbers, for an op."""
    return [layer.name for layer in model.layers if type(layer).__name__ != "TFOpLambda"]


@pytest.mark.parametrize("name", SMALL)
def test_names_are_those_of_the_network_built_again(name):
    again = BUILDERS[name](classes=7, input_shape=(40, 33, 3))
    assert again.output_shape == (None, 7)
    assert again.name == built(name).name
    assert _names(again) == _names(built(name))


def test_a_shuffle_deals_channels_out():
    x = tf.reshape(tf.range(24), [2, 1, 1, 12])
    shuffled = channel_shuffle(x, 3)[:, 0, 0].numpy()
    assert shuffled[0].tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    assert (shuffled[1] == shuffled[0] + 12).all()


@pytest.mark.parametrize(
    ("channels", "multiple", "rounded"),
    [
        (24, 8, 24),
        (12, 8, 16),
        (11.2, 8, 16),
        (44.8, 8, 48),
        (18, 8, 24),
        (0.1, 8, 8),
        (90, 12, 96),
    ],
)
def test_channels_are_rounded(channels, multiple, rounded):
    assert scaled(channels, multiple) == rounded


@pytest.mark.parametrize("width", [0, -1.0, float("nan"), float("inf"), True, "1", None])
@pytest.mark.parametrize(
    "build", [mobilenet_v1, mobilenet_v2, partial(shufflenet_v1, 3), shufflenet_v2]
)
def test_a_bad_width_is_refused(build, width):
    with pytest.raises(tgp.UserError, match="width must be"):
        build(width)


_ALL = [vgg16_bn, mobilenet_v1, mobilenet_v2, shufflenet_v1, shufflenet_v2]


@pytest.mark.parametrize("build", _ALL)
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("classes", 0),
        ("classes", 2.5),
        ("classes", True),
        ("input_shape", (32, 32)),
        ("input_shape", (32, 32, 1)),
        ("input_shape", (None, None, 3)),
        ("input_shape", (0, 32, 3)),
        ("input_shape", 32),
    ],
)
def test_bad_classes_and_shapes_are_refused(build, argument, value):
    with pytest.raises(tgp.UserError, match=f"{argument} must be"):
        build(**{argument: value})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vgg16_bn(input_shape=(32, 31, 3)), "at least 32 pixels"),
        (lambda: vgg16_bn(hidden=512), "hidden must be"),
        (lambda: vgg16_bn(hidden=(512, 0)), "hidden must be"),
        (lambda: vgg16_bn(dropout=1.0), "dropout must be"),
        (lambda: mobilenet_v2(dropout=-0.1), "dropout must be"),
        (lambda: shufflenet_v1(5), "groups must be one of"),
        (lambda: shufflenet_v1(True), "groups must be one of"),
        (lambda: shufflenet_v1([3]), "groups must be one of"),
        (lambda: shufflenet_v1(3, 0.01), "stages that do not grow"),
        (lambda: shufflenet_v2(0.75), "one of \\[0.5, 1.0, 1.5, 2.0\\]"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(tgp.UserError, match=message):
        call()
