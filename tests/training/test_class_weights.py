"""Class weights mean what they mean in Keras, for all kinds of data, labels and models."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tf_keras.src.engine.data_adapter import _make_class_weight_map_fn

import tfgraphprune as tgp
from tfgraphprune.settings import Budget, FineTune, Search
from tfgraphprune.training.class_weights import weighted
from tfgraphprune.training.data import load_digits
from tfgraphprune.training.recovery import recover

layers = keras.layers

WEIGHTS = {0: 0.5, 1: 3.0, **dict.fromkeys(range(2, 10), 1.0)}
ONLY_SMALL = dict.fromkeys(range(5, 10), 0.0)
"""Only digits below 5 count."""


@pytest.fixture(scope="module")
def data():
    x, y = load_digits(0).train
    return x[:320], y[:320]


def _model(classes=10, activation=None, outputs=1):
    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="conv")(image)
    x = layers.Flatten()(x)
    made = [layers.Dense(classes, activation, name=f"out{n}")(x) for n in range(outputs)]
    return keras.Model(image, made if outputs > 1 else made[0])


LABELS = {
    "indices": lambda y: y,
    "int32 column": lambda y: y.astype(np.int32)[:, None],
    "floats": lambda y: y.astype(np.float32),
    "one-hot": lambda y: np.eye(10, dtype=np.float32)[y],
    "soft": lambda y: np.eye(10, dtype=np.float32)[y] * 0.9 + 0.01,
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("kind", ["arrays", "data set"])
def test_sample_weights_are_those_that_keras_makes(data, labels, given, kind):
    parts = [data[0], labels(data[1])]
    if given:
        parts.append(np.linspace(0, 2, len(data[1])).astype(np.float32))
    # Keras multiplies sample weights only where the batch's size is known.
    batches = tf.data.Dataset.from_tensor_slices(tuple(parts)).batch(64, drop_remainder=True)
    expected = batches.map(_make_class_weight_map_fn(WEIGHTS))
    found = weighted(tuple(parts) if kind == "arrays" else batches, WEIGHTS, _model())
    if kind == "arrays":
        found = tf.data.Dataset.from_tensor_slices(found).batch(64)
    for ours, theirs in zip(found, expected, strict=True):
        for left, right in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(left, right)


def test_a_single_sigmoid_has_two_classes(data):
    y = (data[1] > 4).astype(np.float32)[:, None]
    found = weighted((data[0], y), {1: 4.0}, _model(1, "sigmoid"))
    np.testing.assert_array_equal(found[2], np.where(y[:, 0] == 1, 4.0, 1.0))


def test_a_compiled_model_learns_what_it_learns_by_keras_fit(data):
    batches = tf.data.Dataset.from_tensor_slices(data).batch(64)
    ours, theirs = _model(10, "softmax"), _model(10, "softmax")
    for model in (ours, theirs):
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    tgp.finetune(ours, batches, epochs=2, class_weight=WEIGHTS, verbose=0)
    theirs.fit(batches, epochs=2, class_weight=WEIGHTS, verbose=0)
    for left, right in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)


def _small_only(model, data):
    """Whether the model knows the small digits and nothing of the large ones."""
    right = model.predict(data[0], verbose=0).argmax(-1) == data[1]
    return right[data[1] < 5].mean() > 0.7 and right[data[1] >= 5].mean() < 0.2


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("one_hot", [False, True])
def test_classes_without_weight_are_not_learned(data, compiled, taught, one_hot):
    model, teacher = _model(), _model() if taught else None
    labels = LABELS["one-hot" if one_hot else "indices"](data[1])
    if compiled:
        kind = "CategoricalCrossentropy" if one_hot else "SparseCategoricalCrossentropy"
        loss = getattr(keras.losses, kind)(from_logits=True)
        model.compile(keras.optimizers.Adam(0.01), loss)
    settings = {} if compiled else {"optimizer": "adam", "learning_rate": 0.01}
    tgp.finetune(
        model, (data[0], labels), epochs=12, batch_size=32, teacher=teacher, alpha=0.1,
        class_weight=ONLY_SMALL, verbose=0, **settings,
    )  # fmt: skip
    assert _small_only(model, data)


def test_the_settings_carry_them_to_the_recovery(data):
    model = _model()
    graph = tgp.LayerGraph.from_model(model)
    plan = tgp.PruningPlan.from_keep_ratios(graph, 0.75)
    settings = FineTune(
        epochs=12, optimizer="adam", learning_rate=0.01, batch_size=32, distill=False,
        class_weight=ONLY_SMALL,
    )  # fmt: skip
    assert _small_only(recover(graph, plan, settings, data, data).model, data)


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ({1: 3}, {1: 3}), ((1.0, 3.0), {0: 1.0, 1: 3.0}), ((), None), ({}, None),
        (dict(zip(np.arange(2), np.array([1.0, 3.0]), strict=True)), {0: 1.0, 1: 3.0}),
        (np.array([1.0, 3.0]), {0: 1.0, 1: 3.0}),
    ],
)  # fmt: skip
def test_the_settings_take_them_by_class_or_in_order(given, held):
    assert FineTune(class_weight=given).class_weight == held


LOGITS = "models with one output that gives one class"
REFUSED = [
    ({"class_weight": {10: 1.0}}, "a class 10, but the model's are the whole numbers from 0 to 9"),
    ({"class_weight": {"1": 1.0}}, "a class '1'"),
    ({"class_weight": {1: -1.0}}, "but class 1 came with -1.0"),
    ({"class_weight": {1: float("nan")}}, "but class 1 came with nan"),
    ({"class_weight": [1.0, 2.0]}, "must be a mapping"),
    ({"model": "several"}, LOGITS),
    ({"model": "multi-label"}, LOGITS),
    ({"train_data": (np.zeros((4, 8, 8, 1)), np.arange(4) + 8)}, "there are labels from 8 to 11"),
    ({"train_data": (np.zeros((4, 8, 8, 1)), np.zeros((4, 2, 2)))}, "labels as class indices"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_be_is_refused(data, arguments, message):
    models = {"several": (10, None, 2), "multi-label": (10, "sigmoid")}
    model = _model(*models.get(arguments.get("model"), ()))
    if "model" in arguments:
        model.compile("adam", "binary_crossentropy")
    settings = {"train_data": data, "class_weight": {1: 2.0}, **arguments, "model": model}
    with pytest.raises(tgp.UserError, match=message):
        tgp.finetune(**settings)


@pytest.mark.parametrize("given", ["balanced", 3.0, {-1: 1.0}, {0: -1.0}, {"a": 1.0}, (1.0, "b")])
def test_the_settings_refuse_what_is_no_weight(given):
    with pytest.raises(tgp.UserError, match="class_weight"):
        FineTune(class_weight=given)


def test_a_run_refuses_them_before_it_searches(data):
    with pytest.raises(tgp.UserError, match="a class 10, but"):
        tgp.compress(
            _model(), data, data, budget=Budget(macs_ratio=0.5),
            search=Search(agent="uniform", rivals=(), evaluations=1),
            finetune=FineTune(class_weight={10: 2.0}),
        )  # fmt: skip
