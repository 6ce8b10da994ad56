"""Networks in which a layer is used otherwise than usual: odd settings, constants, masks."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tests.network_layers import around, tokens

L = keras.layers
ROWS = np.random.default_rng(0).normal(size=(1, 6, 8)).astype("float32")


class PreActivation(L.Layer):
    """A block whose `activation` is a layer that it calls first."""

    def __init__(self, filters, **settings):
        super().__init__(**settings)
        self.filters = filters
        self.activation = L.LeakyReLU(0.3)
        self.conv = L.Conv2D(filters, 3, padding="same")

    def call(self, inputs):
        return inputs + self.conv(self.activation(inputs))

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


class Activated(L.Layer):
    """A layer with a weight of its own that calls its activation itself."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.activation = L.ReLU()

    def build(self, input_shape):
        self.scale = self.add_weight("scale", input_shape[-1:])

    def call(self, inputs):
        return self.activation(inputs) * self.scale

    def get_config(self):
        return super().get_config()


class MaskedMean(L.Layer):
    """A mean over what a mask keeps."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.supports_masking = True

    def call(self, inputs, mask=None):
        if mask is None:
            return tf.reduce_mean(inputs, 1)
        share = tf.cast(mask, inputs.dtype)[..., None]
        return tf.reduce_sum(inputs * share, 1) / (tf.reduce_sum(share, 1) + 1e-6)

    def compute_mask(self, inputs, mask=None):
        return None


class MaskedReader(L.Layer):
    """A layer of layers that hands its mask on."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.supports_masking = True
        self.dense, self.lstm = L.Dense(7), L.LSTM(5)

    def call(self, inputs, mask=None):
        return self.lstm(self.dense(inputs), mask=mask)

    def get_config(self):
        return super().get_config()


class Penalised(L.Layer):
    """A layer of layers that adds a loss."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.conv = L.Conv2D(6, 1)

    def call(self, inputs):
        outputs = self.conv(inputs)
        self.add_loss(tf.reduce_mean(tf.square(outputs)))
        return outputs

    def get_config(self):
        return super().get_config()


class OwnLayerNorm(L.LayerNormalization):
    """Keras' own, made in another way."""

    def __init__(self, epsilon=1e-2, **settings):
        super().__init__(epsilon=epsilon, **settings)


def masked_tokens(op):
    """Like `tokens`, but with a mask where a token is 0; the op is given both."""

    def build():
        start = keras.Input((6,), dtype="int32")
        embedding = L.Embedding(10, 8, mask_zero=True, name="embedding")
        x = op(embedding(start), embedding.compute_mask(start))
        return keras.Model(start, L.Dense(3)(x if len(x.shape) == 2 else L.Flatten()(x)))

    return build


def fixed_batch(op):
    """A convolution, the op, a convolution and a classifier, on four images at once."""

    def build():
        start = keras.Input((6, 6, 3), batch_size=4)
        x = L.Conv2D(4, 1)(op(L.Conv2D(6, 3, activation="relu")(start)))
        return keras.Model(start, L.Dense(3)(L.Flatten()(x)))

    return build


def outer_product():
    start = keras.Input((6,))
    left, right = (L.Dense(n, "relu")(L.Dense(7, "relu")(start)) for n in (5, 4))
    x = L.Flatten()(left[:, :, None] * right[:, None, :])
    return keras.Model(start, L.Dense(3)(L.Dense(6, "relu")(x)))


def gated_heads():
    """Attention by hand, whose queries have a gate for each head."""
    start = keras.Input((6, 8))

    def heads(size):
        return tf.reshape(L.Dense(4 * size)(start), [-1, 6, 4, size])

    query, key, value = heads(3) * heads(1), heads(3), heads(3)
    query, key, value = (tf.transpose(x, [0, 2, 1, 3]) for x in (query, key, value))
    x = tf.matmul(tf.nn.softmax(tf.matmul(query, key, transpose_b=True)), value)
    x = tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [-1, 6, 12])
    return keras.Model(start, L.Dense(3)(L.Flatten()(L.Dense(8)(x))))


def tied():
    start = keras.Input((6,), dtype="int32")
    embedding = L.Embedding(10, 8, name="embedding")
    x = L.Dense(8)(L.Dense(5, "relu")(embedding(start)))
    return keras.Model(start, tf.matmul(x, embedding.embeddings, transpose_b=True))


def constant_state():
    start = keras.Input((6, 3), batch_size=4)
    x = L.LSTM(5)(L.Dense(7)(start), initial_state=[tf.ones((4, 5))] * 2)
    return keras.Model(start, L.Dense(3)(x))


