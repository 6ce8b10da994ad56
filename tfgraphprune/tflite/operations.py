"""The operations in a TFLite file, and which of them LiteRT's CPU delegate, XNNPACK, leaves."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from tfgraphprune.tflite.quiet import quiet

DELEGATE = "DELEGATE"
"""What the interpreter calls a node that stands for the nodes that a delegate has taken."""


def count_operations(content: bytes) -> Counter[str]:
    """How often each operation occurs in a TFLite file, bodies of loops included."""
    names = {
        code: name
        for name, code in vars(schema.BuiltinOperator).items()
        if not name.startswith("_")
    }
    model = schema.Model.GetRootAs(content)
    codes = [model.OperatorCodes(each) for each in range(model.OperatorCodesLength())]
    kinds = []
    for code in codes:
        # Codes beyond 127 stand in the newer of the two fields.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        custom = code.CustomCode()
        kinds.append(custom.decode() if custom else names.get(number, str(number)))
    counts: Counter[str] = Counter()
    for position in range(model.SubgraphsLength()):
        subgraph = model.Subgraphs(position)
        for each in range(subgraph.OperatorsLength()):
            counts[kinds[subgraph.Operators(each).OpcodeIndex()]] += 1
    return counts


def operations_outside_xnnpack(content: bytes) -> Counter[str] | None:
    """The operations that XNNPACK leaves to slower kernels on this machine.

    A loop counts as one operation. None where the runtime can't load the file or does not tell.
    """
    try:
        with quiet():
            interpreter = Interpreter(model_content=content)
            interpreter.allocate_tensors()
            nodes = interpreter._get_ops_details()
    except (AttributeError, RuntimeError, ValueError):
        return None
    own = [node for node in nodes if node["op_name"] != DELEGATE]
    producers = {int(output): node for node in own for output in node["outputs"]}
    taken: set[int] = set()
    for node in nodes:
        if node["op_name"] == DELEGATE:
            taken |= _inside(node, producers)
    return Counter(node["op_name"] for node in own if node["index"] not in taken)


def is_stateful(content: bytes) -> bool:
    """Whether tensors keep their values from one run to the next, as the state of an LSTM does."""
    model = schema.Model.GetRootAs(content)
    for position in range(model.SubgraphsLength()):
        subgraph = model.Subgraphs(position)
        if any(subgraph.Tensors(each).IsVariable() for each in range(subgraph.TensorsLength())):
            return True
    return False


def _inside(delegate: dict[str, Any], producers: dict[int, dict[str, Any]]) -> set[int]:
    """The nodes between a delegate's inputs and outputs."""
    seen = {int(each) for each in delegate["inputs"]}
    waiting = [int(each) for each in delegate["outputs"]]
    found = set()
    while waiting:
        tensor = waiting.pop()
        if tensor in seen or tensor not in producers:
            continue
        seen.add(tensor)
        found.add(producers[tensor]["index"])
        waiting.extend(int(each) for each in producers[tensor]["inputs"])
    return found
