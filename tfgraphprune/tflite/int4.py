"""int4 weights by litert-quantizer, which works on a float32 TFLite file."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path

from tfgraphprune.errors import MissingExtraError


def check_int4() -> None:
    """Refuse int4 where its quantizer is not installed.

    Raises:
        MissingExtraError: it is not.
    """
    try:
        importlib.import_module("litert_quantizer")
    except ModuleNotFoundError as error:
        raise MissingExtraError("quantization='int4'", "litert-quantizer", "int4") from error


def with_int4_weights(content: bytes) -> bytes:
    """A float32 TFLite file with int4 weights, one scale an output channel, in float arithmetic."""
    from litert_quantizer import quantizer, recipe

    with tempfile.TemporaryDirectory(prefix="tfgraphprune-") as folder:
        source, target = Path(folder) / "float32.tflite", Path(folder) / "int4.tflite"
        source.write_bytes(content)
        work = quantizer.Quantizer(str(source))
        work.load_quantization_recipe(recipe.weight_only_wi4_afp32())
        work.quantize().export_model(str(target))
        return target.read_bytes()
