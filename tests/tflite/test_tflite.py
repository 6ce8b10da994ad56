"""Export, verification and latency on a trained network."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter

import tfgraphprune as tgp
from tfgraphprune.tflite import QUANTIZATIONS, Latency, host_latency, latency_ratio
from tfgraphprune.tflite.program import export_file


@pytest.fixture(scope="module")
def files(digits_model, digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tflite")
    return {
        kind: tgp.export_tflite(
            digits_model,
            folder / f"{kind}.tflite",
            quantization=kind,
            representative_data=digits.train,
        )
        for kind in QUANTIZATIONS
    }


@pytest.mark.parametrize(
    ("kind", "agreement", "max_error"),
    [("float32", 1, 1e-4), ("float16", 0.995, 0.05), ("dynamic_range", 0.99, 2), ("int8", 0.99, 2)],
)
def test_every_quantization_agrees_with_keras(
    files, digits_model, digits, kind, agreement, max_error
):
    check = tgp.verify_tflite(files[kind].path, digits_model, digits.test)
    check.check(agreement=agreement, max_error=max_error)
    assert check.examples == 450
    predictions = digits_model.predict(digits.test[0], verbose=0).argmax(-1)
    assert check.accuracy_keras == (predictions == digits.test[1]).mean() > 0.9


@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_one_named_signature_and_float_ends(files, kind):
    interpreter = Interpreter(str(files[kind].path))
    signatures = interpreter.get_signature_list()
    assert signatures == {"serving_default": {"inputs": ["image"], "outputs": ["logits"]}}
    assert interpreter.get_input_details()[0]["dtype"] == np.float32


def test_int8_is_smaller_and_reports_its_size(files):
    assert files["int8"].bytes == files["int8"].path.stat().st_size
    assert files["int8"].bytes < 0.6 * files["float32"].bytes


def test_integer_ends(digits_model, digits, tmp_path):
    report = tgp.export_tflite(
        digits_model, tmp_path / "m.tflite", quantization="int8", integer_io=True,
        representative_data=tf.data.Dataset.from_tensor_slices(digits.train).batch(50),
    )  # fmt: skip
    assert Interpreter(str(report.path)).get_input_details()[0]["dtype"] == np.int8
    tgp.verify_tflite(report.path, digits_model, digits.test).check(agreement=0.98)


def test_a_free_batch_runs_any_batch(digits_model, digits, tmp_path):
    report = tgp.export_tflite(digits_model, tmp_path / "m.tflite", batch_size=None)
    tgp.verify_tflite(report.path, digits_model, digits.reward, batch_size=7).check(max_error=1e-4)


def test_several_inputs_and_outputs(tmp_path):
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    joined = keras.layers.Concatenate()([left, right])
    outputs = [keras.layers.Dense(2, name="a")(joined), keras.layers.Dense(5, name="b")(joined)]
    model = keras.Model([left, right], outputs)
    report = tgp.export_tflite(model, tmp_path / "m.tflite")
    random = np.random.default_rng(0)
    x = [random.normal(size=(6, n)).astype(np.float32) for n in (4, 3)]
    check = tgp.verify_tflite(report.path, model, (x, np.zeros(6, int)))
    assert check.max_error < 1e-4


def test_a_wrong_file_is_noticed(digits_model, digits, tmp_path):
    other = keras.models.clone_model(digits_model)
    report = tgp.export_tflite(other, tmp_path / "m.tflite")
    check = tgp.verify_tflite(report.path, digits_model, digits.reward)
    assert check.agreement < 0.5
    with pytest.raises(tgp.ToleranceError, match="agrees with Keras on"):
        check.check()
    with pytest.raises(tgp.ToleranceError, match="largest error"):
        check.check(agreement=0, max_error=1e-4)


def test_latency_is_paired(files):
    paths = {kind: files[kind].path for kind in ("float32", "float16")}
    latency = host_latency(paths, runs=20, warmup=2)
    assert latency["float32"].runs == len(latency["float32"].samples_ms) == 20
    assert 0 < latency["float32"].p10_ms <= latency["float32"].median_ms
    slow = Latency(4, 4, 4, 3, (2.0, 4.0, 9.0))
    fast = Latency(2, 2, 2, 3, (1.0, 2.0, 3.0))
    assert latency_ratio(slow, fast) == 2


def test_nothing_is_overwritten_or_left_behind(digits_model, files, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_text("mine")
    with pytest.raises(tgp.UserError):
        tgp.export_tflite(digits_model, path)
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]
    tgp.export_tflite(digits_model, path, overwrite=True)
    assert path.stat().st_size == files["float32"].bytes
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantization": "int2"}, "int2"),
        ({"quantization": "int8"}, "representative"),
        ({"path": "no/such/folder/m.tflite"}, "folder"),
    ],
)
def test_bad_arguments_are_refused(digits_model, tmp_path, arguments, message):
    with pytest.raises(tgp.UserError, match=message):
        tgp.export_tflite(digits_model, **{"path": tmp_path / "m.tflite", **arguments})
    assert not list(tmp_path.iterdir())


def test_the_program_exports_and_compares(digits_model, digits, tmp_path):
    digits_model.save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", digits.train[0][:50])
    text = export_file(
        tmp_path / "m.keras", tmp_path / "m.tflite", quantization="int8",
        representative_data=tmp_path / "x.npy",
    )  # fmt: skip
    assert "int8" in text and "against Keras on 50 images" in text
    assert (tmp_path / "m.tflite").stat().st_size > 10_000
    with pytest.raises(tgp.UserError, match="can't read images"):
        export_file(tmp_path / "m.keras", tmp_path / "n", representative_data=tmp_path / "none")
