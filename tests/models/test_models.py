"""The ResNets and the network for digits: shapes, published sizes, groups."""

import numpy as np
import pytest

import tfgraphprune as tgp
from tfgraphprune.models import digits_cnn, resnet_cifar


@pytest.fixture(scope="module")
def resnet8():
    return resnet_cifar(8)


# Parameters: He et al., CVPR 2016, table 6 (0.27 M, 0.85 M); option B adds two projections.
@pytest.mark.parametrize(
    ("depth", "shortcut", "params"),
    [(20, "A", 269_722 + 1_376), (56, "A", 853_018 + 4_064), (20, "B", 269_722 + 1_376 + 2_944)],
)
def test_resnet_has_the_published_size(depth, shortcut, params):
    model = resnet_cifar(depth, shortcut)
    assert model.output_shape == (None, 10)
    assert model.count_params() == params


def test_resnet20_macs():
    assert tgp.count_macs(resnet_cifar(20)) == 40_551_040


def test_resnet_groups_nest_with_option_a():
    graph = tgp.LayerGraph.from_model(resnet_cifar(20))
    sizes = {group.name: group.size for group in graph.prunable_groups}
    streams = {n: s for n, s in sizes.items() if not n.endswith("conv1")}
    assert streams == {"stem": 16, "stage2_block1_conv2": 16, "stage3_block1_conv2": 32}
    assert len(sizes) == 12


def test_resnet_normalises_its_input(resnet8):
    normalised = resnet8.get_layer("normalize")(np.full((1, 32, 32, 3), 0.485, np.float32))
    assert float(normalised[0, 0, 0, 0]) == pytest.approx(0, abs=1e-6)
    assert float(normalised[0, 0, 0, 1]) == pytest.approx((0.485 - 0.456) / 0.224, rel=1e-5)


def test_digits_cnn_has_every_kind_of_group():
    graph = tgp.LayerGraph.from_model(digits_cnn())
    groups = {group.name: (group.size, group.prunable) for group in graph.channel_groups}
    assert groups == {
        "stem:in": (1, False),
        "stem": (16, True),
        "block_conv1": (16, True),
        "down": (32, True),
        "expand": (64, True),
        "logits": (10, False),
    }


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resnet_cifar(21), "6n \\+ 2"),
        (lambda: resnet_cifar(20, "C"), "'A' or 'B'"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(tgp.UserError, match=message):
        call()


def test_a_plan_fits_the_network_built_again(resnet8):
    plan = tgp.PruningPlan.from_keep_ratios(tgp.LayerGraph.from_model(resnet8), 0.5)
    again = resnet_cifar(8)  # Keras numbers its slices and paddings anew
    assert tgp.count_macs(tgp.prune(again, plan)) < 0.35 * tgp.count_macs(again)
