"""Weights from `.npz` archives: convolutions, BatchNorms and dense layers in network order."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

from tfgraphprune.errors import UserError

_KINDS = (
    (keras.layers.Conv2D, "conv", {"kernel": "kernel", "bias": "bias"}),
    (keras.layers.DepthwiseConv2D, "dw", {"kernel": "depthwise_kernel", "bias": "bias"}),
    (
        keras.layers.BatchNormalization,
        "bn",
        {name: name for name in ("gamma", "beta", "moving_mean", "moving_variance")},
    ),
    (keras.layers.Dense, "dense", {"kernel": "kernel", "bias": "bias"}),
)


def load_npz_weights(model: Any, path: str | os.PathLike) -> None:
    """Assign the arrays of an `.npz` file to a model's layers, in network order.

    Network order is that of `model.layers`, each kind of layer counted for itself. Where branches
    run side by side, as in ResNet's option B and ShuffleNet V2's strided units, layers at the same
    distance from the output stand next to each other: a converter should number by the names in
    `model.layers`, because equal shapes that change places are not noticed. NN has at least two
    digits and counts from the archive's own first number of that kind. All arrays have the shapes
    of Keras:

    - `convNN/kernel`: `(height, width, channels in / groups, channels out)`, of a grouped
      convolution too; `convNN/bias`
    - `dwNN/kernel`: depthwise, `(height, width, channels, multiplier)`; `dwNN/bias`
    - `bnNN/gamma`, `bnNN/beta`, `bnNN/moving_mean`, `bnNN/moving_variance`
    - `dense/kernel`: `(features in, features out)`, and `dense/bias`, of a network's only dense
      layer; of several, `denseNN/kernel` and `denseNN/bias`

    Args:
        model: a functional model; changed in place, and only if everything fits.
        path: an archive with exactly the arrays of this model's layers; a bias or a gamma that a
            layer does without has none.

    Raises:
        UserError: the file can't be read, or arrays are missing, left over, of another shape or
            not finite numbers; or the model has weights of other layers.
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
    values = {name: _value(arrays[name], name, targets[name], path) for name in targets}
    for name, variable in targets.items():
        variable.assign(values[name])


def _value(array: np.ndarray, name: str, variable: Any, path: Path) -> np.ndarray:
    """What a variable is given, in its own type."""
    if tuple(variable.shape) != array.shape:
        raise UserError(
            f"{name} in {path} has shape {array.shape}, but {variable.name} needs "
            f"{tuple(variable.shape)}: give the weights of this network."
        )
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name} in {path} has {array.dtype} values: give real numbers.")
    with np.errstate(over="ignore"):
        value = array.astype(variable.dtype.as_numpy_dtype)
    if not np.isfinite(value).all():
        raise UserError(f"{name} in {path} has values that are not finite: use another file.")
    return value


def _targets(model: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The variable that each array goes to."""
    targets: dict[str, Any] = {}
    for kind, prefix, attributes in _KINDS:
        found = [layer for layer in model.layers if type(layer) is kind]
        numbered = (re.fullmatch(rf"{prefix}([0-9]+)/.*", name) for name in arrays)
        first = min((int(match[1]) for match in numbered if match), default=0)
        for number, layer in enumerate(found, first):
            alone = prefix == "dense" and len(found) == 1
            for name, attribute in attributes.items():
                variable = getattr(layer, attribute, None)
                if variable is not None:
                    targets[f"{prefix if alone else f'{prefix}{number:02d}'}/{name}"] = variable
    named = {id(variable) for variable in targets.values()}
    unnamed = [
        variable.name
        for layer in model.layers
        if not isinstance(layer, keras.layers.Normalization)
        for variable in layer.weights
        if id(variable) not in named
    ]
    if unnamed:
        raise UserError(
            f"{model.name!r} has weights that such an archive has no name for ({unnamed[0]}): only "
            "Conv2D, DepthwiseConv2D, BatchNormalization and Dense layers can be imported."
        )
    return targets
