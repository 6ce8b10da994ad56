"""Clustered networks: few values in each kernel, and the accuracy is still there."""

import numpy as np
import pytest
import tf_keras as keras

import tfgraphprune as tgp
from tests.training.optimize.networks import trained
from tests.training.optimize.test_sparsity import oddities
from tfgraphprune.shipping import accuracy

L = keras.layers
QUIET = {"epochs": 2, "verbose": 0}

CASES = {
    "sixteen": ("digits", {}, {"depthwise"}),
    "few, without BatchNorm": ("plain", {"clusters": 6}, set()),
    "no training": ("resnet_a", {"clusters": 32, "epochs": 0}, set()),
    "adam": ("concat", {"optimizer": "adam", "clusters": 8}, set()),
    "nested, skipped": ("nested", {"skip": ["inner/*"]}, {"inner/conv", "block"}),
    "more than there are weights": (
        "squeeze_excite",
        {"clusters": 150},
        {"stem", "squeeze", "excite"},
    ),
}
"""Network, settings, layers with a kernel that are left out."""


@pytest.mark.parametrize(("name", "settings", "left_out"), CASES.values(), ids=CASES)
def test_few_values_and_the_accuracy(name, settings, left_out, digits):
    model = trained(name)
    before = model.get_weights()
    result = tgp.cluster(model, digits.train, teacher=model, **{**QUIET, **settings})
    assert set(result.left_out) == left_out
    assert result.reached
    for layer, values in result.reached.items():
        kernel = result.model.get_layer(layer).get_weights()[0]
        assert len(np.unique(kernel)) == values <= settings.get("clusters", 16)
    assert accuracy(result.model, digits.test) > accuracy(model, digits.test) - 0.03
    assert not any("cluster" in layer.name for layer in result.model.layers)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_zeros_stay_zeros(digits):
    settings = {**QUIET, "optimizer": "adam"}
    sparse = tgp.sparsify(
        trained("digits"), digits.train, sparsity=0.5, skip=["down"], **settings
    ).model
    both = tgp.cluster(sparse, digits.train, clusters=8, preserve_sparsity=True, **settings)
    for name in both.reached:
        old, new = (model.get_layer(name).get_weights()[0] for model in (sparse, both.model))
        assert (new[old == 0] == 0).all() and len(np.unique(new)) <= 8
    assert (sparse.get_layer("down").get_weights()[0] != 0).all()
    assert accuracy(both.model, digits.test) > accuracy(sparse, digits.test) - 0.02


ODD = {
    "recurrent": (lambda x: L.LSTM(6, name="odd")(x), None),
    "attention": (lambda x: L.MultiHeadAttention(2, 4, name="odd")(x, x), "can't take"),
    "einsum": (lambda x: L.EinsumDense("abc,cd->abd", (6, 5), name="odd")(x), "can't take"),
    "separable": (lambda x: L.SeparableConv1D(6, 3, name="odd")(x), None),
    "transposed": (lambda x: L.Conv1DTranspose(6, 3, name="odd")(x), None),
    "frozen": (lambda x: L.Dense(6, trainable=False, name="odd")(x), "not trainable"),
}
"""A layer, and why tfmot can't cluster it (`None`: it can)."""


@pytest.mark.parametrize(("body", "reason"), ODD.values(), ids=ODD)
def test_layers_are_tried_before_they_are_wrapped(body, reason):
    random = np.random.default_rng(0)
    data = random.normal(size=(64, 8, 8)).astype("float32"), random.integers(0, 10, 64)
    result = tgp.cluster(oddities(body), data, clusters=4, epochs=1, verbose=0)
    assert ("odd" in result.left_out) == (reason is not None)
    assert (reason or "") in result.left_out.get("odd", "")


REFUSED = [
    ({"clusters": 1}, "at least 2"),
    ({"clusters": 2, "preserve_sparsity": True}, "at least 3"),
    ({"clusters": 2.5}, "whole number"),
    ({"clusters": 10**6}, "can cluster no layer"),
    ({"optimizer": "lion"}, "optimizer must be one of"),
    ({"epochs": -1}, "epochs must be 0 or more"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_be_used_is_refused(arguments, message, digits):
    with pytest.raises(tgp.UserError, match=message):
        tgp.cluster(trained("plain"), digits.train, **arguments)
