"""Costs as functions of the plan, against counts on rebuilt models and TensorFlow's profiler."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tests import networks
from tfgraphprune.cost import (
    ProductCost,
    count_macs,
    count_params,
    dense_counts,
    macs_cost,
    params_cost,
)
from tfgraphprune.cost.model_cost import file_bytes_cost, layer_costs, weight_bytes_cost
from tfgraphprune.errors import UserError
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning import PruningPlan, prune

MULTIPLYING_OPS = {"Conv2D", "MatMul", "BatchMatMulV2", "DepthwiseConv2dNative"}
PROFILED = (
    "plain resnet_a depthwise_2 separable concat_channels se_reshape flatten_dense shuffle "
    "split_concat nested_twice siamese sequence"
).split()


def profiled_macs(model) -> int:
    """Half of the FLOPs that TensorFlow's profiler counts for convolutions and matrix products."""
    specs = [tf.TensorSpec((1, *t.shape[1:]), t.dtype) for t in model.inputs]
    function = tf.function(lambda *x: model(x[0] if len(x) == 1 else list(x), training=False))
    concrete = convert_variables_to_constants_v2(function.get_concrete_function(*specs))
    v1 = tf.compat.v1
    options = v1.profiler.ProfileOptionBuilder(
        v1.profiler.ProfileOptionBuilder.float_operation()
    ).with_empty_output()
    node = v1.profiler.profile(concrete.graph, cmd="op", options=options.build())
    flops = 0
    while True:
        flops += node.float_ops if node.name in MULTIPLYING_OPS else 0
        if not node.children:
            return flops // 2
        (node,) = node.children


@pytest.mark.parametrize("name", PROFILED)
def test_costs_of_a_plan_are_those_of_the_rebuilt_model(name):
    model = networks.build(name)
    graph = LayerGraph.from_model(model)
    macs, params = macs_cost(graph), params_cost(graph)
    assert macs(dense_counts(graph)) == profiled_macs(model) == count_macs(model)
    assert params(dense_counts(graph)) == model.count_params() == count_params(model)
    random = np.random.default_rng(3)
    counts = [random.integers(1, g.size, endpoint=True) for g in graph.prunable_groups]
    names = [g.name for g in graph.prunable_groups]
    plan = PruningPlan.from_counts(graph, dict(zip(names, counts, strict=True)), "random")
    small = prune(model, plan)
    assert macs(plan.counts(graph)) == profiled_macs(small) == count_macs(small)
    assert params(plan.counts(graph)) == small.count_params() == count_params(small)


def test_costs_take_many_rows_of_counts_at_once():
    graph = LayerGraph.from_model(networks.build("resnet_a"))
    rows = np.stack([dense_counts(graph), np.ones(len(graph.prunable_groups), int)])
    for cost in (macs_cost(graph), params_cost(graph)):
        np.testing.assert_array_equal(cost(rows), [cost(row) for row in rows])
        assert cost(rows)[1] < cost(rows)[0]


def test_layers_share_the_cost():
    model = networks.build("depthwise_2")
    graph = LayerGraph.from_model(model)
    # 6x6 positions; kernels 3*3*3*6, 3*3*6*2, 12*5 and, once, 5*3.
    assert layer_costs(graph, macs_cost(graph)) == {
        "conv2d": 36 * 162,
        "depthwise_conv2d": 36 * 108,
        "batch_normalization": 0,
        "conv2d_1": 36 * 60,
        "logits": 15,
    }


def test_weight_bytes_leave_out_what_folding_removes():
    graph = LayerGraph.from_model(networks.build("residual"))
    moving = 2 * (8 + 8 + 6)
    assert weight_bytes_cost(graph)(dense_counts(graph)) == 4 * (count_params(graph.model) - moving)


def test_file_bytes_count_kernels():
    graph = LayerGraph.from_model(networks.build("residual"))
    kernels = sum(w.size for w in graph.model.get_weights() if w.ndim > 1)
    assert file_bytes_cost(graph, overhead=1000)(dense_counts(graph)) == 1000 + 4 * kernels


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (keras.layers.Conv2D(6, 3, groups=2, padding="same"), 8 * 8 * 9 * 2 * 6),
        (keras.layers.Conv2DTranspose(5, 3, strides=2), 8 * 8 * 9 * 4 * 5),
        (keras.layers.Conv2D(5, 3, activation="softmax", padding="same"), 8 * 8 * 9 * 4 * 5),
    ],
)
def test_layers_that_freeze_are_counted_as_well(layer, macs):
    start = keras.Input((8, 8, 4))
    assert count_macs(keras.Model(start, layer(start))) == macs


def test_macs_need_a_known_size():
    start = keras.Input((None, None, 3))
    model = keras.Model(start, keras.layers.Conv2D(4, 3, name="first")(start))
    with pytest.raises(UserError, match="size at layer 'first' is unknown"):
        count_macs(model)
    assert count_params(model) == 112


def test_product_cost_by_hand():
    cost = ProductCost(
        scale=np.array([2.0, 3.0]),
        axes=np.array([[[1.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [0.0, 0.0]]]),
        fixed=np.array([[1.0, 0.0], [0.0, 1.0]]),
    )
    # 2 * (a + 1) * b + 3 * 2b
    assert cost(np.array([4, 5])) == 2 * 5 * 5 + 3 * 10
