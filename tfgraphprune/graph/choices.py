"""What users choose for the groups: which stay whole, and their channel multiples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from tfgraphprune.errors import UserError
from tfgraphprune.graph.groups import ChannelGroup, Grouping
from tfgraphprune.graph.reader import Call
from tfgraphprune.graph.trace import Trace


def frozen_by_user(
    trace: Trace, grouping: Grouping, calls: Sequence[Call], patterns: Sequence[str]
) -> dict[str, str]:
    """Reasons of the groups that the outputs of matching layers carry.

    Raises:
        UserError: a pattern matches no layer.
    """
    if isinstance(patterns, str):
        raise UserError(f"freeze must be a list of layer names or patterns: write [{patterns!r}].")
    reasons: dict[str, str] = {}
    for pattern in patterns:
        for name in _groups_of(trace, grouping, calls, pattern, "freeze"):
            reasons.setdefault(name, f"frozen by the user ({pattern})")
    return reasons


def choose_steps(
    trace: Trace,
    grouping: Grouping,
    calls: Sequence[Call],
    multiple: int | Mapping[str, int],
) -> dict[str, int]:
    """For each group the number of classes that makes up the channel multiple.

    A class that stands for several channels of every layer, as of a grouped convolution, counts
    as so many.

    Raises:
        UserError: a multiple is no positive whole number, or a pattern matches no layer.
    """
    multiples = multiple if isinstance(multiple, Mapping) else {"*": multiple}
    wanted = {group.name: 1 for group in grouping.groups}
    for pattern, number in multiples.items():
        if not isinstance(number, int | np.integer) or number < 1:
            raise UserError(f"channel_multiple must be a whole number of at least 1, not {number}.")
        names = (
            _groups_of(trace, grouping, calls, pattern, "channel_multiple")
            if isinstance(multiple, Mapping)
            else list(wanted)
        )
        for name in names:
            wanted[name] = max(wanted[name], int(number))
    return {group.name: _step(group, wanted[group.name]) for group in grouping.groups}


def _step(group: ChannelGroup, multiple: int) -> int:
    widths = [axis.positions.shape[1] for axis in group.axes if axis.role != "norm"]
    return multiple // math.gcd(multiple, *widths) if widths else multiple


def _groups_of(
    trace: Trace, grouping: Grouping, calls: Sequence[Call], pattern: str, what: str
) -> list[str]:
    """Names of the groups that the outputs of layers matching a pattern carry."""
    matching = [call for call in calls if any(fnmatchcase(n, pattern) for n in _names(call))]
    if not matching:
        known = sorted({name for call in calls for name in _names(call)})
        raise UserError(
            f"{what} names {pattern!r}, but no layer matches it: layers of this model are "
            f"{', '.join(known[:8])} ..."
        )
    numbers: dict[int, None] = {}
    for call in matching:
        for labels in trace.outputs[call.key]:
            numbers.update(dict.fromkeys(np.unique(grouping.group_of[labels.ids]).tolist()))
    return [grouping.groups[number].name for number in numbers if number >= 0]


def _names(call: Call) -> set[str]:
    """What a user may call a layer: its own name, or with those of models around it, or theirs."""
    return {call.path[-1], *("/".join(call.path[: n + 1]) for n in range(len(call.path)))}
