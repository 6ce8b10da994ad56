"""Where a layer graph is drawn: chains of layers as one box, deep networks in several columns."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.path import Path

# All in inches: the axes' data units are inches too, with y downwards.
BOX_WIDTH, BOX_HEIGHT = 1.66, 0.32
ROW, LANE, GUTTER = 0.44, 1.84, 0.66

Corner = tuple[float, float]
"""The upper left corner of a box."""

_KERNEL = re.compile("Conv|Dense")
"""In the type of a layer that starts a box of its own."""


@dataclass(frozen=True)
class Place:
    """One box's place: its column, its row within it, and its lane, 0 being the leftmost."""

    column: int
    row: int
    lane: int


@dataclass(frozen=True)
class Layout:
    """Places of all boxes.

    Attributes:
        places: by name.
        lanes: how many lanes each column has.
        rows: how many rows the longest column has.
    """

    places: dict[str, Place]
    lanes: tuple[int, ...]
    rows: int


def collapse(nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Chains such as convolution, BatchNorm, activation as one box each.

    A layer joins the box of the only layer that it reads if nothing else reads that one, both
    carry the same channel groups in the same nested model, and it is no convolution or dense layer.

    Args:
        nodes: `{"name", "type", "inputs", "groups"}` mappings in topological order.

    Returns:
        `{"name", "inputs", "members"}` in topological order: the first layer's name, the names of
        the boxes that are read, the nodes.
    """
    known = {node["name"]: node for node in nodes}
    readers: dict[str, int] = defaultdict(int)
    for node in nodes:
        for name in node.get("inputs", ()):
            readers[name] += 1
    boxes: dict[str, dict[str, Any]] = {}
    box_of: dict[str, str] = {}
    for node in nodes:
        name, inputs = node["name"], [n for n in node.get("inputs", ()) if n in known]
        only = known[inputs[0]] if len(inputs) == 1 == readers[inputs[0]] else None
        if only and _continues(only, node):
            box_of[name] = box_of[only["name"]]
            boxes[box_of[name]]["members"].append(node)
        else:
            box_of[name] = name
            sources = list(dict.fromkeys(box_of[n] for n in inputs))
            boxes[name] = {"name": name, "inputs": sources, "members": [node]}
    return list(boxes.values())


def _continues(first: Mapping[str, Any], then: Mapping[str, Any]) -> bool:
    return (
        not _KERNEL.search(then.get("type", ""))
        and list(first.get("groups", ())) == list(then.get("groups", ()))
        and scope(first["name"]) == scope(then["name"])
    )


def makes_channels(box: Mapping[str, Any]) -> bool:
    """Whether a box starts with a kernel that makes new channels, as depthwise ones don't."""
    kind = box["members"][0].get("type", "")
    return bool(_KERNEL.search(kind)) and "Depthwise" not in kind


def scope(name: str) -> str:
    """The outermost nested model that a layer call is in; empty for the model itself."""
    return name.partition("/")[0] if "/" in name else ""


def lay_out(
    nodes: Sequence[Mapping[str, Any]], aspect: float = 4.5, most_lanes: int | None = None
) -> Layout:
    """Place boxes.

    A box's depth is the longest path that leads to it. Columns break where the fewest edges
    cross; within one, a box stays in the lane of its first input where that is free.

    Args:
        nodes: `{"name", "inputs"}` mappings in topological order.
        aspect: how many rows high a drawing may be for each lane that it is wide, about.
        most_lanes: how many lanes all columns may have together, where one column allows it.
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
    breadth = max(len(depths) / max(len(levels), 1), 1.0)
    # `columns * breadth` lanes beside each other, `depth / columns` rows high.
    columns = max(1, round(math.sqrt(len(levels) / (aspect * breadth))))
    while True:
        layout = _in_columns(inputs, depths, levels, columns)
        if columns == 1 or most_lanes is None or sum(layout.lanes) <= most_lanes:
            return layout
        columns -= 1


def _in_columns(
    inputs: Mapping[str, Sequence[str]],
    depths: Mapping[str, int],
    levels: Mapping[int, Sequence[str]],
    columns: int,
) -> Layout:
    starts = _breaks(inputs, depths, len(levels), columns)
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
    inputs: Mapping[str, Sequence[str]], depths: Mapping[str, int], depth: int, columns: int
) -> list[int]:
    """The depth at which each column starts."""
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


def in_slots(spans: Sequence[int], in_row: int) -> tuple[list[tuple[int, int]], int]:
    """Row and slot of entries that take one or more slots of a row each; the number of rows."""
    places, row, slot = [], 0, 0
    for span in spans:
        if slot and slot + span > in_row:
            row, slot = row + 1, 0
        places.append((row, slot))
        slot += span
    return places, row + 1


def frames(
    boxes: Sequence[Mapping[str, Any]], places: Mapping[str, Place], corners: Mapping[str, Corner]
) -> list[tuple[str, float, float, float, float]]:
    """Frames around the nested models that have a piece of each column to themselves.

    A single box gets none, as a `/` in a layer's name looks like a nested model.

    Returns:
        Name, left, top, width and height; one frame for each column that a model is in.
    """
    parts: dict[tuple[str, int], list[Corner]] = defaultdict(list)
    for box in boxes:
        parts[scope(box["name"]), places[box["name"]].column].append(corners[box["name"]])
    found, mixed = [], {""}
    for (name, _), own in parts.items():
        lefts, tops = zip(*own, strict=True)
        left, right, top, bottom = min(lefts), max(lefts), min(tops), max(tops)
        inside = [c for c in corners.values() if left <= c[0] <= right and top <= c[1] <= bottom]
        if len(inside) > len(own) or len(own) == 1:
            mixed.add(name)
        width, height = right - left + BOX_WIDTH, bottom - top + BOX_HEIGHT
        found.append((name, left - 0.06, top - 0.045, width + 0.12, height + 0.09))
    return [frame for frame in found if frame[0] not in mixed]


def route(start: Place, end: Place, source: Corner, target: Corner, index: int) -> Path:
    """The line from one box to another; `index` tells lines from column to column apart."""
    half = BOX_WIDTH / 2
    x0, y0 = source[0] + half, source[1] + BOX_HEIGHT
    x1, y1 = target[0] + half, target[1]
    if start.column != end.column:
        return _across(source, target, index)
    span = end.row - start.row
    if start.lane != end.lane:
        # The long part runs straight down the outer lane; the bend is in the last row or first.
        bend = y1 - y0 - (span - 1) * ROW
        low = y1 - bend if start.lane > end.lane else y0
        points = [(x0, y0), (x0, low), (x0, low + bend / 2), (x1, low + bend / 2)]
        points += [(x1, low + bend), (x1, y1)]
        codes = [Path.MOVETO, Path.LINETO, *[Path.CURVE4] * 3, Path.LINETO]
        return Path(points, codes)
    if span == 1:
        return Path([(x0, y0), (x1, y1)], [Path.MOVETO, Path.LINETO])
    side = -1.0 if start.lane == 0 else 1.0
    out = side * min(0.05 + 0.05 * span, 0.42)
    x, y0, y1 = x0 + side * half, y0 - BOX_HEIGHT / 2, y1 + BOX_HEIGHT / 2
    return Path([(x, y0), (x + out, y0), (x + out, y1), (x, y1)], [Path.MOVETO, *[Path.CURVE4] * 3])


def _across(source: Corner, target: Corner, index: int) -> Path:
    """From a box's right side up the gutter before the target's column, with round corners."""
    x0, y0 = source[0] + BOX_WIDTH, source[1] + BOX_HEIGHT / 2
    x1, y1 = target[0], target[1] + BOX_HEIGHT / 2
    gutter = x1 - GUTTER + 0.12 + 0.07 * (index % 4)
    turn = 0.06 if y1 > y0 else -0.06
    points: Sequence[tuple[float, float]] = [
        (x0, y0),
        (gutter - 0.06, y0),
        (gutter, y0),
        (gutter, y0 + turn),
        (gutter, y1 - turn),
        (gutter, y1),
        (gutter + 0.06, y1),
        (x1, y1),
    ]
    move, line, curve = Path.MOVETO, Path.LINETO, Path.CURVE3
    return Path(points, [move, line, curve, curve, line, curve, curve, line])
