"""Where the nodes of a layer graph are drawn: depth downwards, deep networks in several columns."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Place:
    """One node's place: its column, its row within it, and its lane, 0 being the leftmost."""

    column: int
    row: int
    lane: int


@dataclass(frozen=True)
class Layout:
    """Places of all nodes.

    Attributes:
        places: by node name.
        lanes: how many lanes each column has.
        rows: how many rows the longest column has.
    """

    places: dict[str, Place]
    lanes: tuple[int, ...]
    rows: int


def lay_out(nodes: Sequence[Mapping[str, Any]], aspect: float = 4.5) -> Layout:
    """Place the nodes of a layer graph.

    A node's depth is the longest path that leads to it. Columns break where the fewest edges
    cross; within one, a node stays in the lane of its first input where that is free.

    Args:
        nodes: `{"name", "inputs"}` mappings in topological order.
        aspect: how many rows high a drawing may be for each lane that it is wide, about.
    """
    known: set[str] = set()
    inputs: dict[str, list[str]] = {}
    for node in nodes:
        inputs[node["name"]] = [name for name in node.get("inputs", ()) if name in known]
        known.add(node["name"])
    depths = _depths(inputs)
    levels = defaultdict(list)
    for name, depth in depths.items():
        levels[depth].append(name)
    starts = _breaks(inputs, depths, levels, aspect)
    column_of = {
        depth: column
        for column, (start, end) in enumerate(zip(starts, [*starts[1:], len(levels)], strict=True))
        for depth in range(start, end)
    }
    lane_of = _lanes(inputs, depths, levels, column_of)
    places = {
        name: Place(column_of[depth], depth - starts[column_of[depth]], lane_of[name])
        for name, depth in depths.items()
    }
    lanes = [1] * len(starts)
    for place in places.values():
        lanes[place.column] = max(lanes[place.column], place.lane + 1)
    rows = max((place.row for place in places.values()), default=0) + 1
    return Layout(places, tuple(lanes), rows)


def _depths(inputs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    depths: dict[str, int] = {}
    for name, sources in inputs.items():
        depths[name] = max((depths[source] + 1 for source in sources), default=0)
    return depths


def _breaks(
    inputs: Mapping[str, Sequence[str]],
    depths: Mapping[str, int],
    levels: Mapping[int, Sequence[str]],
    aspect: float,
) -> list[int]:
    """The depth at which each column starts."""
    depth = len(levels)
    width = sum(len(names) for names in levels.values()) / max(depth, 1)
    # `columns * width` lanes beside each other, `depth / columns` rows high.
    columns = max(1, round(math.sqrt(depth / (aspect * max(width, 1.0)))))
    height = math.ceil(depth / columns)
    crossing = [0] * (depth + 1)
    for name, sources in inputs.items():
        for source in sources:
            for level in range(depths[source] + 1, depths[name] + 1):
                crossing[level] += 1
    starts = [0]
    while depth - starts[-1] > height * 1.2:
        target = starts[-1] + height
        slack = height // 5
        window = range(max(target - slack, starts[-1] + 1), min(target + slack, depth - 1) + 1)
        starts.append(min(window, key=lambda level: (crossing[level], abs(level - target))))
    return starts


def _lanes(
    inputs: Mapping[str, Sequence[str]],
    depths: Mapping[str, int],
    levels: Mapping[int, Sequence[str]],
    column_of: Mapping[int, int],
) -> dict[str, int]:
    lane_of: dict[str, int] = {}
    for depth in range(len(levels)):
        taken: set[int] = set()
        alone = len(levels[depth]) == 1
        for name in levels[depth]:
            near = [s for s in inputs[name] if column_of[depths[s]] == column_of[depth]]
            wanted = min((lane_of[source] for source in near), default=0)
            lane = 0 if alone and len(inputs[name]) > 1 else wanted
            while lane in taken:
                lane += 1
            taken.add(lane)
            lane_of[name] = lane
    return lane_of
