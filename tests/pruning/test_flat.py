"""A flat copy has no nested models and computes the same."""

import numpy as np
import pytest
import tf_keras as keras

from tests.networks import build, inputs_for, outputs_of
from tests.training.optimize.networks import nested
from tfgraphprune.pruning.masking import copy_model

NAMES = ["nested_sequential", "nested_functional", "nested_twice", "siamese", "residual"]


@pytest.mark.parametrize("name", [*NAMES, "a layer made of layers"])
def test_a_flat_copy_computes_the_same(name):
    model = build(name) if name in NAMES else nested()
    flat = copy_model(model, flat=True)
    assert not any(isinstance(layer, keras.Model) for layer in flat.layers)
    assert all(type(layer).__module__.startswith("tf_keras.") for layer in flat.layers)
    x = inputs_for(model)
    for left, right in zip(outputs_of(model, x), outputs_of(flat, x), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
    assert flat.count_params() == model.count_params()
