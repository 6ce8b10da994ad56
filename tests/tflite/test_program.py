"""The export program's logic: a model file in, a checked file out, or a missed tolerance."""

import numpy as np
import pytest
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.tflite.program import export_file


@pytest.fixture
def source(network, digits, tmp_path):
    network.save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", digits.train[0][:50])
    return tmp_path


def test_the_program_exports_and_compares(source):
    (source / "labels.txt").write_text("\n".join("abcdefghij"))
    text = export_file(
        source / "m.keras", source / "m.tflite", quantization="int8",
        representative_data=source / "x.npy", labels=source / "labels.txt",
        normalization={"mean": [0.0], "std": [1.0]}, show_layers=True,
    )  # fmt: skip
    assert "int8" in text and "against Keras on 50 images" in text
    assert "depthwise_relu  DEPTHWISE_CONV_2D" in text
    found = tgp.tflite_metadata(source / "m.tflite")
    assert found["labels"] == [*"abcdefghij"]
    assert found["normalization"] == {"mean": [0.0], "std": [1.0]}


def test_a_missed_tolerance_names_the_layers(source):
    narrow = np.load(source / "x.npy")
    narrow[1:] *= 20  # the first example alone sets ranges in which the others do not fit
    narrow = np.concatenate([np.repeat(narrow[:1], 300, axis=0), narrow[1:]])
    np.savez(source / "narrow.npz", x=narrow)
    with pytest.raises(tgp.ToleranceError, match=r"agrees .* lose most: 'stem_relu' .*clipping\)"):
        export_file(
            source / "m.keras", source / "m.tflite", quantization="int8",
            representative_data=source / "narrow.npz", agreement=0.999,
        )  # fmt: skip
    assert (source / "m.tflite").exists()


def test_a_model_of_quantization_aware_training_is_loaded(network, source):
    quantization = pytest.importorskip("tensorflow_model_optimization").quantization.keras
    aware = quantization.quantize_model(keras.models.clone_model(network))
    aware.save(source / "aware.h5")
    text = export_file(source / "aware.h5", source / "aware.tflite", quantization="int8")
    assert "int8" in text


WRONG = {
    "no images": ({"representative_data": "none.npy"}, "can't read images"),
    "no labels": ({"labels": "none.txt"}, "can't read labels"),
    "layers without images": ({"show_layers": True}, "needs images"),
}


@pytest.mark.parametrize(("settings", "message"), WRONG.values(), ids=WRONG)
def test_what_can_not_be_read_is_named(source, settings, message):
    with pytest.raises(tgp.UserError, match=message):
        export_file(source / "m.keras", source / "m.tflite", **settings)
    assert not (source / "m.tflite").exists()
