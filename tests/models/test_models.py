"""The built-in networks: shapes, published sizes, importers."""

import numpy as np
import pytest

import tfgraphprune as tgp
from tfgraphprune.models import digits_cnn, load_npz_weights, resnet_cifar


def _arrays(model):
    """The model's weights under the importer's names."""
    arrays, counts = {}, {}
    for layer in model.layers:
        kind = type(layer).__name__
        if kind in ("Conv2D", "BatchNormalization"):
            short = {"Conv2D": "conv", "BatchNormalization": "bn"}[kind]
            number = counts[kind] = counts.get(kind, -1) + 1
            prefix = f"{short}{number:02d}"
        elif kind == "Dense":
            prefix = "dense"
        else:
            continue
        for weight in layer.weights:
            attribute = weight.name.split("/")[-1].split(":")[0]
            arrays[f"{prefix}/{attribute}"] = np.random.default_rng(len(arrays)).normal(
                size=weight.shape
            )
    return arrays


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


def test_npz_weights_arrive(resnet8, tmp_path):
    arrays = _arrays(resnet8)
    np.savez(tmp_path / "w.npz", **arrays)
    load_npz_weights(resnet8, tmp_path / "w.npz")
    stem = resnet8.get_layer("stem").kernel.numpy()
    np.testing.assert_allclose(stem, arrays["conv00/kernel"], rtol=1e-6)
    last = resnet8.get_layer("stage3_block1_conv2_bn").moving_variance.numpy()
    np.testing.assert_allclose(last, arrays["bn06/moving_variance"], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("bn03/beta"), "missing \\['bn03/beta'\\]"),
        (lambda a: a.update({"extra/kernel": np.ones(1)}), "left over \\['extra/kernel'\\]"),
        (lambda a: a.update({"dense/kernel": np.ones((3, 10))}), "shape \\(3, 10\\)"),
    ],
)
def test_npz_that_does_not_fit_is_refused_and_changes_nothing(resnet8, tmp_path, change, message):
    before = resnet8.get_weights()
    arrays = _arrays(resnet8)
    change(arrays)
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(tgp.UserError, match=message):
        load_npz_weights(resnet8, tmp_path / "w.npz")
    for old, new in zip(before, resnet8.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resnet_cifar(21), "6n \\+ 2"),
        (lambda: resnet_cifar(20, "C"), "'A' or 'B'"),
        (lambda: load_npz_weights(digits_cnn(), "no/such.npz"), "can't read weights"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(tgp.UserError, match=message):
        call()


def test_a_plan_fits_the_network_built_again(resnet8):
    plan = tgp.PruningPlan.from_keep_ratios(tgp.LayerGraph.from_model(resnet8), 0.5)
    again = resnet_cifar(8)  # Keras numbers its slices and paddings anew
    assert tgp.count_macs(tgp.prune(again, plan)) < 0.35 * tgp.count_macs(again)
