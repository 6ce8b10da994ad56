"""Recurrent layers on the way to TFLite: fused where it has an operation, else step by step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tf_keras as keras

_SWITCHES = ("unroll", "_could_use_gpu_kernel")


def is_recurrent(model: keras.Model) -> bool:
    """Whether the model has an LSTM, GRU or other layer that runs over the steps of a sequence."""
    return bool(_layers(model))


@contextlib.contextmanager
def unrolled(model: keras.Model) -> Iterator[None]:
    """Have recurrent layers repeat their cell once a step, without a loop, while the block runs.

    The converter can't measure ranges inside a loop: its calibrator ends the whole process there.
    """
    layers = _layers(model)
    kept = [{name: getattr(layer, name, None) for name in _SWITCHES} for layer in layers]
    try:
        for layer in layers:
            layer.unroll, layer._could_use_gpu_kernel = True, False
        yield
    finally:
        for layer, values in zip(layers, kept, strict=True):
            layer.unroll, layer._could_use_gpu_kernel = (values[name] for name in _SWITCHES)


def _layers(model: keras.Model) -> list[keras.layers.RNN]:
    return [module for module in model.submodules if isinstance(module, keras.layers.RNN)]
