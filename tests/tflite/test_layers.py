"""Layer by layer: matched tensors, the layers that lose, the causes."""

import numpy as np
import pytest
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.tflite.causes import cause_of
from tfgraphprune.tflite.matching import LayerNames, graph_names

LAYERS = (
    "stem_relu", "expand_relu", "depthwise_relu", "project_bn", "add", "strided", "pool", "logits",
)  # fmt: skip


def test_every_operation_is_matched_to_its_last_layer(files, network, digits):
    for kind, most in (("float32", 1e-5), ("dynamic_range", 0.05), ("int8", 0.2)):
        found = tgp.compare_layers(files[kind].path, network, digits.test)
        assert tuple(each.layer for each in found.layers) == LAYERS
        assert found.unmatched == 0
        assert all(each.error < most for each in found.layers)
        assert kind != "float32" or not found.losing
    assert found.layers[-1].error > 0.005  # int8: errors are measured, not zero by mistake


def test_increases_are_over_the_inputs(files, network, digits):
    rows = {row.layer: row for row in tgp.compare_layers(
        files["int8"].path, network, digits.test
    ).layers}  # fmt: skip
    larger = max(rows["stem_relu"].error, rows["project_bn"].error)
    assert rows["add"].increase == pytest.approx(rows["add"].error - larger)
    assert rows["stem_relu"].increase == rows["stem_relu"].error


def test_a_narrow_calibration_is_told_from_the_rest(network, digits, tmp_path):
    dark = digits.train[0] * 0.2, None
    report = tgp.export_tflite(
        network, tmp_path / "m.tflite", quantization="int8", representative_data=dark
    )
    found = tgp.compare_layers(report.path, network, digits.test)
    assert "stem_relu" in [each.layer for each in found.losing]
    assert {each.cause for each in found.losing} == {"clipping"}
    assert "more representative data" in str(found)


def test_a_channel_that_dwarfs_the_others_is_found(network, digits, tmp_path):
    """One huge channel takes all the steps of int8; int16x8 helps, as the advice says."""
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(8, 3, activation="relu", name="first")(image)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, name="second")(x))
    model = keras.Model(image, keras.layers.Dense(10, name="last")(x), name="outlier")
    kernel, bias = model.get_layer("first").get_weights()
    bias[0] = -6.0  # only the brightest patches pass
    kernel[..., 0] = 40.0
    model.get_layer("first").set_weights([kernel, bias])
    kernel, bias = model.get_layer("second").get_weights()
    kernel[:, :, 0] *= 1e-3
    model.get_layer("second").set_weights([kernel, bias])
    errors = {}
    for kind in ("int8", "int16x8"):
        report = tgp.export_tflite(
            model, tmp_path / f"{kind}.tflite", quantization=kind, representative_data=digits.train
        )
        found = tgp.compare_layers(report.path, model, digits.train, examples=100)
        errors[kind] = {each.layer: each for each in found.layers}
    losing = errors["int8"]["second"]
    assert losing.increase > 0.1
    assert errors["int16x8"]["second"].error < losing.error / 2


CAUSES = {
    "clipping": {"clipped": 0.01},
    "activation range": {"scale": 0.5},
    "weight ranges": {"weights": [(np.array([[1.0, 1.0, 100.0]]), 1)]},
    "weights": {"weights": [(np.array([[1.0, 1.0, 100.0]]), 3)]},
    "arithmetic": {},
}


@pytest.mark.parametrize(("cause", "given"), CAUSES.items(), ids=CAUSES)
def test_a_cause_for_each_kind_of_loss(cause, given):
    plain = {"increase": 0.2, "scale": 0.01, "spread": 1.0, "clipped": 0.0, "weights": []}
    found, advice = cause_of(**{**plain, **given})
    assert found == cause and len(advice) > 20


def test_layers_of_nested_models_and_second_calls_are_named():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="deep")], name="inner")
    shared = keras.layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, shared(inner(shared(inputs))), name="outer")
    names = LayerNames(model)
    assert names.of("outer/inner/deep/BiasAdd") == "inner/deep"
    assert names.of("outer/shared_1/MatMul") == "shared"
    assert names.of("elsewhere/op") == "elsewhere/op"
    assert list(graph_names("m/a/Relu;m/b/Conv2D1")) == ["m/a/Relu", "m/b/Conv2D1", "m/b/Conv2D"]
    assert list(graph_names("serve:0_int16")) == ["serve"]


def test_what_can_not_be_compared_is_refused(files, network, digits, digits_model, tmp_path):
    path = files["float32"].path
    with pytest.raises(tgp.UserError, match="threshold above 0"):
        tgp.compare_layers(path, network, digits.test, threshold=0)
    with pytest.raises(tgp.UserError, match="no full batch"):
        tgp.compare_layers(path, network, (digits.test[0][:0], None))
    wide = keras.Sequential([keras.Input((9, 8, 1)), keras.layers.Flatten()])
    with pytest.raises(tgp.UserError, match="takes inputs of shape"):
        tgp.compare_layers(path, wide, digits.test)
