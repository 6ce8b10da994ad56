"""Layers of Keras 3 made anew as layers of tf_keras, from their configurations."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras


class Unsupported(Exception):
    """A layer or a setting of one for which tf_keras has nothing that computes the same."""


_SAME = frozenset(
    """
    Activation Add AlphaDropout Attention Average AveragePooling1D AveragePooling2D
    AveragePooling3D BatchNormalization Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose
    Conv3D Conv3DTranspose Cropping1D Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D
    Dot Dropout ELU EinsumDense Embedding Flatten GRU GaussianDropout GaussianNoise
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D
    GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization Identity LSTM LayerNormalization
    LeakyReLU Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention
    Multiply Normalization PReLU Permute ReLU RepeatVector Rescaling Reshape Resizing
    SeparableConv1D SeparableConv2D SimpleRNN Softmax SpatialDropout1D SpatialDropout2D
    SpatialDropout3D Subtract TimeDistributed UnitNormalization UpSampling1D UpSampling2D
    UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """.split()
)
"""Layers that both Keras have under one name, with the same weights in the same order."""

_OF_APPLICATIONS = {
    "CustomScaleLayer": "inception_resnet_v2",
    "LayerScale": "convnext",
    "StochasticDepth": "convnext",
}
"""Layers that keras.applications defines for itself, and the module of tf_keras with the same."""

_RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}

_IRRELEVANT = ("seed", "use_cudnn", "lora_alpha", "renorm_clipping", "renorm_momentum")
"""Settings that do not change what a trained layer computes; dropped where tf_keras lacks them."""

_ACTIVATIONS = (
    "elu exponential gelu linear mish relu selu sigmoid silu softmax softplus softsign tanh"
).split()
"""Activations that both Keras compute alike."""

AFTERWARDS: dict[str, Callable[[Any], Any]] = {
    "hard_sigmoid": lambda x: tf.nn.relu6(x + 3.0) * (1 / 6),
    "hard_silu": lambda x: x * (tf.nn.relu6(x + 3.0) * (1 / 6)),
    "leaky_relu": lambda x: tf.nn.leaky_relu(x, 0.2),
    "log_sigmoid": lambda x: -tf.nn.softplus(-x),
    "log_softmax": lambda x: tf.nn.log_softmax(x),
    "relu6": lambda x: tf.nn.relu6(x),
}
"""Activations that tf_keras lacks or computes otherwise: ops after a linear layer."""


def twin_layer(layer: Any) -> tuple[Any, Callable[[Any], Any] | None]:
    """A layer of tf_keras that computes what a layer of Keras 3 does.

    Returns:
        The layer, not built yet, and what is to be done to its outputs, if anything.

    Raises:
        Unsupported: there is none; says why.
    """
    kind = _class(layer)
    known = _parameters(kind)
    defaults = _parameters(type(layer))
    name = type(layer).__name__
    arguments: dict[str, Any] = {}
    afterwards = None
    for key, value in layer.get_config().items():
        key = _RENAMED.get((name, key), key)
        if key in ("name", "dtype", "trainable") or key.endswith("_initializer") or value is None:
            continue
        if key not in known:
            if _matters(key, value, defaults):
                raise Unsupported(f"its {key}={value!r}")
        elif key.endswith("activation"):
            function = getattr(layer, key).__name__
            if function not in _ACTIVATIONS:
                if key != "activation" or isinstance(layer, _recurrent()):
                    raise Unsupported(f"its {key} {function}")
                if function not in AFTERWARDS:
                    raise Unsupported(f"its {key} {function}")
                afterwards, function = AFTERWARDS[function], "linear"
            arguments[key] = "swish" if function == "silu" else function
        elif key.endswith(("_regularizer", "_constraint")):
            arguments[key] = _setting(key, value)
        else:
            arguments[key] = value
    if name == "Normalization":
        for key in ("mean", "variance"):
            arguments[key] = np.asarray(getattr(layer, key))
    if name == "TimeDistributed":
        arguments["layer"], inner = twin_layer(layer.layer)
        if inner is not None:
            raise Unsupported(f"the activation of its layer {layer.layer.name}")
    arguments["dtype"] = _dtype(layer)
    made = kind(name=layer.name, **arguments)
    made.trainable = layer.trainable
    return made, afterwards


def is_stateless(layer: Any) -> bool:
    """Whether what a layer of Keras 3 keeps in weights is a setting of its twin's instead."""
    return type(layer).__name__ == "Normalization"


def _class(layer: Any) -> Any:
    """The class in tf_keras."""
    name, module = type(layer).__name__, type(layer).__module__
    if module.startswith("keras.src.layers.") and name in _SAME:
        return getattr(keras.layers, name)
    if module.startswith("keras.src.applications.") and name in _OF_APPLICATIONS:
        within = importlib.import_module(f"tf_keras.src.applications.{_OF_APPLICATIONS[name]}")
        found = getattr(within, name)
        return found() if inspect.isfunction(found) else found
    raise Unsupported("")


def _parameters(kind: type) -> dict[str, Any]:
    """Arguments of a class and of those that it hands further ones on to, with their defaults."""
    found: dict[str, Any] = {}
    for parent in kind.__mro__:
        if "__init__" not in vars(parent) or parent is object:
            continue
        for name, parameter in inspect.signature(vars(parent)["__init__"]).parameters.items():
            found.setdefault(name, parameter.default)
    return found


def _matters(key: str, value: Any, defaults: dict[str, Any]) -> bool:
    """Whether a setting that tf_keras does not know changes what the layer computes."""
    if key in _IRRELEVANT or value is False or (key, value) == ("data_format", "channels_last"):
        return False
    return key not in defaults or value != defaults[key]


def _setting(key: str, value: Any) -> Any:
    """A regularizer or constraint of tf_keras for a serialized one of Keras 3."""
    module = keras.regularizers if key.endswith("_regularizer") else keras.constraints
    kind = getattr(module, value["class_name"], None) if isinstance(value, dict) else None
    if kind is None:
        raise Unsupported(f"its {key}")
    return kind(**value["config"])


def _dtype(layer: Any) -> str:
    policy = layer.dtype_policy.name
    try:
        keras.mixed_precision.Policy(policy)
    except ValueError:
        raise Unsupported(f"its dtype policy {policy}") from None
    return policy


def _recurrent() -> type:
    from keras.layers import RNN

    return RNN
