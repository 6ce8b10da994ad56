"""`compress` for models that are no classifiers of one label: judged by the user's own metric."""

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.pruning.tasks import fresh_optimizer
from tfgraphprune.shipping import measured
from tfgraphprune.training.recovery import recover

L = keras.layers
SETTINGS = {
    "budget": tgp.Budget(macs_ratio=0.6),
    "search": tgp.Search(agent="random", evaluations=2, rivals=("uniform",)),
    "finetune": tgp.FineTune(epochs=1, batch_size=32),
}


def trunk(x):
    for width, strides in ((8, 1), (12, 2)):
        x = L.Conv2D(width, 3, strides, "same", use_bias=False)(x)
        x = L.Activation("relu")(L.BatchNormalization()(x))
    return x


def regression(x, y):
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, L.Dense(1)(L.GlobalAveragePooling2D()(trunk(image))))
    model.compile("adam", "mse", metrics=["mae"])
    return model, x, y[:, None].astype(np.float32), lambda y, z: -float(np.abs(y - z).mean())


def multi_label(x, y):
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, L.Dense(3, "sigmoid")(L.Flatten()(trunk(image))))
    model.compile("adam", keras.losses.BinaryCrossentropy())
    labels = np.stack([y % 2, y > 4, y % 3 == 0], 1).astype(np.float32)
    return model, x, labels, lambda y, z: float(((z > 0.5) == (y > 0.5)).mean())


def segmentation(x, y):
    image = keras.Input((8, 8, 1))
    up = L.Conv2DTranspose(8, 2, 2)(trunk(image))
    model = keras.Model(image, L.Conv2D(2, 1, activation="softmax")(up))
    model.compile("adam", "sparse_categorical_crossentropy")
    labels = (x[..., 0] > 0.5).astype(np.int32)
    return model, x, labels, lambda y, z: float((z.argmax(-1) == y).mean())


