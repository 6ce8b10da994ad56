"""A residual network with depthwise convolutions, trained once, and its files."""

import pytest
import tf_keras as keras

import tfgraphprune as tgp


def residual_network():
    """Convolution, inverted residual block, strided convolution: what phones run."""
    layers = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(image)
    x = stem = layers.ReLU(6.0, name="stem_relu")(layers.BatchNormalization(name="stem_bn")(x))
    x = layers.Conv2D(32, 1, use_bias=False, name="expand")(x)
    x = layers.ReLU(6.0, name="expand_relu")(layers.BatchNormalization(name="expand_bn")(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.ReLU(6.0, name="depthwise_relu")(layers.BatchNormalization(name="depthwise_bn")(x))
    x = layers.Conv2D(16, 1, use_bias=False, name="project")(x)
    x = layers.Add(name="add")([stem, layers.BatchNormalization(name="project_bn")(x)])
    x = layers.Conv2D(32, 3, strides=2, activation="relu", name="strided")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(10, name="logits")(x), name="residual")


@pytest.fixture(scope="session")
def network(digits):
    """The residual network, trained on the digits; not to be changed by a test."""
    keras.utils.set_random_seed(0)
    model = residual_network()
    settings = {"epochs": 15, "optimizer": "adam", "batch_size": 32, "verbose": 0}
    tgp.finetune(model, digits.train, **settings)
    return model


@pytest.fixture(scope="session")
def files(network, digits, tmp_path_factory):
    """A report of each kind of file that needs no extra."""
    folder = tmp_path_factory.mktemp("tflite")
    kinds = ("float32", "float16", "dynamic_range", "int8", "int16x8")
    return {
        kind: tgp.export_tflite(
            network,
            folder / f"{kind}.tflite",
            quantization=kind,
            representative_data=digits.train,
            labels=[f"digit {each}" for each in range(10)],
            normalization={"scale": 1 / 16},
        )
        for kind in kinds
    }
