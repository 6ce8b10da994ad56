"""Channel groups, against groups worked out by hand; and what must freeze, with its reason."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests import networks
from tfgraphprune.errors import UserError
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning import PruningPlan, masked, prune

L = keras.layers

# Network -> "name size: layers" of each prunable group. Frozen ones are the image and the logits.
EXPECTED = {
    "plain": [
        "conv2d 6: conv2d conv2d_1",
        "conv2d_1 8: conv2d_1 batch_normalization conv2d_2",
        "conv2d_2 5: conv2d_2 logits",
    ],
    "resnet_b": [
        "stem 4: stem stem_bn s1b0_conv1 s1b0_conv2 batch_normalization_1 s2b0_conv1 s2b0_short",
        "s1b0_conv1 4: s1b0_conv1 batch_normalization s1b0_conv2",
        "s2b0_conv1 8: s2b0_conv1 batch_normalization_2 s2b0_conv2",
        "s2b0_conv2 8: s2b0_conv2 batch_normalization_3 s2b0_short batch_normalization_4 "
        "s3b0_conv1 s3b0_short",
        "s3b0_conv1 16: s3b0_conv1 batch_normalization_5 s3b0_conv2",
        "s3b0_conv2 16: s3b0_conv2 batch_normalization_6 s3b0_short batch_normalization_7 logits",
    ],
    "depthwise_2": [
        "conv2d 6: conv2d depthwise_conv2d batch_normalization conv2d_1",
        "conv2d_1 5: conv2d_1 logits",
    ],
    "concat_channels": [
        "conv2d 4: conv2d batch_normalization conv2d_2",
        "conv2d_1 6: conv2d_1 batch_normalization conv2d_2",
        "conv2d_2 5: conv2d_2 logits",
    ],
    "concat_space": ["conv2d_1 6: conv2d conv2d_1 conv2d_2", "conv2d_2 5: conv2d_2 logits"],
    "se_reshape": [
        "conv2d 8: conv2d batch_normalization dense_1 dense conv2d_1",
        "dense_1 4: dense_1 dense",
        "conv2d_1 5: conv2d_1 logits",
    ],
    "flatten_dense": ["conv2d 5: conv2d dense", "dense 7: dense batch_normalization logits"],
    "dense_to_image": ["dense 3: dense conv2d", "conv2d 5: conv2d logits"],
    "shuffle": ["conv2d 4: conv2d batch_normalization conv2d_1", "conv2d_1 5: conv2d_1 logits"],
    "split_concat": [
        "conv2d 2: conv2d conv2d_1",
        "conv2d#5 3: conv2d conv2d_2",
        "conv2d_1 3: conv2d_1 conv2d_2",
        "conv2d_2 5: conv2d_2 logits",
    ],
    "flips": ["conv2d 6: conv2d conv2d_1 conv2d_2", "conv2d_2 5: conv2d_2 logits"],
    "nested_twice": [
        "conv2d_1 4: conv2d_1 conv2d_2 conv2d_3 twice/conv2d conv2d_4 conv2d_5",
        "conv2d_3 2: conv2d_3 conv2d_4 conv2d_5",
        "twice/conv2d 5: twice/conv2d conv2d_6",
        "conv2d_4 4: conv2d_4 conv2d_6",
        "conv2d_5 3: conv2d_5 conv2d_6",
        "conv2d_6 4: conv2d_6 logits",
    ],
    "siamese": [
        "conv2d 6: conv2d batch_normalization dense",
        "dense 3: dense conv2d_1 conv2d_2 b",
        "conv2d_1 4: conv2d_1 dense_1",
        "conv2d_2 4: conv2d_2 dense_1",
        "dense_1 5: dense_1 a",
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_groups_are_those_worked_out_by_hand(name):
    graph = LayerGraph.from_model(networks.build(name))
    found = {f"{g.name} {g.size}": set(g.layers) for g in graph.prunable_groups}
    expected = dict(line.split(": ") for line in EXPECTED[name])
    assert found == {name: set(layers.split()) for name, layers in expected.items()}
    for group in graph.channel_groups:
        assert str(group) in str(graph)
        assert bool(group.reason) != group.prunable


def places(graph, group: str, layer: str, axis: int) -> list[list[int]]:
    return next(
        a.positions.tolist()
        for a in graph.group(group).axes
        if a.layer == layer and a.axis == axis and a.positions.size
    )


def test_resnet20_with_option_a_shortcuts_has_nested_streams():
    keras.backend.clear_session()
    graph = LayerGraph.from_model(networks.resnet("A", blocks=3))
    inner = {f"s{s}b{b}_conv1": w for s, w in ((1, 4), (2, 8), (3, 16)) for b in range(3)}
    streams = {"stem": 4, "s2b0_conv2": 4, "s3b0_conv2": 8}
    assert {g.name: g.size for g in graph.prunable_groups} == inner | streams
    # The padding puts each narrower stream in the middle of the wider one.
    at = {name: [p for (p,) in places(graph, name, "s3b2_conv1", 2)] for name in streams}
    assert at == {
        "stem": [6, 7, 8, 9],
        "s2b0_conv2": [4, 5, 10, 11],
        "s3b0_conv2": [0, 1, 2, 3, 12, 13, 14, 15],
    }


def test_a_shuffle_couples_equal_indices_of_its_blocks():
    graph = LayerGraph.from_model(networks.build("shuffle"))
    assert places(graph, "conv2d", "conv2d", 3) == [[k, 4 + k, 8 + k] for k in range(4)]
    assert places(graph, "conv2d", "conv2d_1", 2) == [
        [3 * k, 3 * k + 1, 3 * k + 2] for k in range(4)
    ]


def test_flattened_channels_are_read_at_every_position():
    graph = LayerGraph.from_model(networks.build("flatten_dense"))
    assert places(graph, "conv2d", "dense", 0) == [[5 * p + k for p in range(4)] for k in range(5)]


def test_multiplied_channels_stand_side_by_side():
    graph = LayerGraph.from_model(networks.build("depthwise_2"))
    assert places(graph, "conv2d", "conv2d_1", 2) == [[2 * k, 2 * k + 1] for k in range(6)]


class DoubledConv(L.Conv2D):
    def call(self, inputs):
        return 2 * super().call(inputs)


class StandardizedConv(L.Conv2D):
    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel / tf.math.reduce_std(kernel, [0, 1, 2]))


class FixedConv(L.Conv2D):
    """A subclass whose size can't be set from outside."""

    def __init__(self, **settings):
        super().__init__(6, 3, **settings)

    def get_config(self):
        return {"name": self.name}


