"""Grouped convolutions in TensorFlow's own kernels: faster, and the same gradients."""

import os
import platform

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.training.grouped import native_groups

layers = keras.layers

HAVE_KERNELS = platform.machine() == "x86_64" and os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0"
KINDS = {
    "plain": ((8, 8, 6), lambda: layers.Conv2D(9, 3, groups=3, padding="same")),
    "strides": ((8, 8, 6), lambda: layers.Conv2D(4, 3, groups=2, strides=2)),
    "dilated": ((8, 8, 6), lambda: layers.Conv2D(4, 3, groups=2, dilation_rate=2)),
    "line": ((8, 6), lambda: layers.Conv1D(4, 3, groups=2, padding="causal")),
    "bfloat16": ((8, 8, 6), lambda: layers.Conv2D(4, 3, groups=2, dtype="mixed_bfloat16")),
    "float16": ((8, 8, 6), lambda: layers.Conv2D(4, 3, groups=2, dtype="mixed_float16")),
    "space": ((4, 4, 4, 6), lambda: layers.Conv3D(4, 3, groups=2, padding="same")),
    "channels first": (
        (6, 8, 8), lambda: layers.Conv2D(4, 3, groups=2, data_format="channels_first"),
    ),
}  # fmt: skip


def _model(kind, nested=False):
    shape, make = KINDS[kind]
    image = keras.Input(shape)
    layer = make()
    layer._name = "grouped"
    model = keras.Model(image, layer(image))
    if nested:
        outer = keras.Input(shape)
        model = keras.Model(outer, layers.ReLU()(model(outer)))
    return model


def _gradients(model, x):
    @tf.function
    def gradients(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.cast(model(x, training=True), tf.float32) + 1))
        return tape.gradient(loss, model.trainable_variables)

    return [np.asarray(g) for g in gradients(x)]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_keras(kind):
    keras.utils.set_random_seed(0)
    model = _model(kind)
    x = np.random.default_rng(0).normal(size=(4, *KINDS[kind][0])).astype("float32")
    expected = _gradients(model, x)
    with native_groups(model):
        found = _gradients(model, x)
    tolerance = 1e-4 if model.layers[-1].compute_dtype == "float32" else 0.02
    for left, right in zip(expected, found, strict=True):
        assert np.abs(left - right).max() <= tolerance * np.abs(left).max()


@pytest.mark.skipif(not HAVE_KERNELS, reason="TensorFlow has no such kernels here")
def test_layers_without_kernels_stay_as_they_are_and_all_do_in_the_end():
    for kind, expected in (("plain", True), ("space", False)):
        model = _model(kind, nested=kind == "plain")
        with native_groups(model) as names:
            assert names == ["grouped"] * expected, kind
        layer = next(m for m in model.submodules if getattr(m, "groups", 1) > 1)
        assert "_jit_compiled_convolution_op" not in vars(layer), kind


@pytest.mark.skipif(not HAVE_KERNELS, reason="TensorFlow has no such kernels here")
def test_fine_tuning_asks_xla_for_none():
    image = keras.Input((8, 8, 6))
    x = layers.ReLU()(layers.Conv2D(6, 3, groups=3)(image))
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    asked = []
    layer = model.layers[1]
    data = np.random.default_rng(0).normal(size=(32, 8, 8, 6)).astype("float32"), np.arange(32) % 2
    before = layer.get_weights()[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            type(layer),
            "_jit_compiled_convolution_op",
            lambda self, *args: asked.append(self) or self.convolution_op(*args),
        )
        model(data[0])
        assert asked
        asked.clear()
        tgp.finetune(model, data, epochs=1, batch_size=8, verbose=0)
    assert not asked
    assert (before != layer.get_weights()[0]).any()


def test_inference_stays_with_keras():
    """TensorFlow fuses convolution, BatchNorm and tanh, and then can't compute them."""
    image = keras.Input((8, 8, 6))
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, groups=3)(image))
    x = layers.GlobalAveragePooling2D()(layers.Activation("tanh")(x))
    model = keras.Model(image, layers.Dense(2)(x))
    data = np.random.default_rng(0).normal(size=(16, 8, 8, 6)).astype("float32"), np.arange(16) % 2
    teacher = keras.models.clone_model(model)
    rows = tgp.finetune(model, data, epochs=1, teacher=teacher, validation_data=data, verbose=0)
    assert np.isfinite(rows[0]["val_accuracy"])
