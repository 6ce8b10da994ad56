"""Archives that an importer must not half accept, and names that must not depend on the process."""

import numpy as np
import pytest
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.models import load_npz_weights, resnet_cifar

layers = keras.layers


def _two_dense():
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(4, name="b")(layers.Dense(4, name="a")(x)))


def _depthwise():
    x = keras.Input((4, 4, 4))
    y = layers.GlobalAveragePooling2D()(layers.DepthwiseConv2D(3)(x))
    return keras.Model(x, layers.Dense(4)(y))


@pytest.mark.parametrize("build", [_two_dense, _depthwise])
def test_a_network_with_other_weights_is_refused(build, tmp_path):
    model, path = build(), tmp_path / "w.npz"
    np.savez(path, **{"dense/kernel": np.ones((4, 4)), "dense/bias": np.ones(4)})
    before = model.get_weights()
    with pytest.raises(tgp.UserError, match="has no name for"):
        load_npz_weights(model, path)
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def _empty(path):
    path.write_bytes(b"")


def _single_array(path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


@pytest.mark.parametrize("write", [_empty, _single_array])
def test_a_file_that_is_no_archive_is_refused(write, tmp_path):
    write(tmp_path / "w.npz")
    with pytest.raises(tgp.UserError, match="can't read weights"):
        load_npz_weights(resnet_cifar(8), tmp_path / "w.npz")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    x = keras.Input((4,))
    np.savez(tmp_path / "w.npz", **{"dense/kernel": np.full((4, 2), np.nan), "dense/bias": [0, 0]})
    with pytest.raises(tgp.UserError, match="not finite"):
        load_npz_weights(keras.Model(x, layers.Dense(2)(x)), tmp_path / "w.npz")


def test_a_plan_fits_the_same_network_built_again():
    first, second = resnet_cifar(8), resnet_cifar(8)
    plan = tgp.PruningPlan.from_keep_ratios(tgp.LayerGraph.from_model(first), 0.5)
    assert tgp.count_macs(tgp.prune(second, plan)) < tgp.count_macs(second)
