"""Weights from `.npz` archives: convolutions, BatchNorms and dense layers in network order."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

from tfgraphprune.errors import UserError

_KINDS = (
    (keras.layers.Conv2D, "conv{:02d}", ("kernel", "bias")),
    (
        keras.layers.BatchNormalization,
        "bn{:02d}",
        ("gamma", "beta", "moving_mean", "moving_variance"),
    ),
    (keras.layers.Dense, "dense", ("kernel", "bias")),
)


def load_npz_weights(model: Any, path: str | os.PathLike) -> None:
    """Assign the arrays of an `.npz` file to a model's layers, in network order.

    Args:
        model: a functional model; changed in place, and only if everything fits.
        path: arrays `convNN/kernel`, `bnNN/gamma|beta|moving_mean|moving_variance`,
            `dense/kernel`, `dense/bias`, NN counting from the archive's own first number.

    Raises:
        UserError: the file can't be read, or arrays are missing, left over or of another shape.
    """
    path = Path(path)
    try:
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"can't read weights from {path} ({error}): give an .npz file.") from error
    targets = _targets(model, arrays)
    missing, extra = sorted(set(targets) - set(arrays)), sorted(set(arrays) - set(targets))
    if missing or extra:
        raise UserError(
            f"{path} does not fit {model.name!r}: missing {missing[:4] or 'nothing'}, left over "
            f"{extra[:4] or 'nothing'}: give the weights of this network."
        )
    for name, variable in targets.items():
        if tuple(variable.shape) != arrays[name].shape:
            raise UserError(
                f"{name} in {path} has shape {arrays[name].shape}, but {variable.name} needs "
                f"{tuple(variable.shape)}: give the weights of this network."
            )
        if not np.isfinite(arrays[name]).all():
            raise UserError(f"{name} in {path} has values that are not finite: use another file.")
    for name, variable in targets.items():
        variable.assign(arrays[name])


def _targets(model: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The variable that each array goes to."""
    targets: dict[str, Any] = {}
    for kind, pattern, attributes in _KINDS:
        found = [layer for layer in model.layers if type(layer) is kind]
        prefix = pattern.split("{")[0]
        numbers = [
            int(n[len(prefix) :].split("/")[0])
            for n in arrays
            if n.startswith(prefix) and n[len(prefix) :].split("/")[0].isdigit()
        ]
        for position, layer in enumerate(found, min(numbers, default=0)):
            for attribute in attributes:
                variable = getattr(layer, attribute, None)
                if variable is not None:
                    targets[f"{pattern.format(position)}/{attribute}"] = variable
    unnamed = [
        variable.name
        for layer in model.layers
        if not isinstance(layer, keras.layers.Normalization)
        for variable in layer.weights
        if all(variable is not target for target in targets.values())
    ]
    if unnamed:
        raise UserError(
            f"{model.name!r} has weights that such an archive has no name for ({unnamed[0]}): only "
            "Conv2D, BatchNormalization and one Dense layer can be imported."
        )
    return targets
