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


class Kernels(keras.callbacks.Callback):
    """A kernel before the training and after each step."""

    def __init__(self, kernel):
        super().__init__()
        self._kernel = kernel
        self.seen = [kernel.numpy()]

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(self._kernel.numpy())


def test_finetune_hands_back_the_mean():
    random = np.random.default_rng(0)
    data = random.normal(size=(256, 4)).astype("float32"), random.integers(0, 3, 256)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    kernels = Kernels(model.layers[-1].kernel)
    settings = {"epochs": 2, "batch_size": 16, "averaging": 0.9, "verbose": 0}
    finetune(model, data, callbacks=(kernels,), **settings)
    mean, *steps = kernels.seen
    for number, kernel in enumerate(steps, 1):
        decay = min(0.9, (1 + number) / (10 + number))
        mean = decay * mean + (1 - decay) * kernel
    assert len(steps) == 32
    np.testing.assert_allclose(model.layers[-1].kernel.numpy(), mean, atol=1e-5)
    assert np.abs(steps[-1] - mean).max() > 1e-3


def test_a_mean_of_no_steps_is_what_was_trained(tmp_path):
    """The epochs in the folder were trained without averaging."""
    data = np.random.default_rng(0).normal(size=(64, 4)).astype("float32"), np.arange(64) % 3
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    settings = {"epochs": 2, "checkpoint_dir": tmp_path, "verbose": 0}
    finetune(model, data, **settings)
    trained = model.layers[-1].kernel.numpy()
    model.layers[-1].kernel.assign(np.zeros((4, 3)))
    finetune(model, data, averaging=0.9, **settings)
    np.testing.assert_array_equal(model.layers[-1].kernel, trained)
