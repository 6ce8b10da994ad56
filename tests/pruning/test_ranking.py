"""One ranking over all groups: which channels stay, and that budgets hold."""

import numpy as np
import pytest
import tf_keras as keras

import tfgraphprune as tgp
from tests import networks
from tfgraphprune.cost import macs_cost
from tfgraphprune.errors import UserError
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning import prune
from tfgraphprune.pruning.ranking import rank_globally, structure_of

L = keras.layers

VALUES = {"conv2d": [1.0, 2, 3, 4, 5, 15], "conv2d_1": [10.0] * 8, "conv2d_2": [1.0, 1, 1, 1, 6]}


def given(graph):
    return {g.name: np.array(VALUES.get(g.name, np.ones(g.size))) for g in graph.channel_groups}


# What normalises -> channels kept of the three groups, of which each must keep one, at 10 of 19.
KEPT = {
    "none": [(5,), tuple(range(8)), (4,)],  # 15, eight tens and the 6
    "mean": [(5,), tuple(range(8)), (4,)],  # 3 and 3, then eight ones
    "max": [(5,), tuple(range(8)), (4,)],  # ten ones
    "gaussian": [(5,), (0,), (4,)],  # 2.1 and 2; then nine zeros at once
}


@pytest.mark.parametrize("normalise", KEPT)
def test_channels_are_kept_by_their_normalised_importance(normalise):
    graph = LayerGraph.from_model(networks.build("plain"))
    plan = rank_globally(graph, keep_ratio=10 / 19, criterion=given, normalise=normalise)
    assert [plan.kept[name] for name in VALUES] == KEPT[normalise]


@pytest.mark.parametrize("isomorphic", [False, True])
@pytest.mark.parametrize("criterion", ["l1", "fpgm", "batchnorm_scale"])
@pytest.mark.parametrize("name", ["resnet_a", "depthwise_2", "grouped_shuffle", "attention"])
def test_a_budget_is_never_exceeded(name, criterion, isomorphic):
    graph = LayerGraph.from_model(networks.build(name))
    budget = tgp.Budget(params_ratio=0.8)
    plan = rank_globally(graph, budget, criterion=criterion, isomorphic=isomorphic)
    small = prune(graph.model, plan)
    assert small.count_params() <= 0.8 * graph.model.count_params()
    assert all(len(plan.kept[g.name]) >= 0.1 * g.size for g in graph.prunable_groups)


def test_isomorphic_groups_are_ranked_together_and_kinds_keep_the_same_share():
    graph = LayerGraph.from_model(networks.resnet("B", blocks=2, widths=(8, 16, 32)))
    kinds: dict = {}
    for group in graph.prunable_groups:
        kinds.setdefault(structure_of(graph, group), []).append(group)
    assert ["s1b0_conv1", "s1b1_conv1", "s2b1_conv1", "s3b1_conv1"] in [
        [g.name for g in groups if "b0_conv1" not in g.name or g.name == "s1b0_conv1"]
        for groups in kinds.values()
    ]
    plan = rank_globally(graph, keep_ratio=0.5, isomorphic=True, min_keep=0.01)
    for groups in kinds.values():
        size = sum(g.size for g in groups)
        kept = sum(len(plan.kept[g.name]) for g in groups)
        assert abs(kept / size - 0.5) <= 0.51 * len(groups) / size + 0.02


def test_channel_multiples_are_kept():
    graph = LayerGraph.from_model(networks.build("resnet_b"), channel_multiple=4)
    plan = rank_globally(graph, tgp.Budget(macs_ratio=0.6))
    counts = plan.counts(graph)
    assert (counts % 4 == 0).all()
    assert macs_cost(graph)(counts) <= 0.6 * macs_cost(graph)(
        np.array([g.size for g in graph.prunable_groups])
    )


ERRORS = {
    "neither": ({}, "either a budget or a keep_ratio"),
    "both": ({"budget": tgp.Budget(macs_ratio=0.5), "keep_ratio": 0.5}, "either a budget"),
    "ratio": ({"keep_ratio": 0.0}, "keep_ratio must be above 0"),
    "name": ({"keep_ratio": 0.5, "normalise": "sum"}, "normalise must be one of"),
    "criterion": ({"keep_ratio": 0.5, "criterion": "l3"}, "criterion must be one of"),
    "too little": ({"keep_ratio": 0.01}, "can only reach"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_came(case):
    graph = LayerGraph.from_model(networks.build("plain"))
    settings, fragment = ERRORS[case]
    with pytest.raises(UserError, match=fragment):
        rank_globally(graph, **settings)
