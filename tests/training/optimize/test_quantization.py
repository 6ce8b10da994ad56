"""Quantization-aware training takes every layer that tfmot can take, and names the others."""

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import tfgraphprune as tgp
from tests.training.optimize.networks import NETWORKS, Offset, trained
from tfgraphprune.shipping import accuracy
from tfgraphprune.tflite.runtime import Runner
from tfgraphprune.training.optimize import annotation

QUIET = {"epochs": 2, "verbose": 0}
OUTSIDE = "an operation outside of any layer"

LEFT_OUT = {
    "resnet_a": {"tf.__operators__.getitem": OUTSIDE, "tf.compat.v1.pad": OUTSIDE},
    "squeeze_excite": {"scaled": "no quantization for a Multiply"},
    "preactivation": {"pre_bn": "does not follow a linear convolution or Dense"},
    "oddities": {
        "own": "no quantization for a Offset",
        "rescaled": "no quantization for a Rescaling",
        "lambda.math.multiply": OUTSIDE,
        "elu": "can't quantize a Conv2D with elu",
    },
}
"""What tfmot can't take of which network; all of the others."""


def convert(model, data, path):
    tgp.export_tflite(model, path, quantization="int8", representative_data=data)
    return path


def right(path, data):
    return float((Runner(path).run([data[0]])[0].argmax(-1) == data[1]).mean())


