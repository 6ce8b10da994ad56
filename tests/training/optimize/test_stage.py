"""What the steps share: they resume, and they run beside Keras 3."""

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tests.training.optimize.networks import trained
from tfgraphprune.training.optimize.stage import default_rate
from tfgraphprune.training.recovery import recover

STEPS = {
    "sparsify": {"sparsity": 0.5},
    "cluster": {"clusters": 8},
    "quantize_aware": {"preserve": None},
}


@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_was_stopped_goes_on_where_it_was(step, digits, tmp_path):
    data = tf.data.Dataset.from_tensor_slices(digits.train).take(256).batch(64)
    run, model = getattr(tgp, step), trained("plain")
    settings = {**STEPS[step], "epochs": 3, "optimizer": "adam", "verbose": 0}

    def stop(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    whole = run(model, data, **settings)
    with pytest.raises(KeyboardInterrupt):
        run(model, data, checkpoint_dir=tmp_path, on_epoch=stop, **settings)
    epochs = []
    resumed = run(
        model, data, checkpoint_dir=tmp_path, on_epoch=lambda row: epochs.append(row["epoch"]),
        **settings,
    )  # fmt: skip
    assert epochs == [2, 3] and len(resumed.history) == 3
    for left, right in zip(whole.model.weights, resumed.model.weights, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)


def test_a_model_of_keras_3_comes_back_as_one(digits):
    layers = keras3.layers
    start = keras3.Input((8, 8, 1))
    x = layers.ReLU()(layers.Conv2D(8, 3, name="conv")(start))
    model = keras3.Model(start, layers.Dense(10, name="logits")(layers.Flatten()(x)))
    result = tgp.sparsify(model, digits.train, sparsity=0.5, epochs=1, teacher=model, verbose=0)
    assert isinstance(result.model, keras3.Model) and result.model is not model
    assert (np.asarray(result.model.get_layer("conv").kernel) == 0).mean() == 0.5
    with pytest.raises(tgp.UserError, match="quantize_aware needs a program"):
        tgp.quantize_aware(model, digits.train)


@pytest.mark.parametrize(
    ("compiled", "optimizer", "expected"),
    [(False, None, 0.5), (False, "adam", 0.1), (True, None, None), (True, "adam", 0.1)],
)
def test_the_rate_is_that_of_the_step_unless_a_compiled_optimizer_has_its_own(
    compiled, optimizer, expected
):
    model = trained_copy(trained("plain"))
    if compiled:
        model.compile("adam", "mse")
    assert default_rate(model, optimizer, {"sgd": 0.5, "adam": 0.1}) == expected


def test_an_optimizer_that_averages_weights_is_refused(digits):
    model = trained_copy(trained("plain"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(use_ema=True), loss)
    with pytest.raises(tgp.UserError, match="use_ema"):
        tgp.sparsify(model, digits.train, sparsity=0.5, epochs=1)


BESIDE = """
import os
import tensorflow as tf
import tf_keras as keras
tf.keras.layers
before = {**os.environ}
import numpy as np, tfgraphprune as tgp, tf_keras
from tfgraphprune.training.data import load_digits
data = load_digits(0).train
model = tf_keras.Sequential([
    tf_keras.Input((8, 8, 1)), tf_keras.layers.Conv2D(8, 3, activation="relu", name="conv"),
    tf_keras.layers.Flatten(), tf_keras.layers.Dense(10, activation="softmax", name="logits"),
])
rows = []
sparse = tgp.sparsify(model, data, sparsity=0.5, epochs=2, teacher=model, on_epoch=rows.append)
assert [row["epoch"] for row in rows] == [1, 2] and rows == sparse.history
assert isinstance(sparse.model, tf_keras.Model)
both = tgp.cluster(sparse.model, data, clusters=5, preserve_sparsity=True, epochs=1)
kernel = both.model.get_layer("logits").kernel.numpy()
assert (kernel == 0).mean() >= 0.5 and len(np.unique(kernel)) == 5
assert before == {**os.environ}
try:
    tgp.quantize_aware(model, data)
except tgp.UserError as error:
    print("\\nrefused", error)
"""


def test_beside_keras_3_a_worker_sparsifies_and_clusters(run_python):
    ended = run_python(BESIDE)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("refused quantize_aware needs a program")


def test_the_loss_of_a_wrapped_softmax_is_that_of_probabilities(digits):
    """Taken for logits, probabilities give a loss above 1.46 for ten classes."""
    model = trained("plain")
    plain = tgp.finetune(trained_copy(model), digits.train, epochs=1, learning_rate=1e-6, verbose=0)
    for step, settings in STEPS.items():
        settings = {**settings, "epochs": 1, "learning_rate": 1e-6, "verbose": 0}
        settings |= {"sparsity": 0.01} if step == "sparsify" else {}
        settings |= {"clusters": 32} if step == "cluster" else {}
        row = getattr(tgp, step)(model, digits.train, **settings).history[0]
        assert row["loss"] == pytest.approx(plain[0]["loss"], abs=0.3)


def trained_copy(model):
    from tfgraphprune.pruning.masking import copy_model

    return copy_model(model)


@pytest.mark.parametrize("step", ["sparsify", "cluster", "quantize_aware", "gradual"])
def test_the_strategy_of_the_model_is_kept(step):
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope():
        image = keras.Input((8, 8, 1))
        x = keras.layers.ReLU()(keras.layers.Conv2D(4, 3)(image))
        model = keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(x)))
    data = np.random.default_rng(0).random((32, 8, 8, 1), np.float32), np.arange(32) % 10
    if step == "gradual":
        graph = tgp.LayerGraph.from_model(model)
        plan = tgp.PruningPlan.from_keep_ratios(graph, 0.5)
        tuning = tgp.FineTune(epochs=1, recovery=step)
        assert recover(graph, plan, tuning, data, data).model.distribute_strategy is strategy
        return
    settings = {"sparsify": {"sparsity": 0.5}, "cluster": {"clusters": 8}}.get(step, {})
    found = getattr(tgp, step)(model, train_data=data, epochs=1, verbose=0, **settings)
    assert found.model.distribute_strategy is strategy
