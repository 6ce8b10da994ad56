"""Steps of random networks: layers with weights, normalizations, recurrence, attention."""

from __future__ import annotations

import tensorflow as tf

from tests.random_steps import (
    ALL_RANKS,
    IMAGE,
    SEQUENCE,
    SPATIAL,
    VECTOR,
    VOLUME,
    L,
    blocks_of,
    project,
    step,
)

CONVOLUTIONS = {SEQUENCE: L.Conv1D, IMAGE: L.Conv2D, VOLUME: L.Conv3D}
TRANSPOSED = {SEQUENCE: L.Conv1DTranspose, IMAGE: L.Conv2DTranspose, VOLUME: L.Conv3DTranspose}
SEPARABLE = {SEQUENCE: L.SeparableConv1D, IMAGE: L.SeparableConv2D}
DEPTHWISE = {SEQUENCE: L.DepthwiseConv1D, IMAGE: L.DepthwiseConv2D}


def activation(draw):
    return draw.sampled_from(["linear", "relu", "sigmoid", "swish", "gelu"])


@step([SEQUENCE], "Conv1D", likely=2)
@step([IMAGE], "Conv2D", likely=2)
@step([VOLUME], "Conv3D", likely=2)
def convolution(draw, x):
    layer = CONVOLUTIONS[len(x.shape)]
    strides = draw.sampled_from([1, 2])
    dilation = draw.sampled_from([1, 2]) if strides == 1 else 1
    size = draw.sampled_from([1, 2, 3])
    padding = "same" if dilation * size > 2 else "valid"
    x = layer(
        draw.integers(2, 8),
        size,
        strides,
        padding,
        dilation_rate=dilation,
        activation=activation(draw),
        use_bias=draw.booleans(),
    )(x)
    return draw.see(layer.__name__, x)


@step([SEQUENCE], "Conv1DTranspose", likely=2)
@step([IMAGE], "Conv2DTranspose", likely=2)
@step([VOLUME], "Conv3DTranspose", likely=2)
def transposed(draw, x):
    layer = TRANSPOSED[len(x.shape)]
    size, strides = draw.integers(1, 3), draw.integers(1, 2)
    padding = draw.sampled_from(["same", "valid"])
    x = layer(draw.integers(2, 8), size, strides, padding, activation=activation(draw))(x)
    return draw.see(layer.__name__, x)


@step([SEQUENCE], "SeparableConv1D", likely=2)
@step([IMAGE], "SeparableConv2D", likely=2)
def separable(draw, x):
    layer = SEPARABLE[len(x.shape)]
    multiplier = draw.integers(1, 3)
    y = layer(draw.integers(2, 8), 3, padding="same", depth_multiplier=multiplier)(x)
    return draw.see(layer.__name__, y)


@step([SEQUENCE], "DepthwiseConv1D", "DepthwiseConv1D, multiplier above 1", likely=3)
@step([IMAGE], "DepthwiseConv2D", "DepthwiseConv2D, multiplier above 1", likely=3)
def depthwise(draw, x):
    layer = DEPTHWISE[len(x.shape)]
    multiplier = draw.integers(1, 3)
    x = layer(3, padding="same", depth_multiplier=multiplier, activation=activation(draw))(x)
    if multiplier > 1:
        draw.see(f"{layer.__name__}, multiplier above 1", x)
    return draw.see(layer.__name__, x)


@step([SEQUENCE], "grouped Conv1D", likely=2)
@step([IMAGE], "grouped Conv2D", likely=2)
def grouped(draw, x):
    groups = draw.integers(2, 4)
    x = blocks_of(draw, x, groups)
    layer = CONVOLUTIONS[len(x.shape)]
    x = layer(groups * draw.integers(1, 3), 3, padding="same", groups=groups)(x)
    return draw.see(f"grouped {layer.__name__}", x)


@step([SEQUENCE, IMAGE], "groups == channels", likely=2)
def grouped_fully(draw, x):
    channels = x.shape[-1]
    layer = CONVOLUTIONS[len(x.shape)]
    x = layer(channels * draw.integers(1, 2), 3, padding="same", groups=channels)(x)
    return draw.see("groups == channels", x)


@step(ALL_RANKS, "Dense", likely=2)
def dense(draw, x):
    return draw.see("Dense", L.Dense(draw.integers(2, 8), activation=activation(draw))(x))


@step(ALL_RANKS, "BatchNormalization", likely=2)
def batch_norm(draw, x):
    x = L.BatchNormalization(scale=draw.booleans())(x)
    return L.Activation(activation(draw))(draw.see("BatchNormalization", x))


@step(ALL_RANKS, "LayerNormalization", likely=2)
def layer_norm(draw, x):
    y = L.LayerNormalization(center=draw.booleans(), scale=draw.booleans())(x)
    return draw.see("LayerNormalization", y)


@step(SPATIAL, "GroupNormalization", likely=2)
def group_norm(draw, x):
    groups = draw.sampled_from([1, 2, 3, -1])
    x = x if groups == -1 else blocks_of(draw, x, groups)
    return draw.see("GroupNormalization", L.GroupNormalization(groups)(x))