class PlainConv(L.Conv2D):
    """A subclass that computes what its base computes."""


class Scale(L.Layer):
    def call(self, inputs):
        return 2 * inputs


class Doubled(keras.Sequential):
    def call(self, inputs, training=None):
        return 2 * super().call(inputs, training=training)


@keras.saving.register_keras_serializable("tfgraphprune_tests")
def share(x):
    """An activation that mixes channels."""
    return x / (1 + tf.reduce_sum(tf.abs(x), -1, keepdims=True))


def _attention(x):
    flat = L.Reshape((64, 6))(x)
    return L.Reshape((8, 8, 6))(tf.matmul(tf.matmul(flat, flat, transpose_b=True), flat))


def _batch_mix(x):
    return tf.reshape(tf.reshape(x, [-1, 6]), [-1, 8, 8, 6])


# What follows a convolution of 6 channels, and which layer the reason must name.
FREEZES = {
    "sum over channels": (lambda x: x * tf.reduce_sum(x, -1, keepdims=True), "tf.math.reduce_sum"),
    "mean over everything": (lambda x: x - tf.reduce_mean(x), "tf.math.reduce_mean"),
    "softmax layer": (L.Softmax(name="probe"), "probe"),
    "softmax activation": (L.Activation("softmax", name="probe"), "probe"),
    "softmax op": (tf.nn.softmax, "tf.nn.softmax"),
    "unknown activation": (L.Activation(share, name="probe"), "probe"),
    "dense over positions": (
        lambda x: L.Permute((1, 3, 2))(L.Dense(8, name="probe")(L.Permute((1, 3, 2))(x))),
        "probe",
    ),
    "opaque Lambda": (L.Lambda(lambda t: t[..., ::-1], name="probe"), "probe"),
    "custom layer": (Scale(name="probe"), "probe"),
    "custom nested model": (Doubled([L.ReLU()], name="probe"), "probe"),
    "convolution with its own call": (DoubledConv(5, 3, name="probe"), "probe"),
    "convolution with its own kernel": (StandardizedConv(5, 3, name="probe"), "probe"),
    "grouped convolution": (L.Conv2D(6, 3, groups=2, name="probe"), "probe"),
    "transposed convolution": (L.Conv2DTranspose(5, 3, name="probe"), "probe"),
    "layer normalization": (L.LayerNormalization(name="probe"), "probe"),
    "normalization of another axis": (L.BatchNormalization(axis=1, name="probe"), "probe"),
    "constant of each channel": (lambda x: x * np.arange(1.0, 7.0, dtype="float32"), "tf.math"),
    "rescaling of each channel": (L.Rescaling([1.0, 2, 3, 4, 5, 6], name="probe"), "probe"),
    "attention": (_attention, "tf.linalg.matmul"),
    "strided slice of channels": (lambda x: x[..., ::2], "tf.__operators__.getitem"),
    "one channel": (lambda x: x[..., 2], "tf.__operators__.getitem"),
    "gather": (lambda x: tf.gather(x, [3, 1], axis=-1), "tf.compat.v1.gather"),
    "sort": (lambda x: tf.sort(x), "tf.sort"),
    "roll": (lambda x: tf.roll(x, 1, -1), "tf.roll"),
    "cumulative sum": (lambda x: tf.cumsum(x, -1), "tf.math.cumsum"),
    "padding with ones": (
        lambda x: tf.pad(x, [[0, 0]] * 3 + [[1, 1]], constant_values=1),
        "tf.compat.v1.pad",
    ),
    "reflection": (lambda x: tf.pad(x, [[0, 0]] * 3 + [[1, 1]], "REFLECT"), "tf.compat.v1.pad"),
    "examples mixed": (_batch_mix, "tf.reshape"),
    "examples joined": (lambda x: tf.concat([x, x], 0), "tf.concat"),
    "batch moved": (lambda x: tf.transpose(tf.transpose(x)), "tf.compat.v1.transpose"),
    "size read at run time": (lambda x: tf.reshape(x, [tf.shape(x)[0], 64, 6]), "tf."),
}


