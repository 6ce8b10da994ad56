"""Recurrent layers: fused at a fixed batch, unrolled where a loop can't be quantized."""

import pytest
import tf_keras as keras

import tfgraphprune as tgp

LAYERS = keras.layers


@pytest.fixture(scope="module")
def rows(digits):
    """The digits as sequences of eight rows."""
    return [(x.reshape(-1, 8, 8), y) for x, y in (digits.train, digits.test)]


def sequence_model(cell, rows, epochs=6):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8), name="rows")
    model = keras.Model(inputs, LAYERS.Dense(10, name="logits")(cell(inputs)))
    model.compile(
        keras.optimizers.Adam(5e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(*rows[0], epochs=epochs, batch_size=32, verbose=0)
    return model


CELLS = {
    "LSTM": lambda x: LAYERS.LSTM(24)(LAYERS.LSTM(16, return_sequences=True)(x)),
    "Bidirectional": LAYERS.Bidirectional(LAYERS.LSTM(24)),
    "GRU": LAYERS.GRU(24),
    "masked LSTM": lambda x: LAYERS.LSTM(24)(LAYERS.Masking(-1.0)(x)),
}
FUSED = {"LSTM": 2, "Bidirectional": 2, "GRU": 0, "masked LSTM": 0}


@pytest.fixture(scope="module", params=CELLS)
def trained(request, rows):
    return request.param, sequence_model(CELLS[request.param], rows)


def test_float_and_integers_agree_with_keras(trained, rows, tmp_path):
    name, model = trained
    for kind, agreement in (("float32", 1), ("int8", 0.97)):
        report = tgp.export_tflite(
            model, tmp_path / f"{kind}.tflite", quantization=kind, representative_data=rows[0]
        )
        assert report.ops["UNIDIRECTIONAL_SEQUENCE_LSTM"] == FUSED[name]
        assert report.stateful == bool(FUSED[name])
        tgp.verify_tflite(report.path, model, rows[1]).check(agreement=agreement)
        loops = kind == "float32" and not FUSED[name]
        assert report.ops["WHILE"] == loops
    assert not any(getattr(layer, "unroll", False) for layer in model.layers)


@pytest.mark.parametrize(
    "settings", [{"quantization": "int16x8"}, {"batch_size": None}], ids=["int16x8", "free batch"]
)
def test_what_has_no_fused_operation_is_unrolled(rows, tmp_path, settings):
    model = sequence_model(LAYERS.LSTM(8), rows, epochs=1)
    report = tgp.export_tflite(
        model, tmp_path / "m.tflite", representative_data=rows[0], **settings
    )
    assert not report.stateful and not report.ops["WHILE"]
    assert report.ops["FULLY_CONNECTED"] > 8
    tgp.verify_tflite(report.path, model, rows[1]).check(agreement=0.97)


def test_a_loop_of_the_users_own_is_refused_for_integers(tmp_path):
    import numpy as np
    import tensorflow as tf

    class Loop(LAYERS.Layer):
        def call(self, x):
            return tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 2.0), (0, x))[1]

    inputs = keras.Input((4,))
    model = keras.Model(inputs, LAYERS.Dense(3)(Loop()(inputs)))
    data = (np.ones((8, 4), np.float32), None)
    with pytest.raises(tgp.UserError, match="has a loop"):
        tgp.export_tflite(
            model, tmp_path / "m.tflite", quantization="int8", representative_data=data
        )
    assert tgp.export_tflite(model, tmp_path / "m.tflite").ops["WHILE"] == 1
