"""Profiles of single operations, joined to the layers, and what is said where there is none."""

from importlib.metadata import version

import pytest

import tfgraphprune as tgp
from tfgraphprune.tflite import profile_operations, profiling
from tfgraphprune.tflite.kernels import align

LAYERS = (
    "stem_relu", "expand_relu", "depthwise_relu", "project_bn", "add", "strided", "pool", "logits",
)  # fmt: skip
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


@pytest.mark.skipif(
    not version("ai-edge-litert").startswith("2.3."), reason="LiteRT's profiler may be another"
)
@pytest.mark.parametrize("kind", ["float32", "int8", "int16x8"])
def test_each_layer_has_its_kernels(files, network, kind):
    profile = profile_operations(files[kind].path, network, runs=3)
    assert profile.kernels, profile.reason
    layers = [each.layer for each in profile.kernels if each.operation not in CONVERSIONS]
    assert tuple(dict.fromkeys(layers)) == LAYERS
    assert sum(profile.by_layer().values()) == pytest.approx(
        sum(each.milliseconds for each in profile.kernels)
    )
    operations = {each.layer: each.operation for each in profile.kernels}
    assert operations["depthwise_relu"] == "DEPTHWISE_CONV_2D" and operations["add"] == "ADD"


def test_without_a_profiler_there_is_a_reason(files, monkeypatch):
    monkeypatch.setattr(profiling.sys, "executable", "/bin/false")
    profile = profile_operations(files["float32"].path, runs=1)
    assert profile.kernels == () and "ended with 1" in profile.reason
    monkeypatch.setattr(profiling.importlib.util, "find_spec", lambda name: None)
    assert "no libLiteRt.so" in profile_operations(files["float32"].path, runs=1).reason


def test_bad_input_is_refused(files, tmp_path):
    with pytest.raises(tgp.UserError, match="runs must be at least 1"):
        profile_operations(files["float32"].path, runs=0)
    with pytest.raises(tgp.UserError, match="does not exist"):
        profile_operations(tmp_path / "none.tflite")


CONV, DENSE = "Convolution (NHWC, F32) IGEMM", "Fully Connected (NC, F32) GEMM"
ALIGNED = {
    "one to one": ([CONV, "Add (ND)"], ["CONV_2D", "ADD"], [0, 1]),
    "1x1 convolutions are products": ([CONV, DENSE], ["CONV_2D", "CONV_2D"], [0, 1]),
    "helpers go to what follows": (
        ["Static Reshape (NC)", DENSE, "Softmax (NC, F32)"],
        ["FULLY_CONNECTED", "SOFTMAX"],
        [0, 0, 1],
    ),
    "fused operations have none": ([CONV, CONV], ["PAD", "CONV_2D", "PAD", "CONV_2D"], [1, 3]),
    "TFLite's own kernels": ([CONV, "CUMSUM"], ["CONV_2D", "CUMSUM"], [0, 1]),
    "a convolution without a kernel": (["Add (ND)"], ["CONV_2D", "ADD"], None),
    "nothing in common": (["Softmax (NC, F32)"], ["ADD"], None),
}


@pytest.mark.parametrize(("kernels", "operations", "owners"), ALIGNED.values(), ids=ALIGNED)
def test_kernels_are_matched_in_order(kernels, operations, owners):
    assert align(kernels, operations) == owners
