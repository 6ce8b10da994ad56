import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune.embedding.encoder as encoder_module
from tfgraphprune.embedding.encoder import ENCODERS, GroupEncoder, pooled


def edges(groups, relations=3, seed=0):
    random = np.random.default_rng(seed)
    return (random.uniform(size=(relations, groups, groups)) < 0.3).astype(np.float32)


def nodes(groups, batch=2, seed=1):
    return np.random.default_rng(seed).normal(size=(batch, groups, 5)).astype(np.float32)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize(("groups", "relations"), [(1, 2), (7, 0), (7, 3), (500, 3)])
def test_embeds_any_number_of_groups_and_relations(name, groups, relations):
    outputs = ENCODERS[name](edges(groups, relations), hidden=8)(nodes(groups))
    assert outputs.shape == (2, groups, 8)
    assert np.isfinite(outputs).all()
    assert np.abs(outputs).max() < 100


@pytest.mark.parametrize("name", ENCODERS)
def test_permuting_the_groups_permutes_the_embeddings(name):
    order = np.random.default_rng(2).permutation(9)
    adjacency, x = edges(9), nodes(9)
    encoder = ENCODERS[name](adjacency)
    expected = encoder(x).numpy()[:, order]
    permuted = ENCODERS[name](adjacency[:, order][:, :, order])
    permuted.build(x.shape)
    permuted(x)
    permuted.set_weights(encoder.get_weights())
    np.testing.assert_allclose(permuted(x[:, order]), expected, atol=1e-5)
    assert np.abs(permuted(x) - expected).max() > 1e-2


@pytest.mark.parametrize("relation", [0, 1, 2])
def test_zeroing_the_edges_of_a_relation_changes_the_embeddings(relation):
    adjacency = edges(6)
    cut = adjacency.copy()
    cut[relation] = 0
    difference = GroupEncoder(adjacency)(nodes(6)) - GroupEncoder(cut)(nodes(6))
    assert np.abs(difference).max() > 1e-2


def test_messages_follow_the_direction_of_the_edges():
    adjacency = np.zeros((1, 3, 3), np.float32)
    adjacency[0, 1, 0] = 1
    encoder = GroupEncoder(adjacency)
    x = nodes(3)
    changed = x.copy()
    changed[:, 0] += 1
    moved = np.abs(encoder(changed) - encoder(x)).max((0, 2))
    assert moved[0] > 0.01 and moved[1] > 0.01 and moved[2] == 0


def test_weights_go_to_a_graph_of_another_size():
    small, large = GroupEncoder(edges(4), seed=0), GroupEncoder(edges(11, seed=5), seed=1)
    small(nodes(4)), large(nodes(11))
    before = large(nodes(11)).numpy()
    large.set_weights(small.get_weights())
    assert np.abs(large(nodes(11)) - before).max() > 1e-2
    for ours, theirs in zip(large.get_weights(), small.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_seed_decides_the_weights_and_every_kernel_differs():
    def kernels(seed):
        encoder = GroupEncoder(edges(4), seed=seed)
        encoder(nodes(4))
        return [w for w in encoder.get_weights() if w.ndim == 2]

    for ours, again in zip(kernels(3), kernels(3), strict=True):
        np.testing.assert_array_equal(ours, again)
    square = [w for w in kernels(3) if w.shape == (32, 32)]
    assert len({w.tobytes() for w in square}) == len(square) == 8
    assert not np.array_equal(kernels(3)[0], kernels(4)[0])


def test_the_graph_is_no_weight_and_the_configuration_holds_it():
    encoder = GroupEncoder(edges(4), hidden=8, layers=1, seed=2)
    expected = encoder(nodes(4))
    assert not any(w.shape[-1] == 4 for w in encoder.get_weights())
    again = GroupEncoder.from_config(encoder.get_config())
    np.testing.assert_array_equal(again(nodes(4)), expected)


def test_message_passing_is_spektrals(monkeypatch):
    class Silent(encoder_module.GCNConv):
        def call(self, inputs, mask=None):
            return tf.zeros_like(super().call(inputs, mask))

    expected = GroupEncoder(edges(6))(nodes(6))
    monkeypatch.setattr(encoder_module, "GCNConv", Silent)
    assert np.abs(GroupEncoder(edges(6))(nodes(6)) - expected).max() > 1e-2


def test_trains_within_a_keras_model():
    inputs = keras.Input((5, 5))
    model = keras.Model(inputs, keras.layers.Dense(1)(GroupEncoder(edges(5))(inputs)))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    x = nodes(5, batch=32)
    y = x[..., :1] - x.mean((1, 2), keepdims=True)
    history = model.fit(x, y, epochs=5, verbose=0).history["loss"]
    assert history[-1] < history[0]


def test_pooled():
    x = nodes(3)
    np.testing.assert_allclose(pooled(tf.constant(x)), x.mean(1), atol=1e-6)
    np.testing.assert_allclose(pooled(tf.constant(x), "sum"), x.sum(1), atol=1e-6)
