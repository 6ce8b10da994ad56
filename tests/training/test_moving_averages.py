"""BatchNorm's statistics after short trainings."""

import numpy as np
import pytest
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.models import digits_cnn
from tfgraphprune.pruning.batchnorm import BatchNormEstimator, batchnorms
from tfgraphprune.shipping import accuracy
from tfgraphprune.training.augment import epoch_dataset


class _Statistics(keras.callbacks.Callback):
    """What Keras left behind."""

    def on_epoch_end(self, epoch, logs=None):
        self.left = [layer.moving_mean.numpy() for layer in batchnorms(self.model)]


def test_a_short_training_is_judged_by_statistics_of_its_own_weights(digits):
    keras.utils.set_random_seed(0)
    model = digits_cnn()
    tgp.finetune(model, digits.train, epochs=2, verbose=0)
    assert accuracy(model, digits.reward) > 0.9  # a fifth of that by the moving averages


@pytest.mark.parametrize(
    "momentum, frozen, estimated",
    [(0.99, False, True), (0.9, False, True), (0.1, False, False), (0.99, True, False)],
)
def test_statistics_are_estimated_where_the_averages_lag(digits, momentum, frozen, estimated):
    model = digits_cnn()
    for layer in batchnorms(model):
        layer.momentum = momentum
    batchnorms(model)[0].trainable = not frozen
    seen = _Statistics()
    few = tuple(part[:768] for part in digits.train)
    tgp.finetune(model, few, epochs=1, batch_size=64, callbacks=(seen,), verbose=0)  # 12 steps
    now = [layer.moving_mean.numpy() for layer in batchnorms(model)]
    assert estimated == any(not np.array_equal(a, b) for a, b in zip(seen.left, now, strict=True))


def test_statistics_are_those_of_images_as_training_sees_them(digits):
    model = digits_cnn()
    tgp.finetune(model, digits.train, epochs=1, augment="shift", verbose=0)
    left = [layer.moving_mean.numpy() for layer in batchnorms(model)]
    data = digits.train
    seen = epoch_dataset(data, batch_size=64, seed=0, epoch=1, augment="shift")
    BatchNormEstimator(model).run(x for x, _ in seen)
    for mine, layer in zip(left, batchnorms(model), strict=True):
        np.testing.assert_allclose(mine, layer.moving_mean.numpy(), rtol=1e-5, atol=1e-6)
    tgp.reestimate_batchnorm(model, data)
    assert np.abs(left[0] - batchnorms(model)[0].moving_mean.numpy()).max() > 1e-3