@pytest.mark.parametrize("case", FREEZES)
def test_what_cannot_be_followed_freezes_with_a_reason_and_no_error(case):
    op, layer = FREEZES[case]
    keras.backend.clear_session()
    start = keras.Input(networks.IMAGE)
    x = op(L.Conv2D(6, 3, padding="same", name="maker")(start))
    x = L.Dense(5, name="reader")(L.Dense(7, name="free")(L.Flatten()(x)))
    model = networks.randomise(keras.Model(start, x))
    graph = LayerGraph.from_model(model)
    maker = graph.group("maker")
    assert not maker.prunable
    assert maker.reason.startswith(layer), maker.reason
    assert "free" in [g.name for g in graph.prunable_groups], "freezes what it does not touch"
    plan = PruningPlan.from_indices(graph, {g.name: [0] for g in graph.prunable_groups})
    data = networks.inputs_for(model)
    (a,), (b,) = (networks.outputs_of(m, data) for m in (masked(model, plan), prune(model, plan)))
    np.testing.assert_allclose(a, b, atol=1e-4 * a.std())


@pytest.mark.parametrize(
    ("layer", "prunable"), [(PlainConv(6, 1, name="x"), True), (FixedConv(name="x"), False)]
)
def test_a_subclass_is_taken_for_its_base_where_it_computes_the_same(layer, prunable):
    keras.backend.clear_session()
    model = networks.randomise(networks.image_model(lambda x: layer(L.Conv2D(4, 1, name="c")(x))))
    graph = LayerGraph.from_model(model)
    assert graph.group("c").prunable
    assert graph.group("x").prunable == prunable
    plan = PruningPlan.from_keep_ratios(graph, 0.5)
    x = networks.inputs_for(model)
    (a,), (b,) = (networks.outputs_of(m, x) for m in (masked(model, plan), prune(model, plan)))
    np.testing.assert_allclose(a, b, atol=1e-4 * a.std())


