"""What is told of files before they are written."""

import numpy as np
import pytest
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.cost.model_cost import file_bytes_cost
from tfgraphprune.shipping import file_overhead


def wide(normalize: bool):
    """Many channels, of little cost each but for what folding merges."""
    x = start = keras.Input((4, 4, 3))
    for number in range(4):
        x = keras.layers.Conv2D(192, 1, name=f"conv_{number}")(x)
        x = keras.layers.BatchNormalization()(x) if normalize else x
        x = keras.layers.DepthwiseConv2D(3, padding="same")(keras.layers.ReLU()(x))
        x = keras.layers.BatchNormalization()(x) if normalize else x
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(start, keras.layers.Dense(10)(x))


@pytest.mark.parametrize("normalize", [True, False])
def test_no_file_is_larger_than_was_told(normalize, tmp_path):
    model = wide(normalize)
    graph = tgp.LayerGraph.from_model(model)
    overhead, whole = file_overhead(graph, tmp_path)
    told = file_bytes_cost(graph, overhead)
    for share in (1.0, 0.3, 0.1):
        counts = {group.name: round(share * group.size) for group in graph.prunable_groups}
        plan = tgp.PruningPlan.from_counts(graph, counts)
        path = tmp_path / f"{share}.tflite"
        found = tgp.export_tflite(tgp.prune(model, plan), path).bytes
        assert found <= told(np.array(list(counts.values()))) < found + 0.1 * whole
