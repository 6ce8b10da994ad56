"""Feature pairs: the right channels of the right layers, and a loss that brings them together."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tests.training.optimize.networks import NETWORKS
from tfgraphprune.settings import Budget, FineTune, Search
from tfgraphprune.training.distill import Distiller
from tfgraphprune.training.features import FeatureMatch, FeaturePair, check_features, feature_pairs
from tfgraphprune.training.objectives import CompiledDistiller
from tfgraphprune.training.recovery import recover

L = keras.layers

EXPECTED = {
    "digits": {"block_relu", "block_conv1_relu", "pool", "depthwise_relu"},
    "concat": {"joined", "pool"},
    "squeeze_excite": {"scaled", "squeeze", "pool"},
    "nested": {"stem_act", "pool"},
    "plain": {"stem_act", "relu0", "pool"},
    "preactivation": {"add", "pool"},
}
"""The layers that end the groups of which network."""


@pytest.fixture(scope="module")
def data(digits):
    return digits.train[0][:256], digits.train[1][:256]


@pytest.fixture(scope="module")
def dense(data):
    """A trained network without BatchNorm, which gives the same in training; not to be changed."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1))
    x = L.Conv2D(16, 3, activation="relu", name="first")(image)
    x = L.Conv2D(16, 3, activation="relu", name="second")(x)
    model = keras.Model(image, L.Dense(10, "softmax", name="digit")(L.Flatten(name="flat")(x)))
    tgp.finetune(model, data, epochs=10, optimizer="adam", batch_size=32, verbose=0)
    return model


def _cut(model, ratio=0.5):
    graph = tgp.LayerGraph.from_model(model)
    plan = tgp.PruningPlan.from_keep_ratios(graph, ratio)
    return tgp.prune(model, plan), feature_pairs(graph, plan), plan, graph


def _features(model, pairs, x):
    outputs = [model.get_layer(pair.layer).output for pair in pairs]
    return [np.asarray(each) for each in keras.Model(model.input, outputs)(x, training=False)]


def _error(student, teacher, pairs, x):
    """What `FeatureMatch` should add for a weight of 1, of models without BatchNorm."""
    found = []
    mine, theirs = (_features(model, pairs, x) for model in (student, teacher))
    for pair, left, right in zip(pairs, mine, theirs, strict=True):
        same = right.take(pair.kept, pair.axis + 1)
        found.append(np.square(left - same).mean() / same.var())
    return float(np.mean(found))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_pairs_are_the_same_channels(name, digits):
    """A pruned network equals the masked one, so their kept channels are equal in each pair."""
    model = NETWORKS[name]()
    small, pairs, plan, _ = _cut(model)
    assert {pair.layer for pair in pairs} == EXPECTED.get(name, {pair.layer for pair in pairs})
    assert pairs and all(len(pair.kept) < pair.size for pair in pairs)
    x = digits.test[0][:16]
    mine, theirs = (_features(m, pairs, x) for m in (small, tgp.masked(model, plan)))
    for pair, left, right in zip(pairs, mine, theirs, strict=True):
        same = right.take(pair.kept, pair.axis + 1)
        assert left.shape == same.shape and np.abs(left).max() > 0
        np.testing.assert_allclose(left, same, atol=1e-5)


def _unusual(body):
    image = keras.Input((8, 8, 1))
    x = body(L.Conv2D(8, 3, padding="same", name="conv")(image))
    return keras.Model(image, L.Dense(10, name="logits")(L.Flatten(name="flat")(x)))


def _twice(x):
    again = L.Conv2D(8, 3, padding="same", name="again")
    return again(again(x))


UNUSUAL = {
    "dropout is random": (lambda x: L.Dropout(0.5, name="drop")(x), {("flat", 512)}),
    "an operation": (lambda x: tf.nn.relu(x), {("flat", 512)}),
    "called twice": (_twice, {("flat", 512)}),
    "channels first": (lambda x: L.Permute((3, 1, 2), name="first")(x), {("flat", 512)}),
}


@pytest.mark.parametrize(("body", "expected"), UNUSUAL.values(), ids=UNUSUAL)
def test_what_cannot_be_compared_is_passed_over(body, expected):
    _, pairs, _, _ = _cut(_unusual(body))
    assert {(pair.layer, pair.size) for pair in pairs} == expected


