"""The networks that tests are run on, by name, with plausible weights and inputs."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tests import network_builders
from tests.network_builders import IMAGE, image_model, resnet
from tests.network_layers import LAYERS

__all__ = [
    "ALL",
    "IMAGE",
    "LAYERS",
    "build",
    "image_model",
    "inputs_for",
    "outputs_of",
    "randomise",
    "resnet",
]

ALL = {**network_builders.ALL, **LAYERS}


def randomise(model, seed: int = 0):
    """Weights as training may leave them: nothing is zero, one, positive or centred by luck."""
    random = np.random.default_rng(seed)
    values = []
    for variable in model.weights:
        name, shape = variable.name.split("/")[-1], tuple(variable.shape)
        if name.startswith(("moving_variance", "variance")):
            value = random.uniform(0.5, 2, shape)
        elif name.startswith("gamma"):
            value = random.uniform(0.5, 1.5, shape) * random.choice([-1, 1], shape)
        elif name.startswith("count"):
            value = np.zeros(shape)
        elif len(shape) <= 1:
            value = random.uniform(0.1, 0.6, shape) * random.choice([-1, 1], shape)
        else:
            receptive = shape[:-2] if name.startswith("depthwise") else shape[:-1]
            value = random.normal(0, np.sqrt(2 / np.prod(receptive)), shape)
        values.append(value)
    model.set_weights(values)  # unlike `assign`, lets layers take the new values in
    return model


def inputs_for(model, examples: int = 4, seed: int = 1):
    """Standard normal inputs, in the structure that the model takes."""
    random = np.random.default_rng(seed)
    arrays = []
    for tensor in model.inputs:
        shape = (examples, *(8 if size is None else size for size in tensor.shape[1:]))
        whole = tensor.dtype.is_integer
        arrays.append(
            random.integers(0, 10, shape) if whole else random.normal(size=shape).astype("float32")
        )
    return arrays[0] if len(arrays) == 1 else arrays


def outputs_of(model, x) -> list[np.ndarray]:
    """The model's outputs as arrays, flat."""
    return [np.asarray(t) for t in tf.nest.flatten(model(x, training=False))]


def build(name: str, seed: int = 0):
    """The named network with random weights; the same names of layers every time."""
    keras.backend.clear_session()
    return randomise(ALL[name](), seed)
