"""A pruned network that is trained with channels of zeros ends with the weights of one without."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests import networks
from tfgraphprune.errors import UserError
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning import PruningPlan, prune
from tfgraphprune.settings import FineTune
from tfgraphprune.training import fit, widening
from tfgraphprune.training.finetune import finetune
from tfgraphprune.training.recoveries.base import RecoveryCase
from tfgraphprune.training.recovery import recover
from tfgraphprune.training.widening import Widened, widened

WIDENED = (
    "plain resnet_a resnet_b depthwise_2 concat_channels se_reshape nested_functional split_concat"
).split()


def pruned(model):
    """Graph, plan and network, with numbers of channels that are no multiples of four."""
    graph = LayerGraph.from_model(model)
    counts = {
        g.name: max(g.step, (g.size * 2 // 3) // g.step * g.step) for g in graph.prunable_groups
    }
    plan = PruningPlan.from_counts(graph, counts)
    return graph, plan, prune(model, plan)


@pytest.fixture
def small_is_large(monkeypatch):
    monkeypatch.setattr(widening, "is_large", lambda graph: True)


@pytest.mark.parametrize("name", WIDENED)
def test_trains_to_the_same_weights(name):
    model = networks.build(name)
    graph, plan, narrow = pruned(model)
    wide = Widened(graph, plan, narrow, 4)
    x = networks.inputs_for(model, 24)
    assert wide.model.count_params() > narrow.count_params()
    assert wide.is_exact(narrow, x)
    before = narrow.get_weights()
    labels = np.random.default_rng(0).integers(0, narrow.output_shape[-1], 24)
    for each in (narrow, wide.model):
        finetune(each, (x, labels), epochs=1, batch_size=8, learning_rate=0.01, verbose=0)
    expected = narrow.get_weights()
    wide.hand_back(narrow)
    found = narrow.get_weights()
    changes = [np.abs(a - b).max() for a, b in zip(before, expected, strict=True)]
    errors = [np.abs(a - b).max() for a, b in zip(expected, found, strict=True)]
    assert max(changes) > 1e-2 and max(errors) < 0.02 * max(changes)


def test_channels_that_are_not_zero_where_they_are_read_are_refused(small_is_large):
    x = start = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(15, 3)(x)
    x = keras.layers.Activation("sigmoid")(keras.layers.BatchNormalization()(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(15, 3)(x))
    model = networks.randomise(keras.Model(start, keras.layers.Dense(3)(x)))
    graph, plan, narrow = pruned(model)
    x = networks.inputs_for(model, 8)
    assert not Widened(graph, plan, narrow, 4).is_exact(narrow, x)
    assert widened(graph, plan, narrow, (x, None), 4) is None


def test_small_networks_and_those_without_batchnorm_are_trained_as_they_are(monkeypatch):
    model = networks.build("resnet_b")
    graph, plan, narrow = pruned(model)
    x = networks.inputs_for(model, 8)
    assert widened(graph, plan, narrow, (x, None), 4) is None
    monkeypatch.setattr(widening, "is_large", lambda graph: True)
    assert widened(graph, plan, narrow, (x, None), 4) is not None
    with pytest.raises(UserError, match="nothing to add"):
        Widened(graph, PruningPlan({}, graph.fingerprint), prune(model, plan), 4)
    monkeypatch.setattr(widening, "batchnorms", lambda model: [])
    assert widened(graph, plan, narrow, (x, None), 4) is None


def test_a_recovery_uses_it_and_ends_with_the_pruned_network(small_is_large, digits, digits_model):
    graph = LayerGraph.from_model(digits_model)
    plan = PruningPlan.from_keep_ratios(graph, 0.7)
    data = tuple(part[:256] for part in digits.train)
    made = []
    original = widening.Widened.hand_back

    def hand_back(self, narrow):
        made.append(self.model)
        original(self, narrow)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(widening.Widened, "hand_back", hand_back)
        outputs = []
        for widen in (True, False):
            settings = FineTune(epochs=1, batch_size=64, learning_rate=1e-3, widen=widen)
            model = recover(graph, plan, settings, data, data).model
            outputs.append(model.predict(digits.reward[0], verbose=0))
    assert len(made) == 1 and made[0].count_params() > model.count_params()
    np.testing.assert_allclose(outputs[0], outputs[1], atol=0.02 * outputs[1].std())


def test_a_training_that_fails_hands_back_the_weights_from_before(
    small_is_large, digits, digits_model, monkeypatch
):
    graph = LayerGraph.from_model(digits_model)
    plan = PruningPlan.from_keep_ratios(graph, 0.7)
    data = tuple(part[:128] for part in digits.train)
    case = RecoveryCase(graph, plan, FineTune(epochs=2), data, data, digits_model)
    narrow, epochs = case.cut(), []

    def finite(learner):
        assert learner.count_params() > narrow.count_params()
        epochs.append(learner)
        return len(epochs) < 2

    monkeypatch.setattr(fit, "_finite", finite)
    before = narrow.get_weights()
    with pytest.raises(UserError, match="in epoch 2"):
        case.train(narrow)
    changes = [np.abs(a - b).max() for a, b in zip(before, narrow.get_weights(), strict=True)]
    assert max(changes) > 1e-3  # those after the first epoch


def test_a_compiled_network_keeps_its_objective_and_a_resumed_one_its_width(
    small_is_large, digits, digits_model, tmp_path
):
    model = keras.models.clone_model(digits_model)
    model.set_weights(digits_model.get_weights())
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(True), ["accuracy"])
    graph = LayerGraph.from_model(model)
    plan = PruningPlan.from_keep_ratios(graph, 0.7)
    data = tuple(part[:128] for part in digits.train)
    for recovery in ("soft", "one_shot"):
        settings = FineTune(epochs=2, batch_size=64, recovery=recovery)
        folder = tmp_path / recovery
        first = recover(graph, plan, settings, data, data, checkpoint_dir=folder).model
        assert (folder / "wide").is_dir()
        again = recover(graph, plan, settings, data, data, checkpoint_dir=folder).model
        for a, b in zip(first.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_whole_numbers_among_the_outputs(small_is_large):
    model = networks.build("resnet_b")
    two = keras.Model(model.input, [model.output, tf.argmax(model.output, -1)])
    graph, plan, narrow = pruned(two)
    assert widened(graph, plan, narrow, (networks.inputs_for(model, 8), None), 4) is not None
