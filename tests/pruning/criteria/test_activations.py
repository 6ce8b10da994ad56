"""Importance from activations, against plain numpy."""

import numpy as np
import pytest
import tf_keras as keras

from tests import networks
from tfgraphprune.errors import UserError
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning import PruningPlan
from tfgraphprune.pruning.criteria import Activations

L = keras.layers
OF = {
    "mean_abs": lambda x: np.abs(x).mean(0),
    "rms": lambda x: np.sqrt((x**2).mean(0)),
    "active": lambda x: (x > 0).mean(0),
}


@pytest.mark.parametrize("statistic", OF)
def test_statistics_are_those_of_what_the_consumer_reads(statistic):
    start = keras.Input((8, 8, 3))
    x = L.BatchNormalization()(L.Conv2D(6, 3, name="maker")(start))
    flat = L.Flatten()(L.MaxPooling2D(2, name="read")(L.LeakyReLU()(x)))
    model = networks.randomise(keras.Model(start, L.Dense(3)(flat)))
    images = networks.inputs_for(model, 12)
    read = keras.Model(start, model.get_layer("read").output)
    expected = OF[statistic](np.asarray(read(images)).reshape(-1, 6))
    graph = LayerGraph.from_model(model)
    found = Activations((images, np.zeros(12)), statistic, batch_size=4)(graph)
    np.testing.assert_allclose(found["maker"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["resnet_a", "nested_twice", "siamese", "attention", "grouped"])
def test_every_kind_of_network_can_be_ranked(name):
    model = networks.build(name)
    graph = LayerGraph.from_model(model)
    images = networks.inputs_for(model, 4)
    found = Activations((images, np.zeros(4)))(graph)
    for group in graph.prunable_groups:
        assert found[group.name].shape == (group.size,)
        assert np.isfinite(found[group.name]).all() and (found[group.name] > 0).any()
    assert PruningPlan.from_keep_ratios(graph, 0.5, Activations((images, np.zeros(4)))).kept


def test_an_unknown_statistic_is_refused():
    with pytest.raises(UserError, match="statistic must be one of"):
        Activations((np.zeros((2, 4)), np.zeros(2)), "median")
