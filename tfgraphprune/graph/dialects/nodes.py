"""Walks along Keras' nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def ordered(
    inputs: Sequence,
    outputs: Sequence,
    node_of: Callable[[Any], Any],
    reads: Callable[[Any], list],
) -> list:
    """The nodes between inputs and outputs, each after those that it reads.

    Args:
        inputs: symbolic tensors.
        outputs: symbolic tensors.
        node_of: the node that made a tensor.
        reads: the tensors that a node reads.

    Raises:
        ValueError: a tensor from outside is read.
    """
    done, order = {id(node_of(t)) for t in inputs}, list[Any]()
    stack = [(node_of(t), False) for t in reversed(outputs)]
    while stack:
        node, ready = stack.pop()
        if id(node) in done:
            continue
        if node.is_input:
            raise ValueError("reads a tensor from outside")
        if ready:
            done.add(id(node))
            order.append(node)
            continue
        stack.append((node, True))
        stack += [(node_of(t), False) for t in reversed(reads(node))]
    return order
