"""The reward: of which network, on which images, at what price."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

import tfgraphprune as tgp
from tfgraphprune.cost import dense_counts
from tfgraphprune.search.determinism import deterministic_ops
from tfgraphprune.search.evaluation.evaluator import RewardEvaluator, accuracy_of
from tfgraphprune.search.evaluation.masked_network import MaskedNetwork
from tfgraphprune.shipping import accuracy


@pytest.fixture(scope="module")
def graph(digits_model):
    return tgp.LayerGraph.from_model(digits_model)


@pytest.fixture(scope="module")
def calibration(digits):
    return tuple(part[:256] for part in digits.train)


@pytest.fixture(scope="module")
def evaluator(graph, digits, calibration):
    return RewardEvaluator(graph, calibration, digits.reward)


def halves(graph):
    return [max(1, n // 2) for n in dense_counts(graph)]


def rebuilt(graph, plan, calibration):
    model = tgp.prune(graph.model, plan)
    tgp.reestimate_batchnorm(model, calibration)
    return model


def test_logits_are_those_of_the_rebuilt_network(graph, evaluator, digits, calibration):
    counts = halves(graph)
    model = rebuilt(graph, evaluator.plan(counts), calibration)
    expected = model.predict(digits.reward[0], verbose=0)
    found = evaluator.logits(counts)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.std())
    differ = found.argmax(-1) != expected.argmax(-1)
    top = np.sort(expected[differ], -1)
    assert (top[:, -1] - top[:, -2] < 1e-3).all()


def test_the_reward_is_the_accuracy_of_the_rebuilt_network(graph, evaluator, digits, calibration):
    counts = halves(graph)
    model = rebuilt(graph, evaluator.plan(counts), calibration)
    reward, images = evaluator.reward(counts)
    assert accuracy_of(reward, len(digits.reward[1])) == pytest.approx(
        accuracy(model, digits.reward)
    )
    assert images == len(calibration[0]) + len(digits.reward[0])


def test_a_first_look_is_enough_for_what_is_clearly_worse(graph, digits, calibration, evaluator):
    looks = RewardEvaluator(graph, calibration, digits.reward, first_look=100)
    counts = halves(graph)
    whole, images = looks.reward(counts)
    assert images == 256 + 270 and whole == pytest.approx(evaluator(counts), abs=1e-6)
    part, images = looks.reward([1] * len(counts), at_least=0.95)
    assert images == 256 + 100
    labels, outputs = digits.reward[1][:100], evaluator.logits([1] * len(counts))[:100]
    assert accuracy_of(part, 100) == pytest.approx((outputs.argmax(-1) == labels).mean())
    assert looks.reward(counts, at_least=whole)[1] == 256 + 270


def test_a_metric_judges_labels_of_its_own_kind(graph, digits, calibration, evaluator):
    def negative_error(labels, outputs):
        return -float(np.abs(labels - outputs.mean(-1)).mean())

    targets = np.linspace(0, 1, len(digits.reward[0]))
    judged = RewardEvaluator(graph, calibration, (digits.reward[0], targets), metric=negative_error)
    counts = halves(graph)
    assert judged(counts) == pytest.approx(
        negative_error(targets, evaluator.logits(counts)), abs=1e-5
    )


def test_a_function_of_the_network_gets_a_keras_model(graph, digits, calibration, evaluator):
    seen = []

    def judge(model):
        seen.append(model)
        return accuracy(model, digits.reward)

    judged = RewardEvaluator(graph, calibration, judge)
    counts = halves(graph)
    reward, images = judged.reward(counts)
    assert reward == accuracy_of(evaluator(counts), 270) and images == 256
    assert isinstance(judged._network, MaskedNetwork) and seen[0] is judged._network.model


def test_without_batchnorm_nothing_is_estimated(digits):
    import tf_keras as keras

    x = start = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(6, 3, activation="relu")(x)
    x = keras.layers.Dense(10)(keras.layers.Flatten()(x))
    model = keras.Model(start, x)
    graph = tgp.LayerGraph.from_model(model)
    evaluator = RewardEvaluator(graph, digits.train, digits.reward)
    small = tgp.prune(model, evaluator.plan([3]))
    assert accuracy_of(evaluator([3]), 270) == pytest.approx(accuracy(small, digits.reward))


def test_a_model_without_one_output_of_scores_needs_a_metric(digits, calibration):
    import tf_keras as keras

    start = keras.Input((8, 8, 1))
    model = keras.Model(start, keras.layers.Conv2D(3, 3)(keras.layers.Conv2D(4, 3)(start)))
    graph = tgp.LayerGraph.from_model(model)
    with pytest.raises(tgp.UserError, match="give search_plan a metric or a reward function"):
        RewardEvaluator(graph, calibration, digits.reward)
    labelled = keras.Sequential([
        keras.layers.Flatten(input_shape=(8, 8, 1)), keras.layers.Dense(8),
        keras.layers.Dense(3, "sigmoid"),
    ])  # fmt: skip
    labelled.compile(loss="binary_crossentropy")
    with pytest.raises(tgp.UserError, match="its loss 'binary_crossentropy'"):
        several = digits.reward[0], np.ones((270, 3))
        RewardEvaluator(tgp.LayerGraph.from_model(labelled), calibration, several)


@pytest.mark.parametrize("kind", ["metric", "reward"])
def test_what_the_user_calls_may_draw_random_numbers(kind, graph, digits, calibration):
    """TensorFlow's op determinism, under which a search runs, refuses such ops without a seed."""

    def drawn(*given):
        return float(tf.random.uniform([]))

    data = drawn if kind == "reward" else digits.reward
    judged = RewardEvaluator(
        graph, calibration, data, batch_size=32, metric=drawn if kind == "metric" else None
    )
    seed = context.global_seed()
    tf.random.set_seed(None)
    try:
        with deterministic_ops():
            with pytest.raises(RuntimeError, match="determinism"):
                drawn()
            assert 0 <= judged(halves(graph)) < 1
    finally:
        tf.random.set_seed(seed)
