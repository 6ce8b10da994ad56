"""Small networks of Keras 3, by name: layers, ops, sharing, nesting, several inputs and outputs."""

import keras
import numpy as np
from keras import layers, ops

IMAGE = (8, 8, 4)


def conv(filters=6, size=3, **settings):
    return layers.Conv2D(filters, size, padding="same", **settings)


def classifier(x):
    return layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x))


def sequential():
    return keras.Sequential(
        [keras.Input(IMAGE), conv(), layers.BatchNormalization(), layers.ReLU(6.0),
         layers.MaxPooling2D(), layers.Flatten(), layers.Dropout(0.5), layers.Dense(3)],
    )  # fmt: skip


def residual():
    x = keras.Input(IMAGE)
    y = conv(activation="relu")(x)
    z = layers.BatchNormalization(axis=-1, epsilon=1e-2)(conv(use_bias=False)(y))
    return keras.Model(x, classifier(layers.Add()([y, z])))


def ops_arithmetic():
    x = keras.Input(IMAGE)
    y = conv()(x)
    z = (y * 2.0 + 1 - y / 3) ** 2
    z = ops.sqrt(ops.maximum(z, 0.5)) - ops.exp(-ops.abs(y)) + 1.5 * ops.tanh(y)
    return keras.Model(x, ops.clip(z, -1.0, 2.0))


def ops_shapes():
    x = keras.Input(IMAGE)
    first, second, third = ops.split(conv()(x), 3, axis=-1)
    y = ops.concatenate([third, first * 2, second], axis=-1)[:, ::2, 1:, 1:5]
    y = ops.pad(y, [[0, 0], [1, 0], [0, 1], [0, 0]], constant_values=0.5)
    y = ops.transpose(ops.reshape(y, (-1, 5, 8, 2, 2)), (0, 1, 2, 4, 3))
    y = ops.squeeze(ops.expand_dims(ops.reshape(y, (-1, 5, 8, 4)), (1, -1)), 1)
    y = ops.moveaxis(ops.swapaxes(y, 1, 2), -1, 1)
    return keras.Model(x, ops.mean(y, axis=(2,), keepdims=True) + ops.sum(y, axis=-2).shape[-1])


def split_at_indices():
    x = keras.Input(IMAGE)
    parts = ops.split(conv()(x), [1, 4], axis=-1)
    return keras.Model(x, [ops.stack([p[..., 0] for p in parts], axis=1), ops.var(parts[1], -1)])


def activations():
    x = keras.Input(IMAGE)
    y = conv(activation="hard_silu")(x)
    y = layers.Activation("leaky_relu")(conv(activation="gelu")(y))
    y = layers.LeakyReLU(negative_slope=0.1)(conv(activation="silu")(y))
    y = layers.PReLU(shared_axes=[1, 2])(layers.ELU(0.5)(y)) + layers.ReLU(negative_slope=0.2)(y)
    y = ops.silu(y) + ops.gelu(y) + ops.relu6(y) + ops.hard_sigmoid(y) + ops.softmax(y, axis=-1)
    y = ops.elu(y) + ops.leaky_relu(y) + ops.selu(y) + ops.hard_silu(y) + ops.softplus(y)
    return keras.Model(x, layers.Activation("hard_sigmoid")(y))


def separable():
    x = keras.Input(IMAGE)
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)
    y = layers.SeparableConv2D(5, 3, activation="relu6")(y)
    y = layers.Conv2D(10, 3, groups=5, dilation_rate=2)(layers.UpSampling2D(2)(y))
    return keras.Model(x, layers.Conv2DTranspose(4, 3, strides=2, padding="same")(y))


def one_and_three_dimensions():
    x = keras.Input((4, 6, 6, 2))
    y = layers.AveragePooling3D(2)(layers.Conv3D(4, 2, padding="same")(x))
    y = layers.Reshape((18, 4))(y)
    y = layers.MaxPooling1D(2)(layers.SeparableConv1D(6, 3, padding="same")(y))
    y = layers.Conv1D(5, 3, padding="causal")(layers.ZeroPadding1D(1)(y))
    return keras.Model(x, layers.Permute((2, 1))(layers.Cropping1D(1)(y)))


