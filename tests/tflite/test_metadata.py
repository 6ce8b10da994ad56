"""Metadata inside a file: written, read by name, and in nobody's way."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

import tfgraphprune as tgp
from tfgraphprune.tflite.metadata import with_metadata


def test_what_was_given_is_read_back(files):
    for kind, report in files.items():
        assert tgp.tflite_metadata(report.path) == {
            "tfgraphprune": tgp.__version__,
            "quantization": kind,
            "labels": [f"digit {each}" for each in range(10)],
            "normalization": {"scale": 1 / 16},
        }


def test_other_metadata_and_buffers_stay_and_are_aligned(files):
    content = files["int8"].path.read_bytes()
    again = with_metadata(content, {"note": "zwölf"})
    models = [schema.Model.GetRootAs(each) for each in (content, again)]
    names = [[m.Metadata(i).Name() for i in range(m.MetadataLength())] for m in models]
    assert b"min_runtime_version" in names[0] and names[1] == [*names[0], b"tfgraphprune"]
    start = np.frombuffer(again, np.uint8).__array_interface__["data"][0]
    for position in range(models[0].BuffersLength()):
        before, after = (m.Buffers(position).DataAsNumpy() for m in models)
        assert np.array_equal(before, after)
        if models[1].Buffers(position).DataLength():
            assert (after.__array_interface__["data"][0] - start) % 16 == 0


def test_a_file_without_them_says_so(network, files, tmp_path):
    strange = tmp_path / "strange.tflite"
    strange.write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    with pytest.raises(tgp.UserError, match="no metadata of tfgraphprune"):
        tgp.tflite_metadata(strange)
    with pytest.raises(tgp.UserError, match="does not exist"):
        tgp.tflite_metadata(tmp_path / "none.tflite")
    strange.write_bytes(b"no flatbuffer at all")
    with pytest.raises(tgp.UserError, match="not a TFLite file"):
        tgp.tflite_metadata(strange)
