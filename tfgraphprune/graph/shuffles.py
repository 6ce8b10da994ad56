"""Channel shuffles: a reshape, a transposition and a reshape back, taken for one permutation.

Taken one by one, what is left of the tensor between them would have to be a block, which couples
the channels of all its groups. As one permutation any channels may go: the shuffle of what is
left is a gather. Where nothing goes, the three ops stay.

Zhang et al., "ShuffleNet", CVPR 2018, section 3.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tfgraphprune.graph.reader import Call, Program, is_tensor, output_shapes
from tfgraphprune.graph.rules.permutation import ChannelShuffle

_RESHAPES = ("reshape", "Reshape")
_TRANSPOSITIONS = ("transpose", "compat.v1.transpose", "Permute")


def fused(program: Program) -> Program:
    """The program with each channel shuffle as a single call."""
    reads = Counter(id(t) for call in program.calls for t in call.inputs)
    reads.update(id(t) for t in program.outputs)
    maker = {id(t): call for call in program.calls for t in call.outputs}
    shuffles: dict[str, Call] = {}
    for last in program.calls:
        steps = list(_back(last, maker, reads))
        if len(steps) == 3 and _is_shuffle(steps):
            first = steps[0]
            layer = ChannelShuffle(steps)
            inputs = tuple(first.inputs[:1])
            shuffles[last.key] = replace(last, layer=layer, args=inputs, kwargs={})
            shuffles.update({step.key: step for step in steps[:2]})
    calls = tuple(
        shuffles.get(call.key, call) for call in program.calls if shuffles.get(call.key) is not call
    )
    return replace(program, calls=calls)


def _back(last: Call, maker: dict[int, Call], reads: Counter) -> Iterator[Call]:
    """The two calls before one, each read by nothing else, and the call; first to last."""
    steps = [last]
    while len(steps) < 3:
        (tensor, *others) = steps[0].inputs or (None,)
        before = maker.get(id(tensor))
        if others or before is None or reads[id(tensor)] != 1 or len(before.outputs) != 1:
            return
        steps.insert(0, before)
    yield from steps


def _is_shuffle(steps: list[Call]) -> bool:
    """Whether these are a split of the last axis, a swap of both parts, and the way back."""
    kinds = [getattr(c.layer, "symbol", type(c.layer).__name__) for c in steps]
    if kinds[0] not in _RESHAPES or kinds[2] not in _RESHAPES or kinds[1] not in _TRANSPOSITIONS:
        return False
    if any(len(call.inputs) != 1 for call in steps):
        return False
    shapes = [tuple(steps[0].inputs[0].shape[1:]), *(output_shapes(call)[0] for call in steps)]
    start, split, swapped, end = shapes
    if None in start or start != end or len(split) != len(start) + 1:
        return False
    if split[:-2] != start[:-1] or swapped != (*split[:-2], split[-1], split[-2]):
        return False
    rank = len(split) + 1
    return _order(steps[1]) == [*range(rank - 2), rank - 1, rank - 2]


def _order(call: Call) -> list[int]:
    """Where a transposition takes each axis from, the batch first; empty where it doesn't say."""
    dims = getattr(call.layer, "dims", None)
    if dims is not None:
        return [0, *dims]
    named = call.named_arguments()
    order = named.get("perm", named.get("axes"))
    return [] if order is None or is_tensor(order) else np.ravel(order).tolist()
