"""The logic of the export programs: a model file in, a checked TFLite file out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tfgraphprune.errors import UserError
from tfgraphprune.model_files import load_model
from tfgraphprune.tflite.convert import export_tflite
from tfgraphprune.tflite.verify import verify_tflite


def export_file(
    model_path: str | os.PathLike,
    output: str | os.PathLike,
    *,
    quantization: str = "float32",
    representative_data: str | os.PathLike | None = None,
    overwrite: bool = False,
    allow_lambda: bool = False,
) -> str:
    """Export a Keras model file to TFLite, run both on the representative images, and compare.

    Args:
        model_path: a `.keras` or `.h5` file.
        output: the TFLite file to write.
        quantization: `float32`, `float16`, `dynamic_range` or `int8`.
        representative_data: a `.npy` file of images, or a `.npz` file with them as `x`; int8
            needs it, the other kinds are compared on it.
        overwrite: whether an existing file may be replaced.
        allow_lambda: load models with Lambda layers, whose code then runs.

    Returns:
        What was written, and how far it is from Keras.

    Raises:
        UserError: a file or setting that can't be used.
    """
    images = _images(representative_data) if representative_data else None
    model = load_model(model_path, allow_lambda)
    report = export_tflite(
        model,
        output,
        quantization=quantization,
        representative_data=None if images is None else (images, np.zeros(len(images), int)),
        overwrite=overwrite,
    )
    lines = [f"written: {report.path} ({report.bytes:,} bytes, {quantization})"]
    if images is not None:
        # Labels are not known here: Keras' own predictions stand in, so only agreement is shown.
        check = verify_tflite(report.path, model, (images, np.zeros(len(images), int)))
        lines.append(
            f"against Keras on {len(images)} images: same class on {check.agreement:.2%}, error "
            f"{check.max_error:.1e} of the output's spread at most, {check.mean_error:.1e} on "
            "average"
        )
    return "\n".join(lines)


def _images(path: str | os.PathLike) -> np.ndarray:
    path = Path(path)
    try:
        content = np.load(path)
        images = content["x"] if path.suffix == ".npz" else content
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"can't read images from {path} ({error}): give a .npy file, or a .npz file with "
            "them as x."
        ) from error
    if not isinstance(images, np.ndarray) or images.ndim < 2 or not len(images):
        raise UserError(f"{path} must hold a batch of images, at least one.")
    return images.astype(np.float32)
