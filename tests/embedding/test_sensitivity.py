import numpy as np
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.embedding.sensitivity import output_changes
from tfgraphprune.pruning.criteria import l2

L = keras.layers


def network():
    start = keras.Input((6, 6, 2))
    x = L.Conv2D(8, 3, padding="same", name="kept")(start)
    x = L.BatchNormalization()(x)
    y = L.Conv2D(8, 1, name="useless")(x)
    x = L.Concatenate()([L.GlobalAveragePooling2D()(x), L.GlobalAveragePooling2D()(y)])
    return keras.Model(start, L.Dense(3, name="last")(x))


def test_a_group_that_nothing_depends_on_changes_nothing():
    keras.utils.set_random_seed(0)
    model = network()
    kernel, bias = model.get_layer("last").get_weights()
    kernel[8:] = 0
    model.get_layer("last").set_weights([kernel, bias])
    graph = tgp.LayerGraph.from_model(model)
    images = np.random.default_rng(0).normal(size=(16, 6, 6, 2)).astype("float32")
    before = [w.copy() for w in model.get_weights()]
    columns, forwarded = output_changes(graph, images, l2(graph))
    rows = dict(
        zip([g.name for g in graph.prunable_groups], columns["change_at_half"], strict=True)
    )
    assert rows["useless"] < 1e-6 < 0.01 < rows["kept"] < 1
    assert (columns["change_at_quarter"] >= columns["change_at_half"] - 1e-9).all()
    assert forwarded == 16 * (1 + 2 * 2)
    for ours, same in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, same)
