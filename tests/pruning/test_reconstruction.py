"""Least-squares correction of consumers."""

import numpy as np
import pytest
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.pruning.reconstruction import reconstruct

layers = keras.layers


def _conv(x):
    return layers.Conv2D(6, 3, strides=2, padding="same", name="reader")(x)


def _pointwise(x):
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    return layers.Conv2D(6, 1, name="reader")(x)


def _separable(x):
    return layers.SeparableConv2D(6, 3, padding="same", name="reader")(x)


def _dense(x):
    return layers.Dense(6, name="reader")(layers.Flatten()(x))


def _normalised(x):
    x = layers.Conv2D(6, 3, use_bias=False, dilation_rate=2, name="reader")(x)
    return layers.BatchNormalization(name="norm")(x)


def _dense_on_maps(x):
    return layers.Dense(6, name="reader")(x)


CONSUMERS = [_conv, _pointwise, _separable, _dense, _normalised, _dense_on_maps]


def _network(consumer):
    """Eight channels of which the second four are combinations of the first four."""
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="maker")(image)
    model = keras.Model(image, consumer(x))
    maker = model.get_layer("maker")
    kernel = maker.kernel.numpy()
    mix = np.random.default_rng(0).normal(size=(4, 4))
    kernel[..., 4:] = kernel[..., :4] @ mix
    bias = np.arange(4) / 4
    maker.set_weights([kernel, np.concatenate([bias, bias @ mix + 0.5])])
    for layer in model.layers:  # depthwise filters that are alike keep what is linear so
        if hasattr(layer, "depthwise_kernel"):
            alike = layer.depthwise_kernel.numpy()
            layer.depthwise_kernel.assign(np.repeat(alike[:, :, :1], 8, 2))
    if "norm" in [layer.name for layer in model.layers]:
        model.get_layer("norm").moving_mean.assign(np.arange(6) / 3)
        model.get_layer("norm").moving_variance.assign(1 + np.arange(6) / 6)
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(2).normal(size=(64, 8, 8, 3)).astype(np.float32)


@pytest.mark.parametrize("consumer", CONSUMERS, ids=lambda f: f.__name__.strip("_"))
def test_what_the_rest_can_express_is_restored(consumer, images):
    """The cut channels are linear in those that stay, so a right solution is exact.

    Not quite at padded edges, where a constant part is missing.
    """
    model = _network(consumer)
    graph = tgp.LayerGraph.from_model(model)
    plan = tgp.PruningPlan.from_indices(graph, {"maker": [0, 1, 2, 3]})
    labels = np.zeros(len(images), int)
    fitted = reconstruct(model, plan, (images, labels), ridge=1e-7, points=20)
    wanted = model.predict(images, verbose=0)
    cut = tgp.prune(model, plan).predict(images, verbose=0)
    error, before = (np.square(x - wanted).mean() for x in (fitted.predict(images, verbose=0), cut))
    assert error < 0.02 * before
    assert fitted.count_params() == tgp.prune(model, plan).count_params()
    np.testing.assert_array_equal(
        fitted.get_layer("maker").kernel, model.get_layer("maker").kernel[..., :4]
    )


def test_what_it_cannot_correct_stays_as_cut(images):
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, name="maker")(image)
    x = layers.Conv2DTranspose(4, 3, name="reader")(x)
    model = keras.Model(image, x)
    graph = tgp.LayerGraph.from_model(model)
    plan = tgp.PruningPlan.from_keep_ratios(graph, {"maker": 0.5})
    fitted = reconstruct(model, plan, (images, np.zeros(64)))
    np.testing.assert_array_equal(fitted.predict(images), tgp.prune(model, plan).predict(images))


@pytest.mark.parametrize("named", [False, True])
def test_several_inputs_are_taken_as_the_model_takes_them(named):
    image, hint = keras.Input((8, 8, 3), name="picture"), keras.Input((2,), name="hint")
    x = keras.layers.Conv2D(8, 3, name="first")(image)
    x = keras.layers.Conv2D(4, 3, name="second")(x)
    x = keras.layers.Concatenate()([keras.layers.Flatten()(x), keras.layers.Dense(3)(hint)])
    model = keras.Model([image, hint], keras.layers.Dense(5)(x))
    random = np.random.default_rng(0)
    x = {"hint": random.normal(size=(64, 2)), "picture": random.normal(size=(64, 8, 8, 3))}
    data = (x if named else [x["picture"], x["hint"]]), np.zeros(64)
    plan = tgp.PruningPlan.from_keep_ratios(tgp.LayerGraph.from_model(model), 0.5)
    fitted = tgp.reconstruct(model, plan, data)
    given = [x["picture"], x["hint"]]
    error = [
        np.square(each.predict(given, verbose=0) - model.predict(given, verbose=0)).mean()
        for each in (fitted, tgp.prune(model, plan))
    ]
    assert error[0] < 0.8 * error[1]


def test_a_layer_with_a_batchnorm_for_each_call_is_corrected_without_a_constant():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", name="first")(image)
    shared = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="shared")
    for number in (1, 2):
        x = keras.layers.BatchNormalization(name=f"bn{number}")(shared(x))
    model = keras.Model(image, keras.layers.Dense(5)(keras.layers.Flatten()(x)))
    random = np.random.default_rng(0)
    for number in (1, 2):
        mean = model.get_layer(f"bn{number}").moving_mean
        mean.assign(random.normal(size=8))
    plan = tgp.PruningPlan.from_keep_ratios(tgp.LayerGraph.from_model(model), 0.5)
    fitted = tgp.reconstruct(model, plan, (random.normal(size=(64, 8, 8, 3)), np.zeros(64)))
    cut = tgp.prune(model, plan)
    for number in (1, 2):
        left, right = (m.get_layer(f"bn{number}").moving_mean.numpy() for m in (fitted, cut))
        np.testing.assert_array_equal(left, right)
    kernels = [m.get_layer("shared").kernel.numpy() for m in (fitted, cut)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"examples": 0}, "examples"), ({"points": 0}, "points"), ({"ridge": 0.0}, "ridge")],
)
def test_refused(images, arguments, message):
    model = _network(_conv)
    plan = tgp.PruningPlan.from_keep_ratios(tgp.LayerGraph.from_model(model), 0.5)
    with pytest.raises(tgp.UserError, match=message):
        reconstruct(model, plan, (images, np.zeros(64)), **arguments)