def kernels(path):
    """The kernels of a file's convolutions and dense layers, output channels first."""
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    reader = Interpreter(str(path), experimental_op_resolver_type=plain)
    reader.allocate_tensors()
    ops = ("CONV_2D", "FULLY_CONNECTED")
    return [
        reader.get_tensor(op["inputs"][1])
        for op in reader._get_ops_details()
        if op["op_name"] in ops
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_all_but_what_tfmot_refuses_trains_in_8_bits(name, digits, tmp_path):
    model = trained(name)
    before = model.get_weights()
    result = tgp.quantize_aware(model, digits.train, teacher=model, **QUIET)
    expected = LEFT_OUT.get(name, {})
    assert set(result.left_out) == set(expected)
    for layer, reason in expected.items():
        assert reason in result.left_out[layer]
    wrapped = {layer.name for layer in result.model.layers}
    assert {f"quant_{layer}" for layer in result.reached if layer != "separable"} <= wrapped
    assert [row["epoch"] for row in result.history] == [1, 2]
    path = convert(result.model, digits.train, tmp_path / "int8.tflite")
    assert right(path, digits.test) >= accuracy(model, digits.test) - 0.02
    assert {kernel.dtype for kernel in kernels(path)} == {np.dtype("int8")}
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", ["plain", "concat"])
def test_kernels_are_rounded_in_training_where_tfmot_alone_would_not(name, digits):
    """Before a separate ReLU tfmot keeps float kernels; before a concatenation it is watched."""
    result = tgp.quantize_aware(trained(name), digits.train, epochs=0)
    seen = 0
    for layer in result.model.layers:
        if isinstance(getattr(layer, "layer", None), keras.layers.Conv2D):
            seen += 1
            layer(np.zeros((1, *layer.input_shape[1:]), np.float32), training=False)
            for channel in np.asarray(layer.layer.kernel).reshape(-1, layer.layer.filters).T:
                steps = channel / (np.abs(channel).max() / 127)
                np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert seen == sum(isinstance(layer, keras.layers.Conv2D) for layer in trained(name).layers) > 1


def test_ranges_start_at_what_the_data_spans(digits, tmp_path):
    model = trained("digits")
    result = tgp.quantize_aware(model, digits.train, epochs=0)
    assert result.history == []
    image = next(layer for layer in result.model.layers if "quantize_layer" in layer.name)
    low, high = (float(image.quantizer_vars[name]) for name in ("min_var", "max_var"))
    assert (low, high) == (0, 1)
    path = convert(result.model, digits.train, tmp_path / "int8.tflite")
    assert right(path, digits.test) >= accuracy(model, digits.test) - 0.02


@pytest.mark.parametrize(
    ("name", "preserve"),
    [("concat", "sparsity"), ("plain", "clusters"), ("concat", "both"), ("digits", "both")],
)
def test_zeros_and_clusters_are_kept_into_the_file(name, preserve, digits, tmp_path):
    model, settings = trained(name), {**QUIET, "optimizer": "adam"}
    if preserve != "clusters":
        model = tgp.sparsify(model, digits.train, sparsity=0.5, **settings).model
    if preserve != "sparsity":
        kept = preserve == "both"
        model = tgp.cluster(
            model, digits.train, clusters=8, preserve_sparsity=kept, **settings
        ).model
    result = tgp.quantize_aware(
        model, digits.train, preserve=preserve, teacher=trained(name), **QUIET
    )
    path = convert(result.model, digits.train, tmp_path / "int8.tflite")
    for kernel in kernels(path):
        if preserve != "clusters":
            assert (kernel == 0).mean() >= 0.49
        if preserve != "sparsity":
            assert max(len(np.unique(channel)) for channel in kernel) <= 8
    assert right(path, digits.test) >= accuracy(model, digits.test) - 0.02


def test_without_preserving_the_zeros_go(digits, tmp_path):
    settings = {**QUIET, "optimizer": "adam"}
    model = tgp.sparsify(trained("concat"), digits.train, sparsity=0.5, **settings).model
    result = tgp.quantize_aware(model, digits.train, **settings)
    path = convert(result.model, digits.train, tmp_path / "int8.tflite")
    assert min((kernel == 0).mean() for kernel in kernels(path)) < 0.4


def test_sparse_kernels_that_stay_in_float_keep_their_zeros(digits):
    model = tgp.sparsify(trained("oddities"), digits.train, sparsity=0.5, **QUIET).model
    result = tgp.quantize_aware(model, digits.train, preserve="sparsity", skip=["stem"], **QUIET)
    layers = {layer.name.removeprefix("quant_"): layer for layer in result.model.layers}
    for name in ("elu", "stem"):
        kernel = next(w.numpy() for w in layers[name].weights if w.shape.rank == 4)
        assert (kernel == 0).mean() >= 0.49


def test_frozen_layers_compute_in_8_bits_and_keep_their_weights(digits, tmp_path):
    model = trained("plain")
    frozen, *others = [layer for layer in model.layers if len(layer.weights) == 2]
    frozen.trainable = False
    try:
        result = tgp.quantize_aware(model, digits.train, **QUIET)
    finally:
        frozen.trainable = True
    assert frozen.name in result.reached
    for layer in (frozen, *others):
        kernel = result.model.get_layer(f"quant_{layer.name}")._weight_vars[0][0].numpy()
        same = (kernel == layer.get_weights()[0]).all()
        assert same if layer is frozen else not same
    result.model.save(tmp_path / "aware.h5")
    with tfmot.quantization.keras.quantize_scope():
        loaded = keras.models.load_model(tmp_path / "aware.h5", compile=False)
    x = digits.test[0][:32]
    np.testing.assert_allclose(result.model(x), loaded(x), atol=1e-6)


def test_layers_are_left_in_float_on_demand(digits):
    result = tgp.quantize_aware(trained("concat"), digits.train, epochs=0, skip=["after*", "stem"])
    # Without its convolution a BatchNorm can't be folded.
    assert set(result.left_out) == {"stem", "stem_bn", "after", "after_bn", "after_act"}
    assert result.left_out["after"] == "left out by the user (after*)"
    assert not set(result.left_out) & set(result.reached)


@pytest.mark.parametrize("preserve", [None, "sparsity", "clusters", "both"])
def test_the_result_can_be_saved_and_loaded(preserve, digits, tmp_path):
    plain = tgp.cluster(trained("plain"), digits.train, clusters=8, epochs=0).model
    model = tgp.quantize_aware(plain, digits.train, preserve=preserve, **QUIET).model
    model.save(tmp_path / "aware.h5")
    with tfmot.quantization.keras.quantize_scope():
        loaded = keras.models.load_model(tmp_path / "aware.h5", compile=False)
    x = digits.test[0][:32]
    np.testing.assert_allclose(model(x), loaded(x), atol=1e-6)


class _Fails(annotation._Attempt):
    """Fails wherever some layers are quantized, as tfmot does on models that it can't walk over."""

    def __init__(self, model, bad):
        super().__init__(model, np.zeros((1, 8, 8, 1), np.float32), None)
        self._bad = set(bad)
        self.tries = 0

    def quantized(self, names):
        self.tries += 1
        self._error = "no way"
        return (None, {}) if self._bad & set(names) or not names else (self._model, {})


@pytest.mark.parametrize(
    "bad", [["down"], ["down", "project"], ["down", "pool", "logits"], None], ids=str
)
def test_what_fails_is_found_by_halves(bad):
    model = trained("digits")
    names = [layer.name for layer in model.layers[1:]]
    bad = names if bad is None else bad
    attempt = _Fails(model, bad)
    chosen, failed = attempt.largest(names)
    assert set(failed) == set(bad) and set(chosen) == set(names) - set(bad)
    assert set(failed.values()) == {"tfmot fails with it: no way"}
    assert attempt.tries < 3 * len(names)


REFUSED = [
    ({"preserve": "all"}, "preserve must be one of"),
    ({"skip": ["nothing*"]}, "no layer matches"),
    ({"skip": "stem"}, "skip must be a list"),
    ({"skip": ["*"]}, "can quantize no layer"),
    ({"epoch": 3}, "there is no setting 'epoch'"),
    ({"epochs": -1}, "epochs must be 0 or more"),
    ({"train_data": "digits"}, "train_data must be a pair"),
    ({"model": keras.Sequential([keras.Input((8, 8, 1)), Offset()])}, "model must end in logits"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_be_used_is_refused(arguments, message, digits):
    with pytest.raises(tgp.UserError, match=message):
        tgp.quantize_aware(**{"model": trained("plain"), "train_data": digits.train, **arguments})