def several(x, y):
    """Two inputs, in another order than their names' one, and two outputs."""
    image, hint = keras.Input((8, 8, 1), name="picture"), keras.Input((2,), name="hint")
    features = L.Concatenate()([L.GlobalAveragePooling2D()(trunk(image)), L.Dense(4)(hint)])
    outputs = L.Dense(10, name="digit")(features), L.Dense(1, name="ink")(features)
    model = keras.Model([image, hint], outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", {"digit": loss, "ink": "mse"})
    hints = np.stack([y % 2, y > 4], 1).astype(np.float32)
    labels = {"digit": y, "ink": x.mean((1, 2, 3))[:, None]}
    return model, {"hint": hints, "picture": x}, labels, right_digits


def right_digits(labels, outputs):
    assert outputs[1].shape == labels["ink"].shape
    return float((outputs[0].argmax(-1) == labels["digit"]).mean())


def as_dataset(data):
    return tf.data.Dataset.from_tensor_slices(data).batch(32)


@pytest.mark.parametrize(
    "task, kind",
    [
        (regression, tuple), (multi_label, tuple), (segmentation, as_dataset), (several, tuple),
        (several, as_dataset),
    ],
)  # fmt: skip
def test_a_metric_judges_search_models_and_files(digits, tmp_path, task, kind):
    parts = [[part[:192] for part in split] for split in (digits.train, digits.reward)]
    (model, *train, metric), (_, *held, _) = (task(*part) for part in parts)
    result = tgp.compress(
        model, kind(tuple(train)), kind(tuple(held)), metric=metric, workdir=tmp_path, **SETTINGS
    )  # fmt: skip
    figures = result.metrics
    assert figures["pruned"]["macs"] <= 0.6 * figures["dense"]["macs"]
    assert figures["pruned"]["score"] == pytest.approx(measured(result.model, tuple(held), metric))
    assert figures["dense"]["score"] == pytest.approx(measured(model, tuple(held), metric))
    float32 = figures["tflite"]["float32"]
    assert float32["score"] == pytest.approx(figures["pruned"]["score"], abs=1e-3)
    assert float32["max_error"] < 1e-4
    assert np.isfinite(figures["search"]["random"]["best_reward"])
    assert np.isfinite(result.history["finetune"][-1]["loss"])
    assert "score" in result.summary() and "accuracy" not in result.summary()
    assert tgp.load_result(tmp_path).metrics == figures


@pytest.mark.parametrize(
    ("task", "recovery"),
    [
        (several, "gradual"), (several, "soft"), (several, "refill"), (several, "reconstruct"),
        (multi_label, "gradual"),
    ],
)  # fmt: skip
def test_every_recovery_trains_on_the_losses_of_the_compile(digits, task, recovery):
    model, x, y, _ = task(*(part[:192] for part in digits.train))
    model.compile(model.optimizer, scaled(model.loss))
    graph = tgp.LayerGraph.from_model(model)
    plan = tgp.PruningPlan.from_keep_ratios(graph, 0.5)
    settings = tgp.FineTune(epochs=2, recovery=recovery, batch_size=32, distill=False)
    found = recover(graph, plan, settings, (x, y), (x, y))
    # The loss of the compile, not the cross-entropy that serves models that were not compiled.
    assert all(row["loss"] > 50 for row in found.rows)
    assert found.model.optimizer is not None and found.model.loss == model.loss
    assert found.model.count_params() < model.count_params()


def scaled(loss):
    """A bare function of its own for each loss, a thousand times as large."""
    if isinstance(loss, dict):
        return {name: scaled(each) for name, each in loss.items()}
    measured = keras.losses.get(loss)
    name = getattr(measured, "name", loss)

    def thousandfold(y, z):
        return 1000.0 * tf.reduce_mean(measured(y, z))

    thousandfold.__name__ = name
    return thousandfold


class Optimizers(keras.callbacks.Callback):
    """What a training was stepped by."""

    def on_train_begin(self, logs=None):
        self.used = self.model.optimizer


@pytest.mark.parametrize("task", [multi_label, several])
@pytest.mark.parametrize(
    "step", [{"sparsity": 0.5}, {"clusters": 8}, {"preserve": None}], ids=lambda s: next(iter(s))
)
def test_the_steps_of_tfmot_train_on_the_losses_of_the_compile(digits, task, step):
    model, x, y, _ = task(*(part[:192] for part in digits.train))
    model.compile(keras.optimizers.RMSprop(2e-4), model.loss)
    name = {"sparsity": "sparsify", "clusters": "cluster", "preserve": "quantize_aware"}
    run, optimizers = getattr(tgp, name[next(iter(step))]), Optimizers()
    with pytest.raises(tgp.UserError, match="needs optimizer too"):
        run(model, (x, y), learning_rate=0.1, **step)
    found = run(model, (x, y), epochs=1, verbose=0, callbacks=(optimizers,), **step)
    assert "accuracy" not in found.history[0] and found.history[0]["loss"] < 10.0
    assert type(optimizers.used) is keras.optimizers.RMSprop
    assert optimizers.used.learning_rate.numpy() == pytest.approx(2e-4)
    if "preserve" not in step:
        assert found.model.optimizer is not None


def adamw():
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.1)
    return optimizer, optimizer


def scaled_adamw():
    optimizer, _ = adamw()
    return keras.mixed_precision.LossScaleOptimizer(optimizer), optimizer


def adamw_of_keras3():
    optimizer = keras3.optimizers.AdamW(1e-3, weight_decay=0.1)
    return optimizer, optimizer


