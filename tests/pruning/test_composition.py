"""Two cuts as one plan."""

import numpy as np
import pytest

import tfgraphprune as tgp
from tests.networks import build, inputs_for, outputs_of
from tfgraphprune.pruning.composition import compose, read_cut


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
