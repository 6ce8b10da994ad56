"""bfloat16 is used where the CPU has it, the network is large, and the outputs agree."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests import networks
from tfgraphprune.graph import LayerGraph
from tfgraphprune.search.evaluation import precision
from tfgraphprune.search.evaluation.masked_network import MaskedNetwork
from tfgraphprune.search.evaluation.slim_network import SlimNetwork


@pytest.fixture
def network(monkeypatch):
    """A graph and calibration batches, on a CPU with bfloat16, where any network is large."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "LARGE_MACS", 0)
    model = networks.build("resnet_b")
    return LayerGraph.from_model(model), [networks.inputs_for(model, 16, seed) for seed in (0, 1)]


def dtype(found):
    assert isinstance(found, SlimNetwork)
    return found.dtype


def test_bfloat16_agrees_with_float32(network):
    graph, batches = network
    found = precision.evaluation_network(graph, batches)
    assert dtype(found) == tf.bfloat16
    masked = MaskedNetwork(graph, batches)
    kept = {group.name: range(group.size // 2) for group in graph.prunable_groups}
    for each in (found, masked):
        each.apply(kept)
    expected, outputs = masked.predict(batches[0]), found.predict(batches[0])
    assert outputs.dtype == np.float32
    error = np.sqrt(np.mean((outputs - expected) ** 2)) / expected.std()
    assert 0 < error < 0.05


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.setattr(precision, "has_bfloat16", lambda: False),
        lambda m: m.setattr(precision, "LARGE_MACS", 1e12),
        lambda m: m.setattr(precision, "_LARGEST_ERROR", 1e-6),
        lambda m: m.setattr(precision, "difference", lambda *_: float("nan")),
    ],
    ids=["no hardware", "small", "disagrees", "not finite"],
)
def test_float32_otherwise(network, monkeypatch, change):
    change(monkeypatch)
    assert dtype(precision.evaluation_network(*network)) == tf.float32


def test_float32_on_demand_and_masks_for_a_whole_model(network):
    assert dtype(precision.evaluation_network(*network, precision="float32")) == tf.float32
    assert isinstance(precision.evaluation_network(*network, whole=True), MaskedNetwork)


def test_a_kernel_that_is_not_cut_stays_in_float32(network):
    x = start = keras.Input((8, 8, 4))
    for filters in (6, 6, 6, 6, 6):
        x = keras.layers.Conv2D(filters, 3, activation="sigmoid")(keras.layers.ZeroPadding2D()(x))
        x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Conv2DTranspose(6, 3)(x)
    model = keras.Model(start, keras.layers.Dense(3)(keras.layers.GlobalMaxPooling2D()(x)))
    found = precision.evaluation_network(LayerGraph.from_model(model), [tf.zeros((4, 8, 8, 4))])
    assert dtype(found) == tf.float32


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("flags : fpu amx_bf16 amx_tile\n", True),
        ("flags : fpu avx512_bf16\n", False),
        (None, False),
    ],
)
def test_the_hardware_is_asked(tmp_path, text, found):
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert precision.has_bfloat16(tmp_path / "cpuinfo") is found
