"""Sparse networks: the zeros are there, the accuracy too, and the layers left out are named."""

import numpy as np
import pytest
import tf_keras as keras

import tfgraphprune as tgp
from tests.training.optimize.networks import Offset, trained
from tfgraphprune.shipping import accuracy
from tfgraphprune.training.optimize.sparsity import holds_pattern

L = keras.layers
QUIET = {"epochs": 3, "optimizer": "adam", "verbose": 0}

CASES = {
    "half": ("digits", {"sparsity": 0.5}, {"depthwise"}),
    "half at once": ("resnet_a", {"sparsity": 0.5, "schedule": "constant"}, set()),
    "most": ("resnet_b", {"sparsity": 0.7, "epochs": 6}, set()),
    "2:4": ("digits", {"pattern": "2:4"}, {"stem", "depthwise"}),
    "2:4 in blocks": ("nested", {"pattern": "2:4"}, {"stem", "block"}),
    "skipped": ("squeeze_excite", {"sparsity": 0.5, "skip": ["stem", "log*"]}, {"stem", "logits"}),
    "nested": ("nested", {"sparsity": 0.5}, {"block"}),
    "probabilities": ("plain", {"sparsity": 0.5}, set()),
    "one step": ("plain", {"sparsity": 0.9, "epochs": 1, "batch_size": 2000}, set()),
    "2:4 in one step": ("plain", {"pattern": "2:4", "epochs": 1, "batch_size": 2000}, {"stem"}),
}
"""Network, settings, layers with a kernel that are left out."""


@pytest.mark.parametrize(("name", "settings", "left_out"), CASES.values(), ids=CASES)
def test_zeros_stay_and_so_does_the_accuracy(name, settings, left_out, digits):
    model = trained(name)
    before = model.get_weights()
    result = tgp.sparsify(model, digits.train, teacher=model, **{**QUIET, **settings})
    assert set(result.left_out) == left_out
    wanted = settings.get("sparsity", 0.5)
    assert result.reached and all(share >= wanted - 0.01 for share in result.reached.values())
    for path in result.reached:
        layer = result.model
        for part in path.split("/"):
            layer = layer.get_layer(part)
        assert type(layer).__module__.startswith("tf_keras.")
        kernel = layer.get_weights()[0]
        assert (kernel == 0).mean() == pytest.approx(result.reached[path])
        assert "pattern" not in settings or holds_pattern(kernel, 2, 4)
    if settings.get("epochs") != 1:
        assert accuracy(result.model, digits.test) > accuracy(model, digits.test) - 0.03
    assert len(result.history) == settings.get("epochs", 3)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def oddities(body, shape=(8, 8)):
    start = keras.Input(shape)
    x = body(L.Conv1D(8, 3, name="first")(start))
    return keras.Model(start, L.Dense(10, name="logits")(L.Flatten()(x)))


ODD = {
    "recurrent": (lambda x: L.LSTM(6, name="odd")(x), None, "input channels of a LSTM"),
    "both ways": (lambda x: L.Bidirectional(L.GRU(4), name="odd")(x), "", ""),
    "attention": (lambda x: L.MultiHeadAttention(2, 4, name="odd")(x, x), "", ""),
    "einsum": (lambda x: L.EinsumDense("abc,cd->abd", (6, 5), name="odd")(x), "", ""),
    "separable": (lambda x: L.SeparableConv1D(6, 3, name="odd")(x), None, "input channels"),
    "transposed": (lambda x: L.Conv1DTranspose(6, 3, name="odd")(x), "", ""),
    "of nobody": (lambda x: Offset(name="odd")(x), None, None),
    "frozen": (lambda x: L.Dense(6, trainable=False, name="odd")(x), "not trainable", ""),
}
"""A layer, why tfmot can't prune it (`None`: it can, or there is no kernel), and not in 2:4."""


@pytest.mark.parametrize(("body", "any_reason", "pattern_reason"), ODD.values(), ids=ODD)
def test_layers_are_tried_before_they_are_wrapped(body, any_reason, pattern_reason):
    model, random = oddities(body), np.random.default_rng(0)
    data = random.normal(size=(64, 8, 8)).astype("float32"), random.integers(0, 10, 64)
    for settings, reason in (
        ({"sparsity": 0.5}, any_reason),
        ({"pattern": "2:4"}, pattern_reason),
    ):
        left_out = tgp.sparsify(model, data, epochs=1, verbose=0, **settings).left_out
        assert ("odd" in left_out) == (reason is not None)
        assert (reason or "") in left_out.get("odd", "")


PATTERNS = [
    ([0, 0, 1, 1, 1, 0, 1, 0], True),
    ([0, 1, 1, 1, 0, 0, 0, 0], False),
    ([0, 0, 1, 1, 1, 1, 1], True),
]


@pytest.mark.parametrize(("line", "holds"), PATTERNS)
@pytest.mark.parametrize("shape", [(-1, 1), (1, 1, -1, 1)])
def test_patterns_run_along_the_input_channels(line, holds, shape):
    assert holds_pattern(np.array(line).reshape(shape), 2, 4) is holds


REFUSED = [
    ({}, "either sparsity"),
    ({"sparsity": 0.5, "pattern": "2:4"}, "either sparsity"),
    ({"sparsity": 1.0}, "above 0 and below 1"),
    ({"pattern": "1:2"}, "pattern must be one of"),
    ({"sparsity": 0.5, "schedule": "linear"}, "schedule must be one of"),
    ({"sparsity": 0.5, "epochs": 0}, "epochs must be 1 or more"),
    ({"sparsity": 0.5, "rate": 1}, "there is no setting 'rate'"),
    ({"sparsity": 0.5, "skip": ["*"]}, "can prune no layer"),
    ({"sparsity": 0.5, "train_data": 3}, "train_data must be a pair"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_be_used_is_refused(arguments, message, digits):
    with pytest.raises(tgp.UserError, match=message):
        tgp.sparsify(**{"model": trained("plain"), "train_data": digits.train, **arguments})
