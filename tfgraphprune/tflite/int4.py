"""int4 weights by litert-quantizer, which works on a float32 TFLite file."""

from __future__ import annotations

import fnmatch
import importlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tfgraphprune.errors import MissingExtraError, UserError
from tfgraphprune.tflite.matching import LayerNames, graph_names


def check_int4(quantization: str, int8_layers: Sequence[str], names: LayerNames) -> None:
    """Refuse what int4 weights can't be made with.

    Args:
        quantization: how the file is to be written.
        int8_layers: names or patterns of the layers that are to keep 8 bits.
        names: of the model's layers.

    Raises:
        UserError: layers for another quantization, or a pattern without a layer.
        MissingExtraError: the quantizer is not installed.
    """
    if quantization != "int4":
        if int8_layers:
            raise UserError(
                f"int8_layers needs quantization='int4', not {quantization!r}: leave one of the "
                "two out."
            )
        return
    for pattern in int8_layers:
        if not fnmatch.filter(names.paths, pattern):
            raise UserError(f"int8_layers names {pattern!r}, but no layer is called so.")
    try:
        importlib.import_module("litert_quantizer")
    except ModuleNotFoundError as error:
        raise MissingExtraError("quantization='int4'", "litert-quantizer", "int4") from error


def with_int4_weights(content: bytes, int8_layers: Sequence[str], names: LayerNames) -> bytes:
    """A float32 TFLite file with integer weights, one scale an output channel, in float arithmetic.

    Args:
        content: the file.
        int8_layers: names or patterns of the layers whose weights get 8 bits in place of 4.
        names: of the model's layers.
    """
    from litert_quantizer import qtyping, quantizer, recipe

    with tempfile.TemporaryDirectory(prefix="tfgraphprune-") as folder:
        source, target = Path(folder) / "float32.tflite", Path(folder) / "int4.tflite"
        source.write_bytes(content)
        work = quantizer.Quantizer(str(source))
        work.load_quantization_recipe(recipe.weight_only_wi4_afp32())
        for scope in _scopes(content, int8_layers, names) if int8_layers else ():
            every = qtyping.TFLOperationName.ALL_SUPPORTED
            work.add_weight_only_config(regex=scope, operation_name=every, num_bits=8)
        work.quantize().export_model(str(target))
        return target.read_bytes()


def _scopes(content: bytes, patterns: Sequence[str], names: LayerNames) -> Iterator[str]:
    """How the quantizer finds the operations of layers: by the tensor that each of them makes."""
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    tensors: dict[int, Any] = {t["index"]: t["name"] for t in interpreter.get_tensor_details()}
    for node in interpreter._get_ops_details():
        # The network's output is named otherwise: the weights of its layer still tell.
        held = [tensors[i] for i in (*node["outputs"], *node["inputs"][1:]) if i in tensors]
        layers = {names.of(name) for tensor in held for name in graph_names(tensor)}
        if any(fnmatch.filter(layers, pattern) for pattern in patterns):
            yield rf"(^|;){re.escape(tensors[node['outputs'][0]])};"