@pytest.mark.parametrize("compiled", [False, True])
def test_the_loss_is_added_in_training_alone(compiled, data, dense):
    teacher = dense
    student, pairs, _, _ = _cut(teacher)
    x, y = tf.constant(data[0][:32]), tf.constant(data[1][:32])
    if compiled:
        student.compile("adam", "sparse_categorical_crossentropy")
    kind = CompiledDistiller if compiled else Distiller
    match = FeatureMatch(student, teacher, pairs, 2.0)
    plain, matched = kind(student, teacher), kind(student, teacher, features=match)

    def loss(learner, training):
        return float(learner.compute_loss(x, y, learner(x, training=training), None))

    expected = loss(plain, True) + 2.0 * _error(student, teacher, pairs, x)
    assert loss(matched, True) == pytest.approx(expected, rel=1e-4)
    assert loss(matched, False) == pytest.approx(loss(plain, False))
    assert matched.trainable_variables == student.trainable_variables and not match.weights


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_the_features_come_closer(compiled, precision, data, dense):
    if compiled and precision != "float32":
        pytest.skip("a compiled model has its own precision")
    teacher, errors = dense, []
    before = teacher.get_weights()
    for weight in (0.0, 3.0):
        student, pairs, _, _ = _cut(teacher)
        if compiled:
            student.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
        settings = {} if compiled else {"optimizer": "adam", "precision": precision}
        rows = tgp.finetune(
            student, data, epochs=10, batch_size=32, teacher=teacher, feature_weight=weight,
            feature_pairs=pairs, verbose=0, **settings,
        )  # fmt: skip
        assert rows[-1]["loss"] < rows[0]["loss"]
        errors.append(_error(student, teacher, pairs, data[0]))
    assert errors[1] < 0.7 * errors[0]
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("recovery", ["one_shot", "soft"])
def test_the_settings_carry_it_to_the_recovery(recovery, data, dense):
    teacher, errors = dense, []
    _, _, plan, graph = _cut(teacher)
    for weight in (0.0, 3.0):
        settings = FineTune(
            epochs=10,
            batch_size=32,
            optimizer="adam",
            recovery=recovery,
            feature_weight=weight,
            alpha=0.1,
        )
        found = recover(graph, plan, settings, data, data)
        pairs = feature_pairs(graph, found.plan)
        errors.append(_error(found.model, teacher, pairs, data[0]))
    assert errors[1] < 0.8 * errors[0]


def test_what_cannot_be_is_refused(data, dense):
    teacher = dense
    student, pairs, _, graph = _cut(teacher)
    settings = {"feature_weight": 1.0, "feature_pairs": pairs, "teacher": teacher}
    for changes, message in (
        ({"teacher": None}, "give that as teacher"),
        ({"feature_pairs": ()}, "feature_pairs"),
        ({"feature_weight": -1.0}, "feature_weight must be 0 or more"),
        ({"teacher": student}, "compares 16 channels of the layer 'first'"),
        ({"feature_pairs": [FeaturePair("no", 2, 16, (0, 1))]}, "of the layer 'no'"),
    ):
        with pytest.raises(tgp.UserError, match=message):
            tgp.finetune(student, data, **{**settings, **changes})
    with pytest.raises(tgp.UserError, match="there are none to compare"):
        check_features(graph.freezing({group.name: "test" for group in graph.prunable_groups}))


@pytest.mark.parametrize("given", [{"distill": False}, {"stages": 2}, {"recovery": "gradual"}])
def test_the_settings_refuse_what_has_no_pairs(given):
    with pytest.raises(tgp.UserError, match=f"which {next(iter(given))}="):
        FineTune(feature_weight=1.0, **given)


def test_a_run_refuses_it_before_it_searches(data):
    image = keras.Input((8, 8, 1))
    x = L.Conv2D(4, 3, name="conv")(image)
    inner = keras.Sequential([keras.Input((6, 6, 4)), L.Conv2D(4, 3), L.Flatten(), L.Dense(10)])
    model = keras.Model(image, inner(tf.nn.relu(x)))
    with pytest.raises(tgp.UserError, match="none to compare"):
        tgp.compress(
            model, data, data, budget=Budget(macs_ratio=0.9), freeze=["conv"],
            search=Search(agent="uniform", rivals=(), evaluations=1),
            finetune=FineTune(feature_weight=1.0),
        )  # fmt: skip
