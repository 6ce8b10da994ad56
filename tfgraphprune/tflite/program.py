"""The logic of the export programs: a model file in, a checked TFLite file out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfgraphprune.errors import ToleranceError, UserError
from tfgraphprune.model_files import load_model
from tfgraphprune.tflite.convert import ExportReport, export_tflite
from tfgraphprune.tflite.layers import compare_layers, worst
from tfgraphprune.tflite.quantizations import CALIBRATED
from tfgraphprune.tflite.verify import verify_tflite


def export_file(
    model_path: str | os.PathLike,
    output: str | os.PathLike,
    *,
    quantization: str = "float32",
    representative_data: str | os.PathLike | None = None,
    integer_io: bool = False,
    int8_layers: Sequence[str] = (),
    labels: str | os.PathLike | None = None,
    normalization: Mapping[str, Any] | None = None,
    agreement: float = 0.99,
    show_layers: bool = False,
    overwrite: bool = False,
    allow_lambda: bool = False,
) -> str:
    """Export a Keras model file to TFLite, run both on the representative images, and compare.

    Args:
        model_path: a `.keras` or `.h5` file.
        output: the TFLite file to write.
        quantization: one of `tfgraphprune.tflite.QUANTIZATIONS`.
        representative_data: a `.npy` file of images, or a `.npz` file with them as `x`; int8 and
            int16x8 need it, the other kinds are compared on it.
        integer_io: for int8 and int16x8, whether inputs and outputs are integers too.
        int8_layers: for int4, names or patterns of the layers whose weights keep 8 bits.
        labels: a text file with a class name a line, kept inside the TFLite file.
        normalization: as for `export_tflite`, kept inside the TFLite file.
        agreement: the least share of images to which both give the same class.
        show_layers: whether the table of all layers is added.
        overwrite: whether an existing file may be replaced.
        allow_lambda: load models with Lambda layers, whose code then runs.

    Returns:
        What was written, and how far it is from Keras.

    Raises:
        UserError: a file or setting that can't be used.
        ToleranceError: fewer images get the same class; the file is written nevertheless.
    """
    images = _images(representative_data) if representative_data else None
    if show_layers and images is None:
        raise UserError("--compare_layers needs images: give them by --representative_data.")
    model = load_model(model_path, allow_lambda)
    report = export_tflite(
        model,
        output,
        quantization=quantization,
        representative_data=None if images is None else (images, None),
        integer_io=integer_io,
        int8_layers=int8_layers,
        labels=_lines(labels) if labels else None,
        normalization=normalization,
        overwrite=overwrite,
    )
    lines = [_describe(report)]
    if images is not None:
        # Labels are not known here: only the agreement is shown, which needs none.
        check = verify_tflite(report.path, model, (images, np.zeros(len(images), int)))
        same = "" if check.agreement is None else f"same class on {check.agreement:.2%}, "
        lines.append(
            f"against Keras on {len(images)} images: {same}error {check.max_error:.1e} of the "
            f"output's spread at most, {check.mean_error:.1e} on average"
        )
        if len(check.outputs) > 1:
            lines += [
                f"  {name}: {own.max_error:.1e} at most, {own.mean_error:.1e} on average"
                for name, own in check.outputs.items()
            ]
        if show_layers:
            lines.append(str(compare_layers(report.path, model, (_spread(images), None))))
        try:
            if check.agreement is not None:
                check.check(agreement=agreement)
        except ToleranceError as error:
            if quantization not in CALIBRATED:
                raise
            losing = worst(compare_layers(report.path, model, (_spread(images), None)))
            reason = f"; layers that lose most: {losing}" if losing else ""
            raise ToleranceError(f"{str(error).rstrip('.')}{reason}.") from error
    return "\n".join(lines)


def _describe(report: ExportReport) -> str:
    text = f"written: {report.path} ({report.bytes:,} bytes, {report.quantization})"
    if report.outside_xnnpack:
        names = ", ".join(f"{name} {count}" for name, count in report.outside_xnnpack.items())
        text += f"\noutside XNNPACK, so slower: {names}"
    if report.stateful:
        text += "\nkeeps state between runs: reset the interpreter's variables before each example"
    return text


def _lines(path: str | os.PathLike) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"can't read labels from {path} ({error}): give a text file with a name a line."
        ) from error


def _spread(images: np.ndarray, count: int = 50) -> np.ndarray:
    """Some images from all over the file: the first ones alone have set the ranges."""
    return images[np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)]


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
