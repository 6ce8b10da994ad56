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

AUTO = "auto"


@pytest.fixture
def network(monkeypatch):
    """A graph and calibration batches, on a CPU with bfloat16, where any network is large."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "is_large", lambda graph: True)
    model = networks.build("resnet_b")
    return LayerGraph.from_model(model), [networks.inputs_for(model, 16, seed) for seed in (0, 1)]


def dtype(found):
    assert isinstance(found, SlimNetwork)
    return found.dtype


def test_bfloat16_agrees_with_float32(network):
    graph, batches = network
    found = precision.evaluation_network(graph, batches, AUTO)
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
        lambda m: m.setattr(precision, "is_large", lambda graph: False),
        lambda m: m.setattr(precision, "_LARGEST_ERROR", 1e-6),
        lambda m: m.setattr(precision, "difference", lambda *_: float("nan")),
    ],
    ids=["no hardware", "small", "disagrees", "not finite"],
)
def test_float32_otherwise(network, monkeypatch, change):
    change(monkeypatch)
    assert dtype(precision.evaluation_network(*network, AUTO)) == tf.float32


def test_float32_on_demand_and_masks_for_a_whole_model(network):
    assert dtype(precision.evaluation_network(*network, "float32")) == tf.float32
    assert isinstance(precision.evaluation_network(*network, AUTO, whole=True), MaskedNetwork)


def test_a_kernel_that_is_not_cut_stays_in_float32(network):
    x = start = keras.Input((8, 8, 4))
    for filters in (6, 6, 6, 6, 6):
        x = keras.layers.Conv2D(filters, 3, activation="sigmoid")(keras.layers.ZeroPadding2D()(x))
        x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Conv2DTranspose(6, 3)(x)
    model = keras.Model(start, keras.layers.Dense(3)(keras.layers.GlobalMaxPooling2D()(x)))
    found = precision.evaluation_network(
        LayerGraph.from_model(model), [tf.zeros((4, 8, 8, 4))], AUTO
    )
    assert dtype(found) == tf.float32


def odd_models():
    image = keras.Input((8, 8, 3))

    def model(x):
        x = keras.layers.Conv2D(16, 3, activation="relu")(x)
        x = keras.layers.BatchNormalization()(keras.layers.Conv2D(16, 3)(x))
        return keras.layers.GlobalAveragePooling2D()(x)

    scaled = (image - tf.constant([0.4, 0.5, 0.6])) / tf.constant([0.2, 0.3, 0.4])
    yield "constants", image, keras.layers.Dense(3)(model(scaled))
    both = tf.concat([model(image), tf.reduce_mean(image, [1, 2])], -1)
    yield "concat", image, keras.layers.Dense(3)(both)
    above = keras.layers.ThresholdedReLU(0.5)(model(image))
    yield "threshold", image, keras.layers.Dense(3)(above)
    yield "softmax", image, keras.layers.Dense(3, activation="softmax")(model(image))
    free = keras.Input((None, None, 3))
    yield "any size", free, keras.layers.Dense(3)(model(free))


@pytest.mark.parametrize("case", odd_models(), ids=lambda case: case[0])
def test_every_model_is_evaluated_in_one_precision_or_the_other(network, case):
    name, image, outputs = case
    graph = LayerGraph.from_model(networks.randomise(keras.Model(image, outputs)))
    batches = [tf.random.stateless_uniform((16, 8, 8, 3), (0, 0))]
    found = precision.evaluation_network(graph, batches, AUTO)
    found.apply({})
    outputs = found.predict(batches[0])
    assert np.isfinite(outputs).all()
    if name == "softmax":  # what makes the outputs stays in float32
        np.testing.assert_allclose(outputs.sum(-1), 1, atol=1e-5)


def test_a_channel_multiple_above_a_groups_size(network):
    graph = LayerGraph.from_model(networks.build("resnet_b"), channel_multiple=32)
    assert isinstance(precision.evaluation_network(graph, network[1], AUTO), SlimNetwork)


def test_weights_of_other_types_stay_as_they_are():
    x = start = keras.Input((8, 8, 3), dtype="float64")
    for _ in range(2):
        x = keras.layers.Conv2D(6, 3, dtype="float64")(x)
    x = keras.layers.GlobalAveragePooling2D(dtype="float64")(x)
    model = keras.Model(start, keras.layers.Dense(3, dtype="float64")(x))
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3))
    slim = SlimNetwork(LayerGraph.from_model(model), [])
    slim.apply({})
    np.testing.assert_allclose(slim.predict(x), model(x), rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("flags : fpu amx_bf16 amx_tile\n", True),
        ("flags : fpu avx512_bf16 avx512vbmi\n", True),
        ("flags : fpu avx512f avx512_vnni\n", False),
        (None, False),
    ],
)
def test_the_hardware_is_asked(tmp_path, text, found):
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert precision.has_bfloat16(tmp_path / "cpuinfo") is found
