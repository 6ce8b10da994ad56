"""Channel groups, against groups worked out by hand; what users freeze; refusals."""

import pytest
import tensorflow as tf
import tf_keras as keras

from tests import networks
from tfgraphprune.errors import UserError
from tfgraphprune.graph import LayerGraph

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
    "shuffle": ["conv2d 12: conv2d batch_normalization conv2d_1", "conv2d_1 5: conv2d_1 logits"],
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
        "conv2d 6: conv2d batch_normalization dense dense_1",
        "dense 3: dense dense_1 conv2d_1 conv2d_2 b",
        "conv2d_1 4: conv2d_1 dense_2",
        "conv2d_2 4: conv2d_2 dense_2",
        "dense_2 5: dense_2 a",
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


def test_the_channels_of_a_shuffle_go_one_by_one():
    graph = LayerGraph.from_model(networks.build("shuffle"))
    assert places(graph, "conv2d", "conv2d", 3) == [[k] for k in range(12)]
    assert places(graph, "conv2d", "conv2d_1", 2) == [[k % 4 * 3 + k // 4] for k in range(12)]


def test_a_shuffle_with_something_inside_couples_equal_indices_of_its_blocks():
    graph = LayerGraph.from_model(networks.build("interrupted_shuffle"))
    assert places(graph, "maker", "maker", 3) == [[k, 3 + k] for k in range(3)]
    assert places(graph, "maker", "reader", 2) == [[2 * k, 2 * k + 1] for k in range(3)]


def test_flattened_channels_are_read_at_every_position():
    graph = LayerGraph.from_model(networks.build("flatten_dense"))
    assert places(graph, "conv2d", "dense", 0) == [[5 * p + k for p in range(4)] for k in range(5)]


def test_multiplied_channels_stand_side_by_side():
    graph = LayerGraph.from_model(networks.build("depthwise_2"))
    assert places(graph, "conv2d", "conv2d_1", 2) == [[2 * k, 2 * k + 1] for k in range(6)]


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


def _untraceable():
    class Untraceable(keras.Model):
        def call(self, inputs):
            return inputs if bool(tf.reduce_sum(inputs) > 0) else -inputs

    model = Untraceable()
    model(tf.ones((2, 4)))
    return model


ERRORS = {
    "no model": (lambda: LayerGraph.from_model("model.keras"), "not builtins.str"),
    "subclassed": (lambda: LayerGraph.from_model(_subclassed()), "has not been called yet"),
    "untraceable": (lambda: LayerGraph.from_model(_untraceable()), "can't be traced on symbolic"),
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
        "channel_multiple must be a whole number of at least 1, not 0",
    ),
    "multiple without a match": (
        lambda: LayerGraph.from_model(networks.build("plain"), channel_multiple={"stem": 8}),
        "channel_multiple names 'stem', but no layer matches it",
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
