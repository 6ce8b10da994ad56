"""Re-estimated BatchNorm statistics, against means worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests import networks
from tfgraphprune.errors import UserError
from tfgraphprune.pruning import reestimate_batchnorm

L = keras.layers


def two_norms(nested: bool, dropout: float = 0.0):
    keras.backend.clear_session()
    start = keras.Input((3,), name="features")
    inner = [
        L.Dense(4, name="dense", use_bias=False),
        L.BatchNormalization(name="first", scale=False),
        L.Dropout(dropout, name="dropout"),
    ]
    x = start
    if nested:
        x = keras.Sequential(inner, name="inner")(x, training=False)
    else:
        for layer in inner:
            x = layer(x)
    x = L.BatchNormalization(name="second", center=False)(L.ReLU(name="relu")(x))
    model = keras.Model(start, L.Dense(2, name="logits")(x))
    return networks.randomise(model), {layer.name: layer for layer in inner}


def by_hand(layers, batches):
    """Each batch is normalised by its own statistics, which are averaged over the examples."""
    (kernel,), norm = layers["dense"].get_weights(), layers["first"]
    first, second = [], []
    for x in batches:
        x = x @ kernel
        first.append((x.mean(0), x.var(0)))
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + norm.epsilon) + norm.beta.numpy()
        x = np.maximum(x, 0)
        second.append((x.mean(0), x.var(0)))
    sizes = [len(x) for x in batches]
    return [np.average(found, axis=0, weights=sizes) for found in (first, second)]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", ["arrays", "dataset", "doubles"])
def test_statistics_are_means_over_batches_by_their_sizes(nested, kind):
    model, layers = two_norms(nested, dropout=0.5)
    random = np.random.default_rng(2)
    x, y = random.normal(1, 3, (10, 3)).astype("float32"), np.zeros(10)
    expected = by_hand(layers, [x[:6], x[6:]])
    trained = [w.numpy() for w in model.trainable_weights]
    if kind == "arrays":
        reestimate_batchnorm(model, (x, y), batch_size=6)
    elif kind == "doubles":
        reestimate_batchnorm(model, (x.astype("float64"), y), batch_size=6)
    else:
        reestimate_batchnorm(model, tf.data.Dataset.from_tensor_slices((x, y)).batch(6))
    for layer, (mean, variance) in zip(
        (layers["first"], model.get_layer("second")), expected, strict=True
    ):
        np.testing.assert_allclose(layer.moving_mean.numpy(), mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(layer.moving_variance.numpy(), variance, rtol=1e-4, atol=1e-5)
    for old, new in zip(trained, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_a_layer_called_twice_gets_the_mean_of_its_calls():
    start = keras.Input((3,))
    norm = L.BatchNormalization(epsilon=0.0)
    model = keras.Model(start, L.Add()([norm(start), norm(2.0 * start)]))
    x = np.random.default_rng(0).normal(1, 1, (32, 3)).astype("float32")
    reestimate_batchnorm(model, (x, np.zeros(32)))
    np.testing.assert_allclose(norm.moving_mean.numpy(), 1.5 * x.mean(0), rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance.numpy(), 2.5 * x.var(0), rtol=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_images_come_as_they_come(dtype):
    model = networks.build("residual")
    x = np.random.default_rng(0).integers(0, 255, (8, *networks.IMAGE))
    found = []
    for kind in ("float32", dtype):
        reestimate_batchnorm(model, (x.astype(kind), np.zeros(8)))
        found.append(model.get_layer("batch_normalization").moving_mean.numpy())
    np.testing.assert_allclose(*found, rtol=1e-4)


def test_mixed_precision_and_several_inputs():
    start = [keras.Input((4,)), keras.Input((4,))]
    norm = L.BatchNormalization(dtype="mixed_float16")
    model = keras.Model(start, norm(L.Dense(3, dtype="mixed_float16")(start[0] + start[1])))
    x = np.random.default_rng(0).normal(size=(2, 16, 4)).astype("float32")
    data = tf.data.Dataset.from_tensors(((x[0], x[1]), np.zeros(16)))
    reestimate_batchnorm(model, data)
    expected = (x.sum(0) @ model.layers[-2].kernel.numpy()).mean(0)
    np.testing.assert_allclose(norm.moving_mean.numpy(), expected, atol=5e-3)


def test_a_model_without_batchnorm_stays_as_it_is():
    model = networks.build("split_concat")
    before = model.get_weights()
    reestimate_batchnorm(model, (networks.inputs_for(model), np.zeros(4)))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_data_that_cannot_be_used_is_refused():
    with pytest.raises(UserError, match="data must be a pair"):
        reestimate_batchnorm(networks.build("plain"), np.zeros((4, 8, 8, 3)))