def test_spatial_attention_freezes_its_map_and_not_the_channels():
    def body(x):
        x = L.Conv2D(6, 3, name="features")(x)
        return x * L.Conv2D(1, 1, activation="sigmoid", name="map")(x)

    graph = LayerGraph.from_model(networks.image_model(body))
    assert graph.group("features").prunable
    assert not graph.group("map").prunable
    assert "broadcast" in graph.group("map").reason


def test_an_unknown_activation_freezes_what_its_layer_makes_and_not_what_it_reads():
    def body(x):
        x = L.Conv2D(4, 3, name="read")(x)
        return L.Dense(6, name="free")(L.Conv2D(5, 3, activation=share, name="probe")(x))

    graph = LayerGraph.from_model(networks.image_model(body))
    assert {g.name for g in graph.prunable_groups} == {"read", "free"}
    assert graph.group("probe").reason.startswith("probe: its activation")


FREEZE = [
    (["s2b0_conv1"], {"s2b0_conv1"}),
    (["s*_conv1"], {"s1b0_conv1", "s2b0_conv1", "s3b0_conv1"}),
    (["stem_bn"], {"stem"}),  # a layer that only passes the channels on
    (["add"], {"stem"}),
    (["global_average_pooling2d"], {"s3b0_conv2"}),
    (["stem", "s3b0_short"], {"stem", "s3b0_conv2"}),
]


@pytest.mark.parametrize(("patterns", "expected"), FREEZE)
def test_users_freeze_the_outputs_of_layers(patterns, expected):
    model = networks.build("resnet_b")
    free = {g.name for g in LayerGraph.from_model(model).prunable_groups}
    graph = LayerGraph.from_model(model, freeze=patterns)
    assert free - {g.name for g in graph.prunable_groups} == expected
    reasons = {graph.group(name).reason for name in expected}
    assert reasons == {f"frozen by the user ({p})" for p in patterns}


def test_users_freeze_layers_of_nested_models_by_path_or_name():
    model = networks.build("nested_functional")
    for pattern in ("two/core/conv2d", "two/core/*", "two/core"):
        graph = LayerGraph.from_model(model, freeze=[pattern])
        assert [g.name for g in graph.channel_groups if "user" in g.reason] == ["two/core/conv2d"]


def _subclassed():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    return Subclassed()


def _overriding():
    class Overriding(keras.Model):
        def call(self, inputs, training=None):
            return 2 * super().call(inputs, training=training)

    start = keras.Input((4,))
    return Overriding(start, L.Dense(3)(start))


ERRORS = {
    "no model": (lambda: LayerGraph.from_model("model.keras"), "not builtins.str"),
    "subclassed": (lambda: LayerGraph.from_model(_subclassed()), "is a subclassed keras.Model"),
    "overriding": (lambda: LayerGraph.from_model(_overriding()), "overrides its call method"),
    "unbuilt Sequential": (
        lambda: LayerGraph.from_model(keras.Sequential([L.Dense(3)])),
        "has no input shape yet",
    ),
    "pattern without a match": (
        lambda: LayerGraph.from_model(networks.build("plain"), freeze=["stem*"]),
        "freeze names 'stem*', but no layer matches it",
    ),
    "pattern that is no list": (
        lambda: LayerGraph.from_model(networks.build("plain"), freeze="conv2d"),
        "write ['conv2d']",
    ),
    "multiple of none": (
        lambda: LayerGraph.from_model(networks.build("plain"), channel_multiple=0),
        "channel_multiple must be at least 1, not 0",
    ),
    "unknown group": (
        lambda: LayerGraph.from_model(networks.build("plain")).group("conv"),
        "there is no channel group 'conv': this model has conv2d:in, conv2d",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_came(case):
    action, fragment = ERRORS[case]
    with pytest.raises(UserError) as caught:
        action()
    assert fragment in str(caught.value)
