"""Export: every kind of file on a trained network, ends, batches, refusals."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import tfgraphprune as tgp
from tests.support import run_python
from tfgraphprune.tflite import QUANTIZATIONS

LEAST_AGREEMENT = {
    "float32": (1, 1e-4),
    "float16": (0.995, 0.05),
    "dynamic_range": (0.99, 0.5),
    "int8": (0.99, 1),
    "int16x8": (0.99, 1),
}


@pytest.mark.parametrize(("kind", "bounds"), LEAST_AGREEMENT.items(), ids=LEAST_AGREEMENT)
def test_every_quantization_agrees_with_keras(files, network, digits, kind, bounds):
    agreement, max_error = bounds
    check = tgp.verify_tflite(files[kind].path, network, digits.test)
    check.check(agreement=agreement, max_error=max_error)
    assert check.examples == 450
    predictions = network.predict(digits.test[0], verbose=0).argmax(-1)
    assert check.accuracy_keras == (predictions == digits.test[1]).mean() > 0.95


def test_the_table_has_every_kind_but_the_extra():
    assert {*LEAST_AGREEMENT, "int4"} == set(QUANTIZATIONS)


@pytest.mark.parametrize("kind", LEAST_AGREEMENT)
def test_one_named_signature_and_float_ends(files, kind):
    interpreter = Interpreter(str(files[kind].path))
    signatures = interpreter.get_signature_list()
    assert signatures == {"serving_default": {"inputs": ["image"], "outputs": ["logits"]}}
    assert interpreter.get_input_details()[0]["dtype"] == np.float32


def test_weights_are_stored_in_fewer_bytes(files):
    for report in files.values():
        assert report.bytes == report.path.stat().st_size
    sizes = [files[kind].bytes for kind in ("float32", "float16", "int8")]
    assert sizes[1] < 0.7 * sizes[0] and sizes[2] < 0.6 * sizes[0]


@pytest.mark.parametrize(("kind", "dtype"), [("int8", np.int8), ("int16x8", np.int16)])
def test_integer_ends(network, digits, tmp_path, kind, dtype):
    report = tgp.export_tflite(
        network, tmp_path / "m.tflite", quantization=kind, integer_io=True,
        representative_data=tf.data.Dataset.from_tensor_slices(digits.train).batch(50),
    )  # fmt: skip
    interpreter = Interpreter(str(report.path))
    ends = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert {each["dtype"] for each in ends} == {dtype}
    tgp.verify_tflite(report.path, network, digits.test).check(agreement=0.98)


def test_random_data_are_used_on_demand(network, tmp_path):
    report = tgp.export_tflite(
        network, tmp_path / "m.tflite", quantization="int8", representative_data="random"
    )
    assert report.ops["CONV_2D"] and "QUANTIZE" in report.ops
    with pytest.raises(tgp.UserError, match="must be examples or 'random'"):
        tgp.export_tflite(
            network, tmp_path / "n.tflite", quantization="int8", representative_data="x.npy"
        )


def test_a_free_batch_runs_any_batch(network, digits, tmp_path):
    report = tgp.export_tflite(network, tmp_path / "m.tflite", batch_size=None)
    tgp.verify_tflite(report.path, network, digits.reward, batch_size=7).check(max_error=1e-4)


def test_quantization_aware_training_brings_its_own_ranges(network, digits, tmp_path):
    quantization = pytest.importorskip("tensorflow_model_optimization").quantization.keras
    aware = quantization.quantize_model(network)
    aware.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    aware.fit(*digits.train, epochs=1, verbose=0)
    report = tgp.export_tflite(aware, tmp_path / "m.tflite", quantization="int8")
    tensors = Interpreter(str(report.path)).get_tensor_details()
    kinds = [each["dtype"] for each in tensors if len(each["shape"]) == 4]
    assert kinds.count(np.float32) == 1, "only the file's input is in float"
    # The ranges are those that Keras simulates, so that both agree far better than after training.
    tgp.verify_tflite(report.path, aware, digits.test).check(agreement=0.995, max_error=0.15)
    with pytest.raises(tgp.UserError, match="was trained for int8"):
        tgp.export_tflite(aware, tmp_path / "n.tflite", quantization="int16x8")


def test_int4_names_its_extra(tmp_path):
    code = (
        "import sys, tf_keras as keras, tfgraphprune as tgp\n"
        "model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])\n"
        "try: tgp.export_tflite(model, 'm.tflite', quantization='int4')\n"
        "except tgp.MissingExtraError as error: print(error)"
    )
    ended = run_python(code, blocked=("litert_quantizer",), cwd=tmp_path)
    assert "pip install 'tfgraphprune[int4]'" in ended.stdout, ended.stderr
    assert not list(tmp_path.iterdir())


def test_int4_halves_the_weights_of_int8(network, digits, files, tmp_path):
    report = tgp.export_tflite(network, tmp_path / "m.tflite", quantization="int4")
    assert report.bytes < files["float32"].bytes / 2
    assert tgp.tflite_metadata(report.path)["quantization"] == "int4"
    assert tgp.verify_tflite(report.path, network, digits.test).agreement > 0.8


def bits(path):
    """Bits of each kernel, by the layer it belongs to."""
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    reader = Interpreter(str(path), experimental_op_resolver_type=plain)
    names = {each["index"]: each["name"] for each in reader.get_tensor_details()}
    content = schema.Model.GetRootAs(path.read_bytes()).Subgraphs(0)
    kinds = {
        content.Tensors(i).Name().decode(): content.Tensors(i).Type()
        for i in range(content.TensorsLength())
    }
    widths = {schema.TensorType.INT4: 4, schema.TensorType.INT8: 8}
    return {
        name.split("/")[1]: widths[kinds[name]]
        for name in names.values()
        if kinds.get(name) in widths
    }


def test_some_layers_keep_8_bits(network, digits, tmp_path):
    layers = {layer.name for layer in network.layers}
    reports = {
        kept: tgp.export_tflite(
            network, tmp_path / f"{len(kept)}.tflite", quantization="int4", int8_layers=kept
        )
        for kept in ((), ("stem*", "logits"))
    }
    plain, mixed = (bits(report.path) for report in reports.values())
    assert set(plain.values()) == {4} and set(plain) <= layers
    changed = {layer for layer in plain if mixed[layer] == 8}
    assert changed == {layer for layer in plain if layer.startswith("stem") or layer == "logits"}
    assert {"stem", "logits"} <= changed < set(plain)
    errors = [
        tgp.verify_tflite(report.path, network, digits.test).mean_error
        for report in reports.values()
    ]
    assert errors[1] < errors[0]
    with pytest.raises(tgp.UserError, match="no layer is called so"):
        tgp.export_tflite(
            network, tmp_path / "n.tflite", quantization="int4", int8_layers=["nothing"]
        )
    with pytest.raises(tgp.UserError, match="int8_layers needs quantization='int4'"):
        tgp.export_tflite(network, tmp_path / "n.tflite", int8_layers=["stem"])


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
    assert check.max_error == max(each.max_error for each in check.outputs.values())
    assert list(check.outputs) == ["a", "b"]


def test_nothing_is_overwritten_or_left_behind(network, files, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_text("mine")
    with pytest.raises(tgp.UserError):
        tgp.export_tflite(network, path)
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]
    tgp.export_tflite(network, path, overwrite=True)
    assert path.read_bytes()[4:8] == b"TFL3"
    assert list(tmp_path.iterdir()) == [path]


REFUSED = {
    "no such kind": ({"quantization": "int2"}, "int2"),
    "int8 without data": ({"quantization": "int8"}, "representative"),
    "int16x8 without data": ({"quantization": "int16x8"}, "representative"),
    "integers with float": ({"integer_io": True}, "integer_io needs"),
    "no folder": ({"path": "no/such/folder/m.tflite"}, "folder"),
    "too few labels": ({"labels": ["zero", "one"]}, "2 names, but .* 10"),
    "labels in one string": ({"labels": "0123456789"}, "list of strings"),
    "half a normalization": ({"normalization": {"mean": 0.5}}, "'mean' and 'std'"),
    "a zero to divide by": ({"normalization": {"mean": 0, "std": [1, 0, 1]}}, "zero"),
    "no numbers": ({"normalization": {"scale": "much"}}, "numbers"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_arguments_are_refused(network, tmp_path, arguments, message):
    with pytest.raises(tgp.UserError, match=message):
        tgp.export_tflite(network, **{"path": tmp_path / "m.tflite", **arguments})
    assert not list(tmp_path.iterdir())