@step(SPATIAL, "PReLU, shared spatial axes", shared=True, likely=2)
@step(ALL_RANKS, "PReLU, own for each position", shared=False, likely=2)
def prelu(draw, x, shared):
    if shared:
        y = L.PReLU(shared_axes=list(range(1, len(x.shape) - 1)))(x)
        return draw.see("PReLU, shared spatial axes", y)
    return draw.see("PReLU, own for each position", L.PReLU()(x))


@step(ALL_RANKS, "activation layer", likely=2)
def activations(draw, x):
    layer = draw.sampled_from([L.ReLU(6.0), L.LeakyReLU(0.2), L.ELU(), L.Softmax(1)])
    if isinstance(layer, L.Softmax) and len(x.shape) == VECTOR:
        layer = L.Activation("softplus")
    return draw.see("activation layer", L.Dropout(0.3)(layer(x)))


@step([SEQUENCE], "MultiHeadAttention, self", likely=2, cross=False)
@step([SEQUENCE], "MultiHeadAttention, cross", likely=2, cross=True)
def attention(draw, x, cross):
    heads, size = draw.integers(1, 3), draw.integers(2, 4)
    value = draw.sampled_from([None, 3])
    shape = draw.sampled_from([None, draw.integers(2, 8)])
    layer = L.MultiHeadAttention(
        heads, size, value, output_shape=shape, use_bias=not draw.booleans()
    )
    if not cross:
        y = draw.see("MultiHeadAttention, self", layer(x, x))
    else:
        memory = project(draw, L.MaxPooling1D(2)(x))
        arguments = {"key": project(draw, memory)} if draw.booleans() else {}
        y = draw.see("MultiHeadAttention, cross", layer(x, memory, **arguments))
    return L.Add()([x, y]) if shape is None and draw.booleans() else y


@step([SEQUENCE], "LSTM", "recurrent, last state only", likely=2, cell=L.LSTM)
@step([SEQUENCE], "GRU", likely=2, cell=L.GRU)
@step([SEQUENCE], "SimpleRNN", likely=2, cell=L.SimpleRNN)
def recurrent(draw, x, cell):
    sequences = draw.booleans()
    y = draw.see(cell.__name__, cell(draw.integers(3, 8), return_sequences=sequences)(x))
    return y if sequences else draw.see("recurrent, last state only", y)


@step([SEQUENCE], "Bidirectional, concat", likely=2, merge="concat")
@step([SEQUENCE], "Bidirectional, sum", likely=2, merge="sum")
def bidirectional(draw, x, merge):
    cell = draw.sampled_from([L.LSTM, L.GRU, L.SimpleRNN])
    inner = cell(draw.integers(3, 6), return_sequences=draw.booleans())
    return draw.see(f"Bidirectional, {merge}", L.Bidirectional(inner, merge_mode=merge)(x))


@step([VOLUME], "TimeDistributed(Conv2D)", likely=2)
def each_frame(draw, x):
    inner = L.Conv2D(draw.integers(3, 8), 2, padding="same", activation="relu")
    return draw.see("TimeDistributed(Conv2D)", L.TimeDistributed(inner)(x))


@step([SEQUENCE, IMAGE], "TimeDistributed(Dense)", likely=2)
def each_moment(draw, x):
    inner = L.Dense(draw.integers(3, 8), activation="tanh")
    return draw.see("TimeDistributed(Dense)", L.TimeDistributed(inner)(x))


@step(SPATIAL, "pooling", likely=2)
def pool(draw, x):
    pools = {
        SEQUENCE: [L.MaxPooling1D, L.AveragePooling1D],
        IMAGE: [L.MaxPooling2D, L.AveragePooling2D],
        VOLUME: [L.MaxPooling3D, L.AveragePooling3D],
    }
    layer = draw.sampled_from(pools[len(x.shape)])
    x = layer(2, draw.sampled_from([1, 2]), draw.sampled_from(["valid", "same"]))(x)
    return draw.see("pooling", x)


@step(SPATIAL, "ZeroPadding", likely=2, kind="ZeroPadding")
@step(SPATIAL, "Cropping", likely=2, kind="Cropping")
@step(SPATIAL, "UpSampling", likely=2, kind="UpSampling")
def resized(draw, x, kind):
    size = len(x.shape) - 2
    layer = getattr(L, f"{kind}{size}D")
    if kind == "UpSampling":
        return draw.see(kind, layer(2)(x))
    sides = [(draw.integers(0, 1), draw.integers(0, 1)) for _ in range(size)]
    if kind == "Cropping":
        sides = [(a, b) if n > 2 else (0, b) for (a, b), n in zip(sides, x.shape[1:], strict=False)]
    return draw.see(kind, layer(sides[0] if size == 1 else tuple(sides))(x))


@step([IMAGE], "tf.image.resize", likely=3)
def image_resize(draw, x):
    size, method = [draw.integers(3, 8), 6], draw.sampled_from(["nearest", "bilinear"])
    return draw.see("tf.image.resize", tf.image.resize(x, size, method))
