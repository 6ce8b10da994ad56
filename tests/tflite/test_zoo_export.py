"""Networks from tf_keras.applications at small inputs: the float32 file is the Keras model."""

import numpy as np
import pytest
import tf_keras as keras

import tfgraphprune as tgp

NETWORKS = {
    "MobileNetV2": lambda: keras.applications.MobileNetV2((32, 32, 3), 0.35, weights=None),
    "MobileNetV3Small": lambda: keras.applications.MobileNetV3Small(
        (64, 64, 3), include_preprocessing=False, weights=None
    ),
    "EfficientNetB0": lambda: keras.applications.EfficientNetB0(
        input_shape=(32, 32, 3), weights=None
    ),
}
MOST_ERROR = 1.5e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_files_of_dense_and_pruned_networks_equal_keras(name, tmp_path):
    keras.utils.set_random_seed(0)
    dense = NETWORKS[name]()
    graph = tgp.LayerGraph.from_model(dense)
    small = tgp.prune(dense, tgp.PruningPlan.from_keep_ratios(graph, 0.5))
    images = np.random.default_rng(0).uniform(0, 1, (8, *dense.input_shape[1:]))
    data = images.astype(np.float32), np.zeros(8, int)
    sizes = []
    for kind, model in (("dense", dense), ("pruned", small)):
        report = tgp.export_tflite(model, tmp_path / f"{kind}.tflite")
        check = tgp.verify_tflite(report.path, model, data)
        assert check.max_error <= MOST_ERROR, kind
        sizes.append(report.bytes)
    assert sizes[1] < 0.6 * sizes[0]
