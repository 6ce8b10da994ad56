"""Two cuts as one plan."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tests.network_builders import classifier
from tests.network_layers import Block
from tests.networks import build, inputs_for, outputs_of, randomise
from tfgraphprune.pruning.composition import carried_over, compose, read_cut
from tfgraphprune.pruning.masking import copy_model


@pytest.mark.parametrize(
    "name",
    [
        "residual", "concat_channels", "depthwise_1", "resnet_a", "shuffle", "nested_functional",
        "se_reshape", "sequence", "grouped",
    ],
)  # fmt: skip
def test_equals_the_two_cuts(name):
    model = build(name)
    graph = tgp.LayerGraph.from_model(model)
    first = tgp.PruningPlan.from_keep_ratios(graph, 0.7)
    small = tgp.prune(model, first)
    second_graph = read_cut(graph, small)
    second = tgp.PruningPlan.from_keep_ratios(second_graph, 0.6, criterion="random")
    both = compose(graph, first, second_graph, second)
    x = inputs_for(model)
    twice, once = tgp.prune(small, second), tgp.prune(model, both)
    for left, right in zip(twice.get_weights(), once.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    for left, right in zip(outputs_of(twice, x), outputs_of(once, x), strict=True):
        np.testing.assert_array_equal(left, right)


def test_choices_hold_for_what_the_first_cut_has_taken_apart():
    """A layer made of layers is gone after a cut in it; its groups lie where they lay."""
    start = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", name="stem")(start)
    x = Block(8, name="block")(x)
    x = keras.layers.Conv2D(12, 1, name="conv")(x)
    model = randomise(keras.Model(start, classifier(x)))
    graph = tgp.LayerGraph.from_model(
        model, freeze=["stem", "block/convs_1"], channel_multiple={"block/convs_0": 2}
    )
    assert not graph.group("stem").prunable
    first = tgp.PruningPlan.from_keep_ratios(graph, 0.75)
    small = tgp.prune(model, first)
    again = read_cut(graph, small)
    assert [g.name for g in again.prunable_groups] == ["block.convs_0", "conv"]
    assert again.group("stem").reason == graph.group("stem").reason
    assert again.group("block.convs_0").step == 2
    second = tgp.PruningPlan.from_keep_ratios(again, 0.6)
    both = compose(graph, first, again, second)
    assert {n: len(k) for n, k in both.kept.items()} == {"block/convs_0": 4, "conv": 5}
    x = inputs_for(model)
    for left, right in zip(
        outputs_of(tgp.prune(small, second), x), outputs_of(tgp.prune(model, both), x), strict=True
    ):
        np.testing.assert_allclose(left, right, atol=1e-6)


def _split():
    start = keras.Input((8, 8, 3))
    left, right = tf.split(keras.layers.Conv2D(8, 3, name="maker")(start), 2, -1)
    x = keras.layers.Concatenate()([keras.layers.ReLU()(left), right])
    return randomise(keras.Model(start, classifier(keras.layers.Conv2D(6, 1, name="conv")(x))))


def test_both_halves_of_a_split_are_carried_over():
    """They lie on the same weights."""
    model = _split()
    graph = tgp.LayerGraph.from_model(model)
    assert [g.name for g in graph.prunable_groups] == ["maker", "maker#2", "conv"]
    plan = tgp.PruningPlan.from_indices(
        graph, {"maker": [1, 2, 3], "maker#2": [0, 2], "conv": [1, 5]}
    )
    copied = tgp.LayerGraph.from_model(copy_model(model))
    assert carried_over(plan, graph, copied) == plan
    small = tgp.prune(model, plan)
    again = read_cut(graph, small)
    assert [g.name for g in again.prunable_groups][:2] == ["maker", "maker#2"]
    second = tgp.PruningPlan.from_indices(again, {"maker": [0, 2]})
    both = compose(graph, plan, again, second)
    assert both.kept == {"maker": (1, 3), "maker#2": (0, 2), "conv": (1, 5)}


def test_a_plan_for_another_network_is_refused():
    model = build("residual")
    graph = tgp.LayerGraph.from_model(model)
    plan = tgp.PruningPlan.from_keep_ratios(graph, 0.7)
    small = tgp.LayerGraph.from_model(tgp.prune(model, plan))
    with pytest.raises(tgp.UserError, match="another model"):
        compose(graph, plan, small, plan)


def test_a_group_that_the_first_cut_changed_is_frozen_or_refused():
    graph = tgp.LayerGraph.from_model(build("grouped"))
    first = tgp.PruningPlan.from_keep_ratios(graph, {"maker": 0.5})  # one channel in each block
    small = tgp.prune(graph.model, first)
    unread = tgp.LayerGraph.from_model(small)
    with pytest.raises(tgp.UserError, match="read_cut"):
        compose(graph, first, unread, tgp.PruningPlan.from_keep_ratios(unread, {"maker": 0.5}))
    assert not read_cut(graph, small).group("maker").prunable
