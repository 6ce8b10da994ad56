"""The code in docs/optimize.md runs as it is printed there and does what the page says."""

import re
import zlib
from types import SimpleNamespace

import numpy as np
import pytest

import tfgraphprune as tgp
from tests.support import ROOT
from tests.training.optimize.networks import trained
from tests.training.optimize.test_quantization import kernels, right
from tfgraphprune.model_files import load_model
from tfgraphprune.shipping import accuracy

PAGE = (ROOT / "docs" / "optimize.md").read_text()


@pytest.fixture(scope="module")
def found(digits, tmp_path_factory):
    """What the page's code has made, and the folder with its files."""
    dense = trained("digits")
    graph = tgp.LayerGraph.from_model(dense)
    small = tgp.prune(dense, tgp.PruningPlan.from_keep_ratios(graph, 0.75))
    tgp.finetune(small, digits.train, epochs=6, teacher=dense, verbose=0)
    names = {
        "tgp": tgp,
        "result": SimpleNamespace(model=small, dense=dense),
        "train_data": digits.train,
        "test_data": digits.test,
    }
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for code in re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL):
            exec(compile(code, "docs/optimize.md", "exec"), names)
    return SimpleNamespace(**names, folder=folder)


def test_zeros_and_values_reach_the_file(found, digits):
    assert set(found.sparse.left_out) == set(found.clustered.left_out) == {"depthwise"}
    assert found.sparse.left_out["depthwise"] in PAGE and not found.aware.left_out
    path = found.folder / "m.tflite"
    for kernel in kernels(path):
        assert kernel.dtype == np.int8 and (kernel == 0).mean() >= 0.49
        assert max(len(np.unique(channel)) for channel in kernel) <= 8
    assert right(path, digits.test) >= accuracy(found.small, digits.test) - 0.02
    dense = found.folder / "dense.tflite"
    tgp.export_tflite(found.small, dense, quantization="int8", representative_data=digits.train)
    packed = [len(zlib.compress(file.read_bytes())) for file in (path, dense)]
    assert packed[0] < packed[1]


def test_the_saved_model_is_the_same(found, digits):
    loaded = load_model(found.folder / "aware.h5")
    x = digits.test[0][:32]
    np.testing.assert_allclose(found.aware.model(x), loaded(x), atol=1e-6)


@pytest.mark.parametrize(("name", "kind"), [("partly", np.float32), ("whole", np.int8)])
def test_data_gives_ranges_to_layers_in_float(found, name, kind, digits):
    path = found.folder / f"{name}.tflite"
    assert {kernel.dtype.type for kernel in kernels(path)} == {np.int8, kind}
    assert right(path, digits.test) >= accuracy(found.partly.model, digits.test) - 0.01


REASONS = [
    ("squeeze_excite", "scaled"),
    ("preactivation", "pre_bn"),
    ("resnet_a", "tf.compat.v1.pad"),
]


@pytest.mark.parametrize(("name", "layer"), REASONS)
def test_the_reasons_are_those_on_the_page(name, layer, digits):
    reason = tgp.quantize_aware(trained(name), digits.train, epochs=0).left_out[layer]
    assert f"| {reason} |" in PAGE


def test_the_reason_of_a_pattern_is_that_on_the_page(digits):
    settings = {"pattern": "2:4", "epochs": 1, "skip": ["down"], "verbose": 0}
    left_out = tgp.sparsify(trained("digits"), digits.train, **settings).left_out
    assert f"| {left_out['stem']} |" in PAGE
    assert left_out["down"] == "left out by the user (down)"
