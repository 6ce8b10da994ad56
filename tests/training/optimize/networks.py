"""Small networks for digits, one of every kind that tfmot takes, half takes or refuses."""

import functools

import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.models import digits_cnn
from tfgraphprune.training.data import load_digits

L = keras.layers
IMAGE = (8, 8, 1)


@keras.saving.register_keras_serializable("tests")
class Offset(keras.layers.Layer):
    """A layer with a weight of its own, which no library knows."""

    def build(self, input_shape):
        self.offset = self.add_weight("offset", (input_shape[-1],), initializer="zeros")

    def call(self, inputs):
        return inputs + self.offset


class Block(keras.layers.Layer):
    """A layer made of layers."""

    def __init__(self, filters, **settings):
        super().__init__(**settings)
        self.filters = filters
        self.conv = L.Conv2D(filters, 3, padding="same", use_bias=False, name="conv")
        self.norm, self.relu = L.BatchNormalization(name="norm"), L.ReLU(name="relu")

    def call(self, inputs, training=None):
        return self.relu(self.norm(self.conv(inputs), training=training))

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


def conv(x, filters, name, size=3, strides=1, activation="relu"):
    x = L.Conv2D(filters, size, strides, "same", use_bias=False, name=name)(x)
    x = L.BatchNormalization(name=f"{name}_bn")(x)
    return L.Activation(activation, name=f"{name}_act")(x) if activation else x


def network(body, activation=None):
    start = keras.Input(IMAGE, name="image")
    x = L.GlobalAveragePooling2D(name="pool")(body(conv(start, 16, "stem")))
    return keras.Model(start, L.Dense(10, activation, name="logits")(x))


def resnet(shortcut):
    def body(x):
        for stage, width in enumerate((16, 24)):
            name = f"s{stage}"
            y = conv(x, width, f"{name}_conv1", strides=stage + 1)
            y = conv(y, width, f"{name}_conv2", activation=None)
            if stage and shortcut == "A":
                x = tf.pad(x[:, ::2, ::2, :], [[0, 0], [0, 0], [0, 0], [4, 4]])
            elif stage:
                x = conv(x, width, f"{name}_short", 1, 2, activation=None)
            x = L.ReLU(name=f"{name}_relu")(L.Add(name=f"{name}_add")([x, y]))
        return x

    return network(body)


def inverted_residual():
    def body(x):
        y = conv(x, 48, "expand", 1)
        y = L.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(y)
        y = L.ReLU(6.0, name="depthwise_act")(L.BatchNormalization(name="depthwise_bn")(y))
        return L.Add(name="add")([x, conv(y, 16, "project", 1, activation=None)])

    return network(body)


def concat():
    def body(x):
        a, b = conv(x, 8, "left"), L.Conv2D(8, 1, name="right")(x)
        c = L.MaxPooling2D(2, 1, "same", name="pooled")(x)
        return conv(L.Concatenate(name="joined")([a, b, c]), 16, "after")

    return network(body)


def squeeze_excite():
    def body(x):
        s = L.Dense(8, "relu", name="squeeze")(L.GlobalAveragePooling2D(name="squeezed")(x))
        s = L.Reshape((1, 1, 16), name="shaped")(L.Dense(16, "sigmoid", name="excite")(s))
        return conv(L.Multiply(name="scaled")([x, s]), 24, "after")

    return network(body)


def preactivation():
    def body(x):
        y = L.ReLU(name="pre_relu")(L.BatchNormalization(name="pre_bn")(x))
        x = L.Add(name="add")([x, L.Conv2D(16, 3, padding="same", name="conv")(y)])
        return conv(x, 24, "after")

    return network(body)


def nested():
    inner = keras.Sequential(
        [keras.Input((8, 8, 16)), L.Conv2D(16, 3, padding="same", name="conv"), L.ReLU(name="relu")]
    )
    inner._name = "inner"
    return network(lambda x: Block(20, name="block")(inner(inner(x))))


def oddities():
    def body(x):
        x = L.Rescaling(2.0, name="rescaled")(Offset(name="own")(x))
        x = L.Lambda(lambda t: t * 0.5, name="lambda")(x)
        x = L.Conv2D(16, 3, activation="elu", padding="same", name="elu")(x)
        return L.SeparableConv2D(16, 3, activation="relu", name="separable")(x)

    return network(body)


def plain():
    """Convolutions with a ReLU after them and no BatchNorm between; probabilities at the end."""

    def body(x):
        for number in range(2):
            x = L.ReLU(name=f"relu{number}")(L.Conv2D(16, 3, name=f"conv{number}")(x))
        return x

    return network(body, "softmax")


NETWORKS = {
    "digits": digits_cnn,
    "resnet_a": lambda: resnet("A"),
    "resnet_b": lambda: resnet("B"),
    "inverted_residual": inverted_residual,
    "concat": concat,
    "squeeze_excite": squeeze_excite,
    "preactivation": preactivation,
    "nested": nested,
    "oddities": oddities,
    "plain": plain,
}


@functools.cache
def trained(name):
    """The named network after a short training; not to be changed by a test."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model, data = NETWORKS[name](), load_digits(0).train
    settings = {"epochs": 8, "optimizer": "adam", "learning_rate": 0.01, "batch_size": 32}
    tgp.finetune(model, data, **settings, verbose=0)
    return model
