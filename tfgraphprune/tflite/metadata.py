"""What an app must know to use a file, kept inside it: labels, normalization, its origin."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfgraphprune.errors import UserError

NAME = "tfgraphprune"
"""The name of the metadata buffer, which holds JSON in UTF-8."""

_IDENTIFIER = b"TFL3"
ALIGNMENT = 16
"""Where data starts in a file, in bytes: TFLite's schema asks for multiples of it."""

_NORMALIZATIONS = ({"mean", "std"}, {"scale"}, {"scale", "offset"})


def tflite_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `export_tflite` has written into a TFLite file.

    Args:
        path: the file.

    Returns:
        `tfgraphprune` (its version), `quantization`, and where they were given `labels` (names of
        the classes in the order of the first output) and `normalization` (`mean` and `std`: the
        input is `(pixel - mean) / std`; or `scale` and `offset`: it is `pixel * scale + offset`).

    Raises:
        UserError: no such file, not a TFLite file, or one without these metadata.
    """
    source = Path(path)
    if not source.is_file():
        raise UserError(f"The TFLite file {str(path)!r} does not exist: export it first.")
    content = source.read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise UserError(f"{str(path)!r} is not a TFLite file: give one.")
    model = schema.Model.GetRootAs(content)
    for position in range(model.MetadataLength()):
        entry = model.Metadata(position)
        if entry.Name() == NAME.encode():
            return json.loads(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    raise UserError(
        f"{str(path)!r} has no metadata of tfgraphprune: write it with export_tflite, or read it "
        "with the tool that made it."
    )


def check_metadata(
    labels: Sequence[str] | None, normalization: Mapping[str, Any] | None, classes: int | None
) -> dict[str, Any]:
    """The part of the metadata that the user gives, as plain values.

    Args:
        labels: names of the classes.
        normalization: `mean` and `std`, or `scale` and perhaps `offset`, numbers or one a channel.
        classes: the size of the first output's last axis, if it is known.

    Raises:
        UserError: labels that do not fit the output, or another normalization.
    """
    values: dict[str, Any] = {}
    if labels is not None:
        if isinstance(labels, str) or not all(isinstance(each, str) for each in labels):
            raise UserError("labels must be a list of strings, one a class.")
        if classes is not None and len(labels) != classes:
            raise UserError(
                f"labels has {len(labels)} names, but the model's first output has {classes} "
                "classes: give one name a class."
            )
        values["labels"] = list(labels)
    if normalization is not None:
        values["normalization"] = _check_normalization(normalization)
    return values


def with_metadata(content: bytes, values: Mapping[str, Any]) -> bytes:
    """A TFLite file with these values as a named metadata buffer; its other buffers are kept."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    entry, buffer = schema.MetadataT(), schema.BufferT()
    entry.name, entry.buffer = NAME, len(model.buffers)
    buffer.data = np.frombuffer(json.dumps(values, ensure_ascii=False).encode(), np.uint8)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
    builder = _AlignedBuilder(len(content) + 4096)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


class _AlignedBuilder(flatbuffers.Builder):
    """Aligns data to 16 bytes, as TFLite's schema asks; the generated Python code forgets that."""

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        if x.dtype != np.uint8 or not x.size:
            return super().CreateNumpyVector(x)
        self.StartVector(1, x.size, ALIGNMENT)
        self.head = int(self.Head() - x.size)
        self.Bytes[self.Head() : self.Head() + x.size] = x.tobytes()
        self.vectorNumElems = x.size
        return self.EndVector()


def _check_normalization(given: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(given, Mapping) or set(given) not in _NORMALIZATIONS:
        came = sorted(given) if isinstance(given, Mapping) else type(given).__name__
        raise UserError(
            f"normalization must have 'mean' and 'std', or 'scale' and perhaps 'offset', not "
            f"{came}: name the numbers that way."
        )
    try:
        arrays = {name: np.asarray(value, np.float64) for name, value in given.items()}
    except (TypeError, ValueError) as error:
        raise UserError(f"normalization must hold numbers, not {dict(given)!r}.") from error
    for name, array in arrays.items():
        if array.ndim > 1 or not array.size or not np.isfinite(array).all():
            raise UserError(f"normalization[{name!r}] must be a finite number, or one a channel.")
        if name in ("std", "scale") and not array.all():
            raise UserError(f"normalization[{name!r}] must not be zero.")
    return {name: array.tolist() for name, array in arrays.items()}
