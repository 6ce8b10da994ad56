"""Small networks around one kind of layer or op each; all their inner channels may be cut."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tests.network_builders import classifier, image_model

L = keras.layers
CONSTANT = np.linspace(0.5, 2, 6, dtype="float32")


class Block(L.Layer):
    """Two convolutions with a shortcut, both called twice."""

    def __init__(self, filters, **settings):
        super().__init__(**settings)
        self.filters = filters
        self.convs = [L.Conv2D(filters, 3, padding="same", activation="relu") for _ in range(2)]
        self.norms = {"only": L.BatchNormalization()}
        self.drop = L.Dropout(0.5)

    def call(self, inputs, training=None):
        x = self.convs[0](inputs)
        x = self.norms["only"](self.convs[1](x), training=training)
        return inputs + self.convs[1](self.convs[0](self.drop(x, training=training)))

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


def around(op, filters: int = 6, rank: int = 2):
    """A convolution, the op, a convolution and a classifier, on a sequence, image or volume."""
    conv = {1: L.Conv1D, 2: L.Conv2D, 3: L.Conv3D}[rank]
    shape = {1: (8, 3), 2: (8, 8, 3), 3: (4, 4, 4, 3)}[rank]

    def build():
        start = keras.Input(shape)
        x = op(conv(filters, 3, padding="same", activation="relu", name="maker")(start))
        if len(x.shape) == rank + 2:
            x = L.Flatten()(conv(5, 1, activation="relu", name="reader")(x))
        return keras.Model(start, L.Dense(3, name="logits")(x))

    return build


def tokens(op):
    """An embedding of ten tokens, the op on the sequence, and a classifier."""

    def build():
        start = keras.Input((6,), dtype="int32")
        x = op(L.Embedding(10, 8, name="embedding")(start))
        return keras.Model(start, classifier(x if len(x.shape) == 2 else L.Flatten()(x)))

    return build


def grouped_shuffle():
    """ShuffleNet's unit: a shuffle between grouped convolutions whose blocks it doesn't divide."""

    def body(x):
        x = L.Conv2D(24, 1, activation="relu")(x)
        y = L.Conv2D(12, 1, groups=3)(x)
        y = tf.reshape(y, [-1, 8, 8, 3, 4])
        y = tf.reshape(tf.transpose(y, [0, 1, 2, 4, 3]), [-1, 8, 8, 12])
        y = L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same")(y))
        return L.Add()([x, L.Conv2D(24, 1, groups=3)(y)])

    return image_model(body)


def grouped_concat():
    """Blocks that begin elsewhere in a concatenation."""

    def body(x):
        a = L.Conv2D(8, 1, activation="relu")(x)
        b = L.Conv2D(16, 1, activation="relu")(x)
        return L.Conv2D(9, 3, groups=3)(L.Concatenate()([a, b]))

    return image_model(body)


def self_attention(x):
    """A transformer's block."""
    y = L.LayerNormalization()(x)
    x = L.Add()([x, L.MultiHeadAttention(4, 3)(y, y)])
    y = L.Dense(12, activation="gelu")(L.LayerNormalization()(x))
    return L.Add()([x, L.Dense(8)(y)])


def attention_by_hand(x):
    """Heads as an axis of plain reshapes and products."""
    heads, size = 4, 3

    def split(t):
        return tf.transpose(
            tf.reshape(L.Dense(heads * size)(t), [-1, 6, heads, size]), [0, 2, 1, 3]
        )

    scores = tf.matmul(split(x), split(x), transpose_b=True) * size**-0.5
    y = tf.transpose(tf.matmul(tf.nn.softmax(scores), split(x)), [0, 2, 1, 3])
    return L.Dense(8)(tf.reshape(y, [-1, 6, heads * size]))


def cross_attention():
    start, other = keras.Input((6,), dtype="int32"), keras.Input((5, 4))
    x = L.Embedding(10, 8)(start)
    y = L.Dense(7, activation="relu")(other)
    x = L.MultiHeadAttention(3, 4, value_dim=5, output_shape=9)(x, y)
    return keras.Model([start, other], classifier(L.Flatten()(x)))