def norms():
    x = keras.Input(IMAGE)
    y = layers.Rescaling(0.5, offset=-1.0)(x)
    y = layers.Normalization(axis=-1, mean=[0.1, 0.2, 0.3, 0.4], variance=[1, 2, 3, 4])(y)
    y = layers.GroupNormalization(3)(conv()(y))
    return keras.Model(x, layers.UnitNormalization()(layers.LayerNormalization()(y)))


def merges():
    x = keras.Input(IMAGE)
    a, b = conv()(x), conv()(x)
    every = [layers.Subtract()([a, b]), layers.Multiply()([a, b]), layers.Average()([a, b]),
             layers.Maximum()([a, b]), layers.Minimum()([a, b])]  # fmt: skip
    y = layers.Concatenate()([layers.Dropout(0.1)(e) for e in every])
    return keras.Model(x, layers.Dot(axes=1)([layers.GlobalMaxPooling2D()(y)] * 2))


def shared():
    x, y = keras.Input(IMAGE, name="left"), keras.Input(IMAGE, name="right")
    layer = conv(name="shared")
    return keras.Model([x, y], classifier(layer(x) - layer(layers.Identity()(y))))


def nested():
    inner = keras.Sequential(
        [keras.Input(IMAGE), conv(4), layers.BatchNormalization()], name="inner"
    )
    i = keras.Input(IMAGE)
    middle = keras.Model(i, [inner(i), inner(inner(i))], name="middle")
    x = keras.Input(IMAGE)
    first, second = middle(middle(x)[1])
    return keras.Model(x, classifier(first + second))


def dictionaries():
    x = {"image": keras.Input(IMAGE, name="image"), "side": keras.Input((5,), name="side")}
    y = layers.Dense(6)(x["side"])
    z = conv()(x["image"]) * ops.expand_dims(ops.expand_dims(y, 1), 1)
    return keras.Model(x, {"class": classifier(z), "side": y})


def attention():
    x = keras.Input((6, 8))
    y = layers.MultiHeadAttention(2, 4)(x, x) + x
    y = layers.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d")(y)
    return keras.Model(x, layers.TimeDistributed(layers.Dense(3))(y))


def recurrent():
    x = keras.Input((6, 8))
    y = layers.GRU(4, return_sequences=True)(layers.LSTM(5, return_sequences=True)(x))
    return keras.Model(x, layers.SimpleRNN(3)(y))


def embedded():
    x = keras.Input((7,), dtype="int32")
    return keras.Model(x, layers.GlobalAveragePooling1D()(layers.Embedding(20, 4)(x)))


def regularized_and_frozen():
    x = keras.Input(IMAGE)
    y = conv(kernel_regularizer=keras.regularizers.L2(1e-3), kernel_constraint="max_norm")(x)
    frozen = layers.BatchNormalization(trainable=False, name="frozen")
    return keras.Model(x, classifier(frozen(y)))


NETWORKS = (
    sequential, residual, ops_arithmetic, ops_shapes, split_at_indices, activations, separable,
    one_and_three_dimensions, norms, merges, shared, nested, dictionaries, attention, recurrent,
    embedded, regularized_and_frozen,
)  # fmt: skip


def randomized(model, seed=0):
    """The model with random weights of a usual size, moving statistics included."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name in ("gamma", "variance", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "bias", "mean", "moving_mean", "alpha"):
            weight.assign(random.normal(0, 0.1, weight.shape))
        elif weight.name != "count":
            scale = np.sqrt(2 / max(1, np.prod(weight.shape[:-1])))
            weight.assign(random.normal(0, scale, weight.shape))
    return model


def examples(model, count=3, seed=1):
    """Random inputs in the model's structure."""
    random = np.random.default_rng(seed)

    def draw(tensor):
        shape = (count, *tensor.shape[1:])
        if tensor.dtype == "int32":
            return random.integers(0, 20, shape).astype("int32")
        return random.normal(size=shape).astype("float32")

    struct = getattr(model, "_functional", model)._inputs_struct
    return keras.tree.map_structure(draw, struct)
