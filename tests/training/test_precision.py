"""Mixed precision: 16 bits inside, float32 weights and outputs."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tests.network_layers import Block
from tests.networks import build, inputs_for, randomise
from tfgraphprune.pruning.masking import copy_model
from tfgraphprune.training.data import load_digits
from tfgraphprune.training.distill import Distiller
from tfgraphprune.training.precision import in_precision, scaled_optimizer


@contextlib.contextmanager
def policy_scope(name):
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


@pytest.mark.parametrize("name", ["residual", "depthwise_1", "nested_functional", "se_keepdims"])
def test_a_copy_computes_in_sixteen_bits_on_the_same_weights(name):
    model = build(name)
    copy = in_precision(model, "mixed_bfloat16")
    for left, right in zip(model.weights, copy.weights, strict=True):
        assert right.dtype == tf.float32 == left.dtype
        np.testing.assert_array_equal(left, right)
    assert all(output.dtype == tf.float32 for output in copy.outputs)
    kinds = {layer.compute_dtype for layer in copy._flatten_layers() if layer.weights}
    assert "bfloat16" in kinds


def test_outputs_of_a_nested_model_are_float32_too():
    image = keras.Input((8, 8, 3))
    scores = keras.layers.Dense(4)(keras.layers.Flatten()(image))
    inner = keras.Model(image, scores, name="head")
    start = keras.Input((8, 8, 3))
    model = keras.Model(start, inner(keras.layers.Conv2D(3, 3, padding="same")(start)))
    copy = in_precision(model, "mixed_bfloat16")
    assert copy(np.zeros((1, 8, 8, 3), "float32")).dtype == tf.float32
    data = np.zeros((8, 8, 8, 3), "float32"), np.arange(8) % 4
    settings = {"epochs": 1, "precision": "mixed_bfloat16", "verbose": 0}
    assert len(tgp.finetune(model, data, teacher=model, **settings)) == 1


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_training_learns_and_the_model_stays_float32(precision, digits_model):
    x, y = load_digits(0).train
    model = keras.models.clone_model(digits_model)
    rows = tgp.finetune(
        model, (x, y), epochs=3, teacher=digits_model, precision=precision, batch_size=32, verbose=0
    )
    assert rows[-1]["accuracy"] > 0.7
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert (model.predict(x, verbose=0).argmax(-1) == y).mean() > 0.5


def test_refused(digits_model, digits):
    with pytest.raises(tgp.UserError, match="precision must be one of"):
        tgp.finetune(digits_model, digits.train, precision="float64")
    model = keras.models.clone_model(digits_model)
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(tgp.UserError, match="were not compiled"):
        tgp.finetune(model, digits.train, precision="mixed_bfloat16")


def test_losses_are_scaled_for_models_that_were_built_in_float16():
    start = keras.Input((4,))
    hidden = keras.layers.Dense(3, dtype="mixed_float16")(start)
    half = keras.Model(start, keras.layers.Activation("linear", dtype="float32")(hidden))
    whole = keras.Model(start, keras.layers.Dense(3)(start))
    scaling = keras.mixed_precision.LossScaleOptimizer
    assert not isinstance(scaled_optimizer(keras.optimizers.SGD(), whole), scaling)
    scaled = scaled_optimizer(keras.optimizers.SGD(), half)
    assert isinstance(scaled, scaling) and scaled_optimizer(scaled, half) is scaled


@pytest.mark.parametrize("copied", [copy_model, lambda model: in_precision(model, "float32")])
def test_what_is_frozen_inside_of_a_layer_stays_so_in_copies(copied):
    start = keras.Input((4, 4, 8))
    block = Block(8, name="block")
    model = randomise(keras.Model(start, keras.layers.Conv2D(3, 1)(block(start))))
    block.convs[0].trainable = False  # comes after the other one in the order of weights now
    copy = copied(model)
    x = inputs_for(model)
    np.testing.assert_allclose(copy(x), model(x), atol=1e-5)
    assert [w.shape for w in copy.trainable_weights] == [w.shape for w in model.trainable_weights]
    inner = copy.get_layer("block")
    assert inner.convs[1].trainable and not inner.convs[0].trainable


def test_a_model_of_the_users_own_sixteen_bits(digits):
    """Not compiled, its outputs in bfloat16; inputs reach its float32 layers as they are."""
    with policy_scope("mixed_bfloat16"):
        image = keras.Input((8, 8, 1))
        x = keras.layers.Rescaling(1.0, dtype="float32")(image)
        seen = keras.Model(image, x)
        x = keras.layers.Dense(10)(keras.layers.Flatten()(x))
        model = keras.Model(image, x)
        rows = tgp.finetune(model, digits.train, epochs=1, teacher=model, verbose=0)
        fine = np.full((1, 8, 8, 1), 1.2345678, "float32")
        taught = Distiller(seen)
        np.testing.assert_array_equal(taught(fine), fine)
    assert np.isfinite(rows[0]["loss"])
