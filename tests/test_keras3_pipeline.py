"""A Keras 3 model goes through every step, and comes back as Keras 3."""

import keras
import numpy as np
import pytest
from keras import layers

import tfgraphprune as tgp

OWN = {"search": tgp.Search(agent="uniform", evaluations=1), "seed": 0}


@pytest.fixture(scope="module")
def model():
    start = keras.Input((8, 8, 1), name="image")
    x = start
    for filters in (8, 12):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dense(10, name="logits")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(start, x)


def test_compress_gives_a_keras_3_model_back(model, digits, tmp_path):
    train = (digits.train[0][:256], digits.train[1][:256])
    before = model.get_weights()
    result = tgp.compress(
        model, train, digits.reward, budget=tgp.Budget(macs_ratio=0.5),
        finetune=tgp.FineTune(epochs=1), workdir=tmp_path / "run", **OWN,
    )  # fmt: skip
    assert isinstance(result.model, keras.Model) and result.dense is model
    assert tgp.count_macs(result.model) <= 0.5 * tgp.count_macs(model)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    x = digits.test[0][:32]
    saved = tgp.load_result(tmp_path / "run").model  # the files hold the twin
    np.testing.assert_allclose(result.model(x), saved(x), atol=1e-5)
    result.model.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(result.model(x), loaded(x))


def test_fine_tuning_and_export(model, digits, tmp_path):
    small = tgp.prune(
        model, tgp.PruningPlan.from_keep_ratios(tgp.LayerGraph.from_model(model), 0.5)
    )
    train = (digits.train[0][:256], digits.train[1][:256])
    before = small.get_weights()
    rows = tgp.finetune(small, train, epochs=2, teacher=model, verbose=0)
    assert len(rows) == 2 and np.isfinite(rows[-1]["loss"])
    assert any((a != b).any() for a, b in zip(before, small.get_weights(), strict=True))
    tgp.export_tflite(small, tmp_path / "small.tflite")
    check = tgp.verify_tflite(tmp_path / "small.tflite", small, digits.test)
    assert check.agreement == 1.0