def interrupted_shuffle(x):
    """A channel shuffle with something inside, so that its tensors stay what they are."""
    x = tf.nn.relu(tf.reshape(x, [-1, 8, 8, 2, 3]))
    return tf.reshape(tf.transpose(x, [0, 1, 2, 4, 3]), [-1, 8, 8, 6])


def unknown_sizes():
    start = keras.Input((None, None, 3))
    x = L.Conv2D(6, 3, padding="same", activation="relu")(start)
    x = tf.image.flip_left_right(x[:, ::2, ::2, 1:5])
    x = tf.nn.space_to_depth(tf.concat([x, x], -1), 2)
    return keras.Model(start, classifier(L.Conv2D(5, 1)(tf.transpose(x, [0, 2, 1, 3]))))


def shape_read_at_run_time(x):
    return tf.reshape(x, [tf.shape(x)[0], 4, 2, 8, 6])


def channels_first():
    """The layers that TensorFlow runs with the channels first on a CPU."""

    def body(x):
        x = L.Permute((3, 1, 2))(L.Conv2D(6, 3, padding="same")(x))
        x = L.ReLU()(L.BatchNormalization(axis=1)(x))
        x = L.ZeroPadding2D(1, data_format="channels_first")(x)
        x = L.UpSampling2D(2, data_format="channels_first")(x)
        x = L.Cropping2D(1, data_format="channels_first")(x)
        y = L.GlobalAveragePooling2D(data_format="channels_first")(x)
        return L.Dense(5, activation="relu")(y)

    return image_model(body)


def shared_inside_and_outside():
    shared = L.Dense(6, activation="relu", name="shared")
    inner = keras.Input((6,))
    nested = keras.Model(inner, L.Dense(6)(shared(inner)))
    start = keras.Input((6,))
    return keras.Model(start, classifier(nested(shared(L.Dense(6)(start)))))


def nested_at_another_size():
    inner = keras.Input((None, None, 4))
    nested = keras.Model(inner, L.Conv2D(6, 3, padding="same")(tf.nn.relu(inner)), name="nested")

    def body(x):
        x = nested(L.Conv2D(4, 3, padding="same")(x))
        return L.Dense(5)(L.Flatten()(x))

    return image_model(body)


def backbone():
    """Intermediate outputs, which must stay whole."""
    start = keras.Input((8, 8, 3))
    a = L.Conv2D(4, 3, activation="relu")(L.Conv2D(6, 3, activation="relu")(start))
    b = L.Conv2D(5, 3)(L.Conv2D(7, 1, activation="relu")(a))
    return keras.Model(start, {"a": a, "b": b})


def sum_rows(x):
    first, *others = tf.unstack(x, axis=1)
    for other in others:
        first = first + other
    return first