def vocabulary():
    start = keras.Input((4,), dtype="int64")
    lookup = L.IntegerLookup(vocabulary=np.arange(9))
    x = L.Dense(4, "relu")(L.Embedding(12, 6)(lookup(start)))
    return keras.Model(start, L.Dense(3)(L.Flatten()(x)))


def _swapped(x):
    """Like a channel shuffle by its shapes, but height and width change places too."""
    x = tf.transpose(tf.reshape(x, [-1, 8, 8, 2, 3]), [0, 2, 1, 4, 3])
    return tf.reshape(x, [-1, 8, 8, 6])


def _two_directions(backward):
    return lambda x: L.Bidirectional(L.LSTM(4), backward_layer=backward(go_backwards=True))(x)


ALL = {
    "a block's own activation": around(PreActivation(6)),
    "a layer's own activation": around(Activated()),
    "a cell's activation": tokens(lambda x: L.LSTM(6, activation=L.LeakyReLU(0.3))(x)),
    "a cell's softmax": tokens(lambda x: L.Bidirectional(L.GRU(6, activation=L.Softmax()))(x)),
    "an activation in a wrapper": tokens(
        lambda x: L.TimeDistributed(L.Dense(7, activation=L.Softmax()))(x)
    ),
    "weights of an activation in a wrapper": tokens(
        lambda x: L.TimeDistributed(L.Dense(7, activation=L.PReLU()))(x)
    ),
    "a mask for a recurrent layer": masked_tokens(lambda x, mask: L.LSTM(5)(x, mask=mask)),
    "a mask as long as the units": masked_tokens(lambda x, mask: L.LSTM(6)(x, mask=mask)),
    "a mask for a layer of one's own": masked_tokens(lambda x, mask: MaskedMean()(x)),
    "a mask that is handed on": masked_tokens(lambda x, mask: MaskedReader()(x)),
    "an outer product": outer_product,
    "a gate for each head": gated_heads,
    "a constant in a sum": tokens(lambda x: L.Dense(5)(L.Add()([x, tf.constant(ROWS)]))),
    "a constant in a concatenation": fixed_batch(
        lambda x: tf.concat([x, tf.ones((4, 4, 4, 2))], -1)
    ),
    "constant rows": fixed_batch(lambda x: tf.concat([tf.ones((4, 1, 4, 6)), x], 1)),
    "a constant state": constant_state,
    "a constant mask for each head": tokens(
        lambda x: L.MultiHeadAttention(4, 3)(
            x, x, attention_mask=tf.constant(np.tril(np.ones((1, 4, 6, 6), bool)))
        )
    ),
    "no shuffle": around(_swapped),
    "a normalization of one's own": tokens(lambda x: OwnLayerNorm()(L.Dense(7)(x))),
    "a normalization in a wrapper": tokens(
        lambda x: L.TimeDistributed(L.LayerNormalization())(L.Dense(7)(x))
    ),
    "axes in another order": around(L.LayerNormalization(axis=(-1, 1))),
    "constants along rows": around(L.Rescaling(np.arange(1.0, 9).reshape(8, 1).tolist()), 8),
    "statistics along rows": around(
        lambda x: L.Normalization(axis=1, mean=np.arange(8.0), variance=np.arange(1.0, 9))(x), 8
    ),
    "a vocabulary": vocabulary,
    "a loss in a block": around(Penalised()),
    "tied weights": tied,
    "noise of a fixed shape": tokens(
        lambda x: L.Dense(5)(L.Dropout(0.5, noise_shape=(None, 1, 8))(x))
    ),
    "a bias along rows": tokens(
        lambda x: L.EinsumDense("abc,cd->abd", (6, 5), bias_axes="b")(x)
    ),
    "a bias along rows and channels": tokens(
        lambda x: L.Reshape((6, 20))(
            L.EinsumDense("abc,cde->abde", (6, 4, 5), bias_axes="be")(x)
        )
    ),
    "directions of other units": tokens(_two_directions(lambda **s: L.LSTM(5, **s))),
    "directions of other kinds": tokens(_two_directions(lambda **s: L.GRU(4, **s))),
    "a maximum of pairs": around(
        lambda x: tf.nn.max_pool(x, [1, 1, 1, 2], [1, 1, 1, 2], "SAME")
    ),
    "a roll in two steps": around(lambda x: tf.roll(x, [1, 2], [3, 3])),
}  # fmt: skip
"""All are read, and cut where they can be."""
