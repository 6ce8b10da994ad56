"""A slim network gives what the masked one gives, for every plan, without tracing again."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests import networks
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning import PruningPlan, reestimate_batchnorm
from tfgraphprune.search.evaluation.masked_network import MaskedNetwork
from tfgraphprune.search.evaluation.precision import evaluation_network
from tfgraphprune.search.evaluation.slim_layers import NotSlim
from tfgraphprune.search.evaluation.slim_network import SlimNetwork

MASKED = frozenset(
    "arithmetic attention attention_by_hand bidirectional bidirectional_sum channels_first "
    "cross_attention dense_to_image einsum_dense group_norm gru instance_norm "
    "interrupted_shuffle layer_norm layer_norm_all layer_norm_rows lstm lstm_state "
    "pixel_shuffle prelu prelu_shared siamese simple_rnn stack stack_rows time_distributed "
    "time_distributed_conv".split()
)
"""Networks with a layer that only masks can serve."""

NOT_TRACED = {"nested_twice"}
"""TensorFlow fuses a padding of channels into the convolution behind it, and loses it: the dense
model fails in a `tf.function` as well."""


def plans(graph, count=2):
    random = np.random.default_rng(0)
    for _ in range(count):
        kept = {}
        for group in graph.prunable_groups:
            steps = max(1, round(group.size * random.uniform(0.3, 0.8)) // group.step)
            size = min(group.size, steps * group.step)
            kept[group.name] = sorted(random.permutation(group.size)[:size].tolist())
        yield PruningPlan.from_indices(graph, kept).kept


def batches(model, count=2):
    return [networks.inputs_for(model, 4, seed) for seed in range(count)]


@pytest.mark.parametrize("name", sorted(set(networks.ALL) - MASKED - NOT_TRACED))
def test_equals_the_masked_network_also_where_plans_are_filled_up(name):
    model = networks.build(name)
    graph = LayerGraph.from_model(model)
    calibration = batches(model)
    masked, slim = MaskedNetwork(graph, calibration), SlimNetwork(graph, calibration)
    tried = [slim]
    try:
        tried.append(SlimNetwork(graph, calibration, multiple=4))
    except NotSlim as reason:
        assert "is not cut" in str(reason) and slim._whole_kernels
    for kept in plans(graph):
        for network in (masked, *tried):
            network.apply(kept)
        expected = tf.nest.flatten(masked.predict(calibration[0]))
        for network in tried:
            for a, b in zip(
                expected, tf.nest.flatten(network.predict(calibration[0])), strict=True
            ):
                np.testing.assert_allclose(b, a, rtol=0, atol=1e-4 * a.std())
    assert all(network._score.experimental_get_tracing_count() == 1 for network in tried)


@pytest.mark.parametrize("name", ["layer_norm", "gru", "stack", "siamese"])
def test_what_has_no_slim_function_is_refused_by_name(name):
    model = networks.build(name)
    graph = LayerGraph.from_model(model)
    with pytest.raises(NotSlim, match=r"'.+'"):
        SlimNetwork(graph, batches(model))
    assert isinstance(evaluation_network(graph, batches(model), "auto"), MaskedNetwork)


def test_only_the_last_batch_is_smaller_and_statistics_are_the_mean_over_batches():
    model = networks.build("resnet_b")
    graph = LayerGraph.from_model(model)
    calibration = [networks.inputs_for(model, size, size) for size in (4, 3)]
    slim = SlimNetwork(graph, calibration)
    slim.apply({})
    before = slim.predict(calibration[1])
    reestimate_batchnorm(
        model,
        tf.data.Dataset.from_generator(
            lambda: ((x, np.zeros(len(x))) for x in calibration),
            output_signature=(
                tf.TensorSpec([None, *calibration[0].shape[1:]]),
                tf.TensorSpec([None]),
            ),
        ),
    )
    expected = np.asarray(model(calibration[1], training=False))
    np.testing.assert_allclose(before, expected, rtol=0, atol=1e-4 * expected.std())


def test_a_network_in_which_most_layers_would_run_whole_is_masked():
    x = start = keras.Input((8, 8, 4))
    for _ in range(3):
        x = keras.layers.Conv2DTranspose(6, 3)(x)
    model = keras.Model(start, keras.layers.Dense(3)(keras.layers.GlobalMaxPooling2D()(x)))
    assert isinstance(evaluation_network(LayerGraph.from_model(model), [], "auto"), MaskedNetwork)
