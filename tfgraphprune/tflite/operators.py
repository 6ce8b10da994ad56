"""TFLite files of a single operator, written in milliseconds, without the converter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

KINDS = ("conv", "depthwise", "dense", "add")


@dataclass(frozen=True)
class Operator:
    """A float32 operator with its sizes; all but `inputs` and `outputs` are fixed in a network.

    Attributes:
        kind: one of `KINDS`.
        height: of the input; 1 for `dense`, whose rows are `width`.
        width: of the input.
        inputs: channels that it reads (over all blocks).
        outputs: channels that it makes; those of `depthwise` and `add` are the inputs.
        kernel: height and width of the kernel.
        strides: vertical and horizontal.
        dilations: likewise.
        padding: `same` or `valid`.
        blocks: of a grouped convolution.
    """

    kind: str
    height: int
    width: int
    inputs: int
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: str = "valid"
    blocks: int = 1

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the output, batch included."""
        sides = []
        for length, size, stride, dilation in zip(
            (self.height, self.width), self.kernel, self.strides, self.dilations, strict=True
        ):
            reach = (size - 1) * dilation
            whole = length if self.padding == "same" else length - reach
            sides.append(max(1, -(-whole // stride)))
        return 1, sides[0], sides[1], self.outputs

    @property
    def macs(self) -> int:
        """Multiply-accumulates; 0 for `add`."""
        _, height, width, outputs = self.shape
        if self.kind == "add":
            return 0
        reads = 1 if self.kind == "depthwise" else self.inputs // self.blocks
        return height * width * outputs * reads * int(np.prod(self.kernel))


def operator_file(operator: Operator) -> bytes:
    """The operator as a whole TFLite model with one input, random weights and one output."""
    random = np.random.default_rng(0)
    model = schema.ModelT()
    model.version = 3
    model.description = "one operator"
    model.buffers = [_buffer(None)]
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = []

    def tensor(name: str, shape: Sequence[int], value: np.ndarray | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type = name, list(shape), schema.TensorType.FLOAT32
        made.buffer = 0
        if value is not None:
            model.buffers.append(_buffer(value))
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    o = operator
    shape: tuple[int, ...]
    filters: tuple[int, ...]
    result: tuple[int, ...]
    if o.kind == "dense":
        shape, filters = (o.width, o.inputs), (o.outputs, o.inputs)
        result = (o.width, o.outputs)
    else:
        shape, result = (1, o.height, o.width, o.inputs), o.shape
        depthwise = o.kind == "depthwise"
        filters = (
            (1, *o.kernel, o.outputs) if depthwise else (o.outputs, *o.kernel, o.inputs // o.blocks)
        )
    inputs = [tensor("x", shape)]
    if o.kind == "add":
        # Two inputs of its own, as in a network: the same tensor twice would be read once.
        inputs.append(tensor("z", shape))
    else:
        weights = random.normal(0, 0.1, filters).astype(np.float32)
        inputs += [
            tensor("w", filters, weights),
            tensor("b", (o.outputs,), np.zeros(o.outputs, np.float32)),
        ]
    output = tensor("y", result)
    call = schema.OperatorT()
    call.opcodeIndex, call.inputs, call.outputs = 0, inputs, [output]
    code, call.builtinOptionsType, call.builtinOptions = _options(o)
    graph.operators = [call]
    graph.inputs = [i for i in inputs if graph.tensors[i].buffer == 0]
    graph.outputs = [output]
    model.subgraphs = [graph]
    model.operatorCodes = [_code(code)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _options(o: Operator) -> tuple[int, int, Any]:
    kinds, options = schema.BuiltinOperator, schema.BuiltinOptions
    if o.kind == "add":
        return kinds.ADD, options.AddOptions, schema.AddOptionsT()
    if o.kind == "dense":
        return kinds.FULLY_CONNECTED, options.FullyConnectedOptions, schema.FullyConnectedOptionsT()
    depthwise = o.kind == "depthwise"
    made = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    made.padding = schema.Padding.SAME if o.padding == "same" else schema.Padding.VALID
    made.strideH, made.strideW = o.strides
    made.dilationHFactor, made.dilationWFactor = o.dilations
    if depthwise:
        made.depthMultiplier = o.outputs // o.inputs
        return kinds.DEPTHWISE_CONV_2D, options.DepthwiseConv2DOptions, made
    return kinds.CONV_2D, options.Conv2DOptions, made


def _code(builtin: int) -> Any:
    made = schema.OperatorCodeT()
    made.builtinCode = builtin
    made.deprecatedBuiltinCode = min(builtin, 127)
    made.version = 1
    return made


def _buffer(value: np.ndarray | None) -> Any:
    made = schema.BufferT()
    if value is not None:
        made.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
    return made
