"""Builders of small networks, one of every kind that the library must cut."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras

L = keras.layers
IMAGE = (8, 8, 3)


def conv_bn_relu(x, filters, size=3, strides=1):
    x = L.Conv2D(filters, size, strides, padding="same", use_bias=False)(x)
    return L.ReLU()(L.BatchNormalization()(x))


def classifier(x, classes=3):
    if len(x.shape) > 2:
        x = L.GlobalAveragePooling2D()(x)
    return L.Dense(classes, name="logits")(x)


def image_model(body, name=None):
    """A model from an image to logits; `body` is what lies between."""
    start = keras.Input(IMAGE)
    return keras.Model(start, classifier(body(start)), name=name)


def plain():
    def body(x):
        x = L.Conv2D(6, 3, activation="relu")(x)
        x = L.MaxPooling2D(2)(conv_bn_relu(x, 8))
        return L.Conv2D(5, 3, activation="swish")(L.Dropout(0.3)(x))

    return image_model(body)


def residual():
    def body(x):
        x = conv_bn_relu(x, 8)
        y = L.BatchNormalization()(L.Conv2D(8, 3, padding="same")(conv_bn_relu(x, 6)))
        return L.ReLU()(L.Add()([x, y]))

    return image_model(body)


def resnet(shortcut: str, blocks: int = 1, widths=(4, 8, 16)):
    """A CIFAR ResNet: option A strides and pads its shortcuts, option B convolves them."""

    def body(x):
        x = L.Conv2D(widths[0], 3, padding="same", use_bias=False, name="stem")(x)
        x = L.ReLU()(L.BatchNormalization(name="stem_bn")(x))
        for stage, width in enumerate(widths, 1):
            for block in range(blocks):
                name, strides = f"s{stage}b{block}", 2 if stage > 1 and not block else 1
                y = L.Conv2D(width, 3, strides, "same", use_bias=False, name=name + "_conv1")(x)
                y = L.ReLU()(L.BatchNormalization()(y))
                y = L.Conv2D(width, 3, padding="same", use_bias=False, name=name + "_conv2")(y)
                y = L.BatchNormalization()(y)
                if strides == 2 and shortcut == "A":
                    extra = width - x.shape[-1]
                    pads = [[0, 0], [0, 0], [0, 0], [extra // 2, extra - extra // 2]]
                    x = tf.pad(x[:, ::2, ::2, :], pads)
                elif strides == 2:
                    x = L.Conv2D(width, 1, 2, use_bias=False, name=name + "_short")(x)
                    x = L.BatchNormalization()(x)
                x = L.ReLU()(L.Add()([x, y]))
        return x

    return image_model(body)


def depthwise(multiplier: int):
    def body(x):
        x = L.Conv2D(6, 3)(x)
        x = L.DepthwiseConv2D(3, depth_multiplier=multiplier, padding="same")(x)
        return L.Conv2D(5, 1)(L.ReLU(6.0)(L.BatchNormalization()(x)))

    return image_model(body)


def separable():
    def body(x):
        x = L.SeparableConv2D(6, 3, depth_multiplier=2, activation="relu")(x)
        return L.SeparableConv2D(8, 3, depth_multiplier=2, use_bias=False)(
            L.BatchNormalization()(x)
        )

    return image_model(body)


def concat_channels():
    def body(x):
        a, b = L.Conv2D(4, 3, padding="same")(x), L.Conv2D(6, 1)(x)
        x = L.BatchNormalization()(L.Concatenate()([a, b, L.MaxPooling2D(2, 1, "same")(a)]))
        return L.Conv2D(5, 3)(tf.concat([x, b], -1))

    return image_model(body)


def concat_space():
    def body(x):
        a, b = L.Conv2D(6, 3, padding="same")(x), L.Conv2D(6, 1)(x)
        return L.Conv2D(5, 3)(L.Concatenate(axis=1)([a, L.ReLU()(b)]))

    return image_model(body)


def squeeze_excite(kind: str):
    """SE blocks as networks write them: Dense and Reshape, `keepdims`, or a new axis."""

    def body(x):
        x = conv_bn_relu(x, 8)
        s = L.GlobalAveragePooling2D(keepdims=kind == "keepdims")(x)
        if kind == "newaxis":
            s = s[:, None, None]
        if kind == "reshape":
            s = L.Dense(8, activation="sigmoid")(L.Dense(4, activation="relu")(s))
            s = L.Reshape((1, 1, 8))(s)
        else:
            s = L.Conv2D(8, 1, activation="sigmoid")(L.Conv2D(4, 1, activation="relu")(s))
        return L.Conv2D(5, 3)(L.Multiply()([x, s]))

    return image_model(body)


def flatten_dense():
    def body(x):
        x = L.Flatten()(L.Conv2D(5, 3, strides=3)(x))
        return L.BatchNormalization()(L.Dense(7, activation="tanh")(x))

    return image_model(body)


def dense_to_image():
    def body(x):
        x = L.Dense(48, activation="gelu")(L.Flatten()(x))
        return L.Conv2D(5, 3)(L.UpSampling2D()(L.Reshape((4, -1, 3))(x)))

    return image_model(body)


def shuffle():
    def body(x):
        x = L.Conv2D(12, 3)(x)
        h, w = x.shape[1:3]
        x = tf.transpose(tf.reshape(x, [-1, h, w, 3, 4]), [0, 1, 2, 4, 3])
        return L.Conv2D(5, 1)(L.BatchNormalization()(tf.reshape(x, [-1, h, w, 12])))

    return image_model(body)


def split_concat():
    def body(x):
        a, b, c = tf.split(L.Conv2D(9, 3)(x), [2, 3, 4], axis=-1)
        a = L.Conv2D(3, 1)(a)
        x = L.Concatenate()([c, a, b])
        return L.Conv2D(5, 1)(L.ReLU()(x[:, :, :, 1:8]))

    return image_model(body)


def slices():
    # They overlap, count from the end, pick a row, or go backwards.
    def body(x):
        x = L.BatchNormalization()(L.Conv2D(9, 3)(x))
        a, b = L.Conv2D(4, 3)(x[..., 1:6]), L.Conv2D(4, 1)(x[:, 1:-1, ::-1][..., -6:])
        row = L.Conv1D(5, 1)(x[:, 1])
        x = L.Concatenate()([L.GlobalMaxPooling2D()(a), L.GlobalMaxPooling2D()(b)])
        return L.Concatenate()([x, L.GlobalMaxPooling1D()(row)])

    return image_model(body)


def arithmetic():
    def body(x):
        a, b = L.Conv2D(6, 3, padding="same")(x), L.Conv2D(6, 1)(x)
        x = tf.nn.relu6(a / 2.0 + 3.0) * b - tf.maximum(a, b)
        x = tf.reduce_mean(1.0 - x, axis=[1, 2], keepdims=True) + x
        return L.Conv2D(5, 3)(tf.pad(x[:, 1:, ::-1], [[0, 0], [1, 0], [0, 1], [0, 0]]))

    return image_model(body)


def flips():
    def body(x):
        x = L.Conv2D(6, 3)(x)
        x = tf.reverse(x, [3]) + L.Conv2D(6, 1)(x)
        return L.Conv2D(5, 1)(L.Permute((2, 1, 3))(L.Cropping2D(1)(L.ZeroPadding2D(2)(x))))

    return image_model(body)


def nested_sequential():
    inner = keras.Sequential(
        [L.Conv2D(5, 3, name="c"), L.BatchNormalization(), L.ReLU(), L.Conv2D(6, 1)], name="block"
    )
    return image_model(lambda x: L.Conv2D(4, 1)(inner(L.Conv2D(7, 3)(x), training=False)))


def nested_functional():
    """Two inputs, two outputs, and a nested model inside the nested model."""
    a, b = keras.Input((6, 6, 4)), keras.Input((6, 6, 5))
    core = keras.Sequential(
        [L.Conv2D(6, 1, activation="relu"), L.BatchNormalization()], name="core"
    )
    joined = core(L.Concatenate()([a, b]))
    inner = keras.Model([a, b], [joined, L.Conv2D(3, 3)(joined)], name="two")

    def body(x):
        left, right = inner([L.Conv2D(4, 3)(x), L.Conv2D(5, 3)(x)])
        left, right = L.GlobalMaxPooling2D()(left), L.GlobalMaxPooling2D()(right)
        return L.Dense(6)(L.Concatenate()([left, right]))

    return image_model(body)


def nested_twice():
    """A nested model with a weightless part of its own, called on two different tensors."""
    start = keras.Input((8, 8, 4))
    x = L.ReLU()(start)
    padded = tf.pad(x, [[0, 0], [0, 0], [0, 0], [1, 1]])
    inner = keras.Model(start, [padded, L.Conv2D(5, 3)(x)], name="twice")

    def body(x):
        a, b = L.Conv2D(4, 3, padding="same")(x), L.Conv2D(4, 1)(x)
        (a, c), (b, d) = inner(a), inner(b)
        a = L.Add()([a, L.Conv2D(6, 1)(x)])
        parts = [L.Conv2D(4, 3)(a), L.Conv2D(3, 3)(b), L.Subtract()([c, d])]
        return L.Conv2D(4, 1)(L.Concatenate()(parts))

    return image_model(body)


def siamese():
    """Two inputs through shared layers, weightless ones included, and two outputs."""
    conv, norm = L.Conv2D(6, 3), L.BatchNormalization()
    pool, fold = L.MaxPooling2D(2), L.Reshape((2, 2, 3))
    starts = [keras.Input(IMAGE), keras.Input(IMAGE)]
    sides = [L.Dense(12)(L.Flatten()(pool(norm(conv(start))))) for start in starts]
    images = [L.Conv2D(4, 1)(fold(side)) for side in sides]
    merged = L.Dense(5)(L.Flatten()(L.Concatenate()(images)))
    return keras.Model(starts, [L.Dense(2, name="a")(merged), L.Dense(3, name="b")(sides[0])])


def dictionaries():
    starts = {"wide": keras.Input((6,)), "narrow": keras.Input((4,))}
    x = L.Concatenate()([L.Dense(5)(starts["wide"]), L.Dense(7)(starts["narrow"])])
    return keras.Model(starts, {"z": L.Dense(3)(x), "a": L.Dense(2)(L.Dense(8)(x))})


def sequence():
    def body(x):
        x = L.Conv1D(6, 3, padding="causal", activation="relu")(L.Reshape((8, 24))(x))
        x = L.SeparableConv1D(8, 3)(L.BatchNormalization()(x))
        return L.GlobalMaxPooling1D()(L.Conv1D(5, 3)(L.MaxPooling1D(2)(x)))

    return image_model(body)


def awkward_names():
    # Layer names that hold the names of weights.
    def body(x):
        x = L.Conv2D(6, 3, name="gamma_bias")(x)
        x = L.BatchNormalization(name="kernel")(x)
        x = L.Conv2D(7, 1, name="moving_variance")(L.ReLU(name="bias")(x))
        return L.DepthwiseConv2D(3, name="beta_kernel")(x)

    return image_model(body)


def with_settings():
    """Initial values of the dense size, frozen layers, a fixed batch, adapted constants."""
    scale = keras.initializers.Constant(np.arange(1.0, 7.0))
    normalise = L.Normalization()
    normalise.adapt(np.random.default_rng(5).normal(3, 2, (16, *IMAGE)))
    start = keras.Input(IMAGE, batch_size=4)
    x = L.Conv2D(6, 3, bias_initializer=scale, trainable=False)(normalise(start))
    x = tf.reshape(L.BatchNormalization(gamma_initializer=scale)(x), [4, 36, 6])
    x = L.Conv1D(5, 1, kernel_regularizer="l2")(tf.squeeze(x[:, :, None], [2]))
    return keras.Model(start, L.Dense(3)(L.GlobalAveragePooling1D()(x)))


_PLAIN = [
    plain, residual, separable, concat_channels, concat_space, flatten_dense, dense_to_image,
    shuffle, split_concat, slices, arithmetic, flips, nested_sequential, nested_functional,
    nested_twice, siamese, dictionaries, sequence, awkward_names, with_settings,
]  # fmt: skip

ALL = {builder.__name__: builder for builder in _PLAIN} | {
    "resnet_a": lambda: resnet("A"),
    "resnet_b": lambda: resnet("B"),
    "depthwise_1": lambda: depthwise(1),
    "depthwise_2": lambda: depthwise(2),
    "se_reshape": lambda: squeeze_excite("reshape"),
    "se_keepdims": lambda: squeeze_excite("keepdims"),
    "se_newaxis": lambda: squeeze_excite("newaxis"),
}
"""Builders of all networks, by name."""