LAYERS = {
    "conv1d": around(lambda x: L.Conv1D(4, 3, padding="causal", activation="relu")(x), rank=1),
    "conv3d": around(lambda x: L.Conv3D(4, 2, activation="relu")(x), rank=3),
    "transposed_1d": around(lambda x: L.Conv1DTranspose(4, 3, 2, activation="relu")(x), rank=1),
    "transposed_2d": around(lambda x: L.Conv2DTranspose(4, 3, 2, "same", activation="relu")(x)),
    "transposed_3d": around(lambda x: L.Conv3DTranspose(4, 2)(x), rank=3),
    "depthwise_1d": around(lambda x: L.DepthwiseConv1D(3, depth_multiplier=2)(x), rank=1),
    "separable_1d": around(lambda x: L.SeparableConv1D(4, 3, depth_multiplier=2)(x), rank=1),
    "grouped": around(lambda x: L.Conv2D(9, 3, groups=3, activation="relu")(x)),
    "grouped_1d": around(lambda x: L.Conv1D(8, 3, groups=2)(x), rank=1),
    "grouped_depthwise": around(lambda x: L.Conv2D(12, 3, groups=6, activation="relu")(x)),
    "grouped_twice": around(lambda x: L.Conv2D(8, 3, groups=4)(L.Conv2D(12, 3, groups=2)(x))),
    "grouped_shuffle": grouped_shuffle,
    "grouped_concat": grouped_concat,
    "layer_norm": around(lambda x: L.LayerNormalization()(x)),
    "layer_norm_all": around(lambda x: L.LayerNormalization(axis=[1, 2, 3])(x)),
    "layer_norm_rows": around(lambda x: L.LayerNormalization(axis=1)(x)),
    "group_norm": around(lambda x: L.GroupNormalization(3)(x)),
    "instance_norm": around(lambda x: L.GroupNormalization(-1)(x)),
    "prelu": around(lambda x: L.PReLU()(x)),
    "prelu_shared": around(lambda x: L.PReLU(shared_axes=[1, 2])(x)),
    "constants": around(lambda x: (x * CONSTANT + CONSTANT[None, None, None]) / 2.0),
    "rescaling": around(lambda x: L.Rescaling(CONSTANT.tolist(), 0.1)(x)),
    "normalization": around(
        lambda x: L.Normalization(mean=CONSTANT.tolist(), variance=CONSTANT.tolist())(x)
    ),
    "normalization_learned": around(lambda x: L.Normalization()(x)),
    "lstm": tokens(lambda x: L.LSTM(5)(L.LSTM(6, return_sequences=True)(x))),
    "gru": tokens(lambda x: L.GRU(5)(L.GRU(6, return_sequences=True, reset_after=False)(x))),
    "simple_rnn": tokens(lambda x: L.SimpleRNN(5)(x)),
    "bidirectional": tokens(
        lambda x: L.Bidirectional(L.GRU(5))(L.Bidirectional(L.LSTM(4, return_sequences=True))(x))
    ),
    "bidirectional_sum": tokens(lambda x: L.Bidirectional(L.LSTM(4), merge_mode="sum")(x)),
    "lstm_state": tokens(lambda x: L.LSTM(5)(x, initial_state=L.LSTM(5, return_state=True)(x)[1:])),
    "time_distributed": around(
        lambda x: L.TimeDistributed(L.Dense(4, activation="relu"))(x), rank=1
    ),
    "time_distributed_conv": around(lambda x: L.TimeDistributed(L.Conv2D(4, 2))(x), rank=3),
    "attention": tokens(self_attention),
    "attention_by_hand": tokens(attention_by_hand),
    "cross_attention": cross_attention,
    "einsum_dense": tokens(lambda x: L.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d")(x)),
    "gather": around(lambda x: tf.gather(x, [4, 0, 1, 4], axis=-1)),
    "roll": around(lambda x: tf.roll(x, [2, 1], [-1, 1])),
    "strided_slice": around(lambda x: tf.concat([x[..., ::2], x[:, :, :, 5:0:-2]], -1)),
    "tf_slice": around(lambda x: tf.slice(x, [0, 0, 0, 1], [-1, 8, 8, 4])),
    "interrupted_shuffle": around(interrupted_shuffle),
    "stack": around(lambda x: tf.reshape(tf.stack([x, -x], -1), [-1, 8, 8, 12])),
    "stack_rows": around(lambda x: tf.stack([x, tf.reverse(x, [-1])], 1)[:, 1]),
    "unstack": around(sum_rows),
    "tile": around(lambda x: tf.tile(x, [1, 1, 2, 2])),
    "repeat": around(lambda x: tf.repeat(tf.repeat(x, 2, axis=1), 3, axis=-1)),
    "space_to_depth": around(lambda x: tf.nn.space_to_depth(x, 2)),
    "pixel_shuffle": around(lambda x: tf.nn.depth_to_space(x, 2), filters=16),
    "resize": around(lambda x: tf.image.resize(x, (5, 5), "bicubic")),
    "resizing": around(lambda x: L.Resizing(4, 6)(x)),
    "crop_and_pad": around(lambda x: L.ZeroPadding2D(2)(L.Cropping2D(1)(L.UpSampling2D()(x)))),
    "mirrored": around(lambda x: tf.image.rot90(tf.image.flip_up_down(x))),
    "squares": around(lambda x: tf.math.rsqrt(tf.square(x) + 1.0) + tf.pow(x, 2)),
    "softmax_rows": around(lambda x: tf.nn.softmax(x, axis=1)),
    "reduce_rows": around(lambda x: tf.reduce_mean(x, [1], keepdims=True) * x),
    "unknown_sizes": unknown_sizes,
    "shape_read_at_run_time": around(shape_read_at_run_time),
    "channels_first": channels_first,
    "nested_at_another_size": nested_at_another_size,
    "backbone": backbone,
}
