"""The running mean of weights."""

import numpy as np
import tf_keras as keras

from tfgraphprune.training.averaging import WeightAverage
from tfgraphprune.training.finetune import finetune


def test_the_mean_follows_its_formula_and_replaces_the_weights():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    (weight,) = model.weights
    weight.assign([[0.0]])
    average, expected, decay = WeightAverage(model, 0.5), 0.0, 0.5
    for step in range(1, 6):
        weight.assign([[float(step**2)]])
        average.update()
        share = 1 - min(decay, (1 + step) / (10 + step))
        expected += share * (step**2 - expected)
    average.use()
    np.testing.assert_allclose(weight.numpy(), [[expected]], rtol=1e-5)


def test_finetune_hands_back_the_mean():
    random = np.random.default_rng(0)
    data = random.normal(size=(256, 4)).astype("float32"), random.integers(0, 3, 256)
    found = {}
    for averaging in (0.0, 0.9):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        finetune(model, data, epochs=2, batch_size=16, averaging=averaging, verbose=0)
        found[averaging] = model.layers[-1].kernel.numpy()
    assert 1e-4 < np.abs(found[0.0] - found[0.9]).max() < 1.0