@pytest.mark.parametrize("make", [adamw, scaled_adamw, adamw_of_keras3])
def test_what_has_no_weight_decay_has_none_in_the_pruned_model(make):
    optimizer, inner = make()
    own = keras3 if isinstance(optimizer, keras3.Optimizer) else keras
    start = own.Input((8, 8, 1))
    x = own.layers.Conv2D(8, 3, name="first")(start)
    x = own.layers.GlobalAveragePooling2D()(own.layers.Conv2D(8, 3, name="second")(x))
    model = own.Model(start, own.layers.Dense(3, name="scores")(x))
    inner.exclude_from_weight_decay([model.get_layer("second").kernel], ["bias"])
    model.compile(optimizer, "mse")
    small = tgp.prune(
        model, tgp.PruningPlan.from_keep_ratios(tgp.LayerGraph.from_model(model), 0.5)
    )
    for one in (small.optimizer, fresh_optimizer(model, model)):
        target = small if one is small.optimizer else model
        one = getattr(one, "inner_optimizer", one)
        decayed = {
            f"{layer.name}/{kind}": one._use_weight_decay(getattr(layer, kind))
            for layer in target.layers
            for kind in ("kernel", "bias")
            if layer.weights
        }
        assert [name for name, decays in decayed.items() if decays] == [
            "first/kernel", "scores/kernel",
        ]  # fmt: skip


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"precision": "mixed_bfloat16"}, "is for models that were not compiled"),
        ({"learning_rate": 0.1}, "needs optimizer too"),
        ({"label_smoothing": 0.1}, "can't be added to the loss"),
    ],
)
def test_what_a_compile_leaves_no_room_for_is_refused_before_the_search(digits, settings, message):
    model, x, y, _ = multi_label(*(part[:64] for part in digits.train))
    finetune = tgp.FineTune(epochs=1, **settings)

    def judge(*_):
        raise AssertionError("the search has begun")

    with pytest.raises(tgp.UserError, match=message):
        tgp.compress(model, (x, y), (x, y), metric=judge, **{**SETTINGS, "finetune": finetune})


def test_stages_that_resume_keep_the_compile(digits, tmp_path):
    model, x, y, metric = regression(*(part[:192] for part in digits.train))
    settings = {**SETTINGS, "finetune": tgp.FineTune(epochs=2, stages=2, batch_size=32)}
    calls = []

    def judge(labels, outputs):
        calls.append(1)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return metric(labels, outputs)

    def run(folder):
        return tgp.compress(model, (x, y), (x, y), metric=judge, workdir=folder, **settings)

    stop = 0
    alone = run(tmp_path / "alone")
    # A look at the last plan of the second stage's search: the first stage is over.
    stop = len(calls) - 3
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped")
    calls.clear()
    stop = 0
    resumed = run(tmp_path / "stopped")
    assert resumed.history["finetune"] == alone.history["finetune"]
    assert resumed.model.optimizer is not None


def test_a_policy_reads_several_inputs_and_data_are_split_without_classes(digits):
    model, x, y, metric = several(*(part[:192] for part in digits.train))
    x = [x["picture"], x["hint"]]
    settings = {**SETTINGS, "search": tgp.Search(evaluations=3, rivals=())}
    found = tgp.compress(model, (x, y), metric=metric, **settings)
    assert 0 <= found.metrics["pruned"]["score"] <= 1


def test_a_reward_alone_judges(digits):
    model, x, y, _ = regression(*(part[:192] for part in digits.train))
    found = tgp.compress(model, (x, y), (x, y), reward=lambda model: -1.5, **SETTINGS)
    assert found.metrics["pruned"]["score"] == -1.5
    assert "score" not in found.metrics["tflite"]["float32"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"metric": None}, "give a metric"),
        ({"search": tgp.Search(agent="uniform", rivals=("knapsack",))}, "'knapsack' takes grad"),
        ({"compiled": False}, "must be compiled with its losses"),
        ({"without": "hint"}, "the model also needs"),
    ],
)
def test_what_nobody_could_judge_or_train_is_refused(digits, changes, message):
    model, x, y, metric = several(*(part[:64] for part in digits.train))
    if not changes.pop("compiled", True):
        model = keras.models.clone_model(model)
    x.pop(changes.pop("without", None), None)
    with pytest.raises(tgp.UserError, match=message):
        tgp.compress(model, (x, y), (x, y), **{"metric": metric, **SETTINGS, **changes})
