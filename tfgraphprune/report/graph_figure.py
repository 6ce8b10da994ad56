"""The layer graph as a drawing: one box a chain of layers, coloured by its channels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle

from tfgraphprune.report.canvas import STYLE, new_figure, shorten
from tfgraphprune.report.layout import (
    BOX_HEIGHT,
    BOX_WIDTH,
    GUTTER,
    LANE,
    ROW,
    Corner,
    collapse,
    frames,
    in_slots,
    lay_out,
    makes_channels,
    route,
    scope,
)
from tfgraphprune.report.theme import FROZEN, INK, LINE, MUTED, PAPER

_MARGIN, _SLOT, _SLOT_HEIGHT = 0.5, 2.55, 0.2
_NARROWEST, _MOST_LANES, _STRIP = 6.4, 6, 0.09
_NAME_LENGTH, _LINE_LENGTH, _LABEL_LENGTH = 24, 28, 37
_MOST_COUPLED, _MOST_REASONS = 12, 5
# On coloured boxes the text keeps its colour in dark mode, so these are none of the theme's.
_ON_LIGHT, _ON_DARK = "#14171c", "#fdfdfd"
_COUPLED = (
    "#8ecae6", "#f6bd60", "#a7c957", "#f28482", "#cdb4db", "#83c5be",
    "#f4a261", "#b8c0ff", "#d4a373", "#ffafcc", "#90be6d", "#e9c46a",
)  # fmt: skip
_ALONE = ("#e4f2e7", "#d3e6dc")
_HATCHES = ("////", "\\\\\\\\", "----", "xxxx", "||||", "++++")
_SHORT = (
    ("BatchNormalization", "BN"), ("Average", "Avg"), ("Pooling", "Pool"),
    ("ZeroPadding", "Padding"), ("Depthwise", "Depthw."), ("Separable", "Sep"),
    ("1D", ""), ("2D", ""), ("3D", ""),
)  # fmt: skip

Key = list[tuple[str, str, str]]
"""Fill, hatch and label of each entry; the fill `ratio` stands for the colour bar."""


@dataclass(frozen=True)
class _Look:
    """How a box is drawn: its colour, the stripes below it, the hatch and the note on the right."""

    fill: str
    note: str = ""
    hatch: str = ""
    stripes: tuple[tuple[str, float], ...] = ()


def layer_graph_figure(
    graph: Mapping[str, Any], keep_ratios: Mapping[str, float] | None = None
) -> Figure:
    """The layer graph, data flowing downwards and column by column.

    A chain such as convolution, BatchNorm, activation is one box. It is coloured by the keep ratio
    of the channel groups that its output carries (by size, where there are several); grey where
    none of them may be cut, white where it carries none.

    Args:
        graph: a layer graph's `to_dict()`.
        keep_ratios: share of the channels kept of each group, in (0, 1]; a group that is missing
            is whole. None colours by channel group instead: a group that several layers make has
            a colour of its own, and frozen ones are hatched by reason.
    """
    boxes = collapse(list(graph.get("nodes", ())))
    layout = lay_out(boxes, aspect=3.2, most_lanes=_MOST_LANES)
    lefts, edge = [], _MARGIN
    for lanes in layout.lanes:
        lefts.append(edge)
        edge += (lanes - 1) * LANE + BOX_WIDTH + GUTTER
    width = max(edge - GUTTER + _MARGIN, _NARROWEST)
    by_group = keep_ratios is None
    looks, key = _by_group(graph, boxes) if by_group else _by_ratio(graph, boxes, keep_ratios or {})
    count = sum(len(box["members"]) for box in boxes)
    in_row = int((width - 2 * _MARGIN + 0.3) // _SLOT)
    slots, rows = in_slots([1 + (len(label) > _LABEL_LENGTH) for _, _, label in key], in_row)
    top = 0.52 + _SLOT_HEIGHT * rows
    height = top + layout.rows * ROW + 0.2
    corners: dict[str, Corner] = {
        name: (lefts[place.column] + place.lane * LANE, top + place.row * ROW)
        for name, place in layout.places.items()
    }
    with matplotlib.rc_context(STYLE):
        figure = new_figure(width, height)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.set_axis_off()
        axes.text(_MARGIN, 0.2, f"{count} layers in {len(boxes)} boxes", fontsize=7.5, color=MUTED)
        for (row, slot), entry in zip(slots, key, strict=True):
            _draw_key(axes, (_MARGIN + slot * _SLOT, 0.3 + row * _SLOT_HEIGHT), *entry)
        crossings = 0
        for box in boxes:
            end = layout.places[box["name"]]
            for name in box["inputs"]:
                start = layout.places[name]
                crossings += start.column != end.column
                path = route(start, end, corners[name], corners[box["name"]], crossings)
                axes.add_patch(
                    PathPatch(path, facecolor="none", edgecolor=MUTED, linewidth=0.8, zorder=1)
                )
        framed = set()
        for name, left, upper, wide, high in frames(boxes, layout.places, corners):
            framed.add(name)
            frame = Rectangle((left, upper), wide, high, fill=False, edgecolor=MUTED)
            frame.set(linewidth=0.8, linestyle=(0, (4, 2)))
            axes.add_patch(frame)
            axes.text(left + 0.04, upper - 0.005, shorten(name, 30), fontsize=6.2, color=MUTED)
        for index, box in enumerate(boxes):
            name = box["name"]
            title = name.partition("/")[2] if scope(name) in framed else name
            _draw_box(axes, corners[name], index, title, box["members"], looks[name])
        return figure


def reason_kind(reason: str, layers: Container[str]) -> str:
    """Why a group is frozen, without the name of the layer that says so."""
    name, _, rest = reason.partition(": ")
    return rest if rest and name in layers else reason


def _by_ratio(
    graph: Mapping[str, Any], boxes: Sequence[Mapping[str, Any]], ratios: Mapping[str, float]
) -> tuple[dict[str, _Look], Key]:
    groups = {group["name"]: group for group in graph.get("groups", ())}
    looks = {}
    for box in boxes:
        carried = [groups[n] for n in box["members"][-1].get("groups", ()) if n in groups]
        free = [group for group in carried if group.get("prunable")]
        look = _Look(FROZEN if carried else PAPER)
        if free:
            size = sum(group["size"] for group in free) or 1
            kept = sum(group["size"] * ratios.get(group["name"], 1.0) for group in free) / size
            look = _Look(_colour(kept), f"{100 * kept:.0f}%")
        looks[box["name"]] = look
    return looks, [("ratio", "", ""), (FROZEN, "", "not cut"), (PAPER, "", "no channel group")]


def _by_group(
    graph: Mapping[str, Any], boxes: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, _Look], Key]:
    groups = {group["name"]: group for group in graph.get("groups", ())}
    last = {box["name"]: box["members"][-1] for box in boxes}
    carried = {
        name: [groups[n] for n in node.get("groups", ()) if n in groups]
        for name, node in last.items()
    }
    makers: dict[str, int] = defaultdict(int)
    for box in boxes:
        read = {group["name"] for name in box["inputs"] for group in carried[name]}
        for group in carried[box["name"]]:
            makers[group["name"]] += makes_channels(box) or group["name"] not in read
    free = [group for group in groups.values() if group.get("prunable")]
    coupled = [group for group in free if makers[group["name"]] > 1]
    alone = [group for group in free if makers[group["name"]] <= 1]
    fills = {g["name"]: _COUPLED[i % len(_COUPLED)] for i, g in enumerate(coupled)}
    fills |= {g["name"]: _ALONE[i % len(_ALONE)] for i, g in enumerate(alone)}
    names = {node["name"] for node in graph.get("nodes", ())}
    kinds = {g["name"]: reason_kind(g.get("reason", ""), names) for g in groups.values()}
    shown = {g["name"] for each in carried.values() for g in each}
    why = dict.fromkeys(kinds[g] for g in groups if g in shown and g not in fills)
    hatches = {kind: _HATCHES[min(i, _MOST_REASONS)] for i, kind in enumerate(why)}
    looks = {}
    for name, of in carried.items():
        shape = list(last[name].get("shape", ()))
        note = str(shape[-1]) if shape and shape[-1] is not None else ""
        frozen = [group for group in of if group["name"] not in fills]
        look = _Look(PAPER, note)
        if len(frozen) == len(of) > 0:
            look = _Look(FROZEN, note, hatches[kinds[of[0]["name"]]])
        elif len(of) == 1:
            look = _Look(fills[of[0]["name"]], note)
        elif of:
            stripes: dict[str, float] = defaultdict(float)
            for group in of:
                stripes[fills.get(group["name"], FROZEN)] += group["size"]
            look = _Look(PAPER, note, "", tuple(stripes.items()))
        looks[name] = look
    key = [
        (fills[g["name"]], "", f"{shorten(g['name'], 24)}, {g['size']}")
        for g in coupled[:_MOST_COUPLED]
    ]
    if len(coupled) > _MOST_COUPLED:
        key.append((PAPER, "", f"and {len(coupled) - _MOST_COUPLED} more groups of several layers"))
    if alone:
        key.append((_ALONE[0], "", "a group of one layer"))
    if any(look.stripes for look in looks.values()):
        key.append((PAPER, "stripes", "several groups"))
    for index, (kind, hatch) in enumerate(hatches.items()):
        if index <= _MOST_REASONS:
            label = (
                shorten(kind, 2 * _LABEL_LENGTH)
                if index < _MOST_REASONS
                else "frozen for other reasons"
            )
            key.append((FROZEN, hatch, label))
    return looks, key


def _colour(ratio: float) -> str:
    red, green, blue, _ = matplotlib.colormaps["viridis"](min(max(ratio, 0.0), 1.0))
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _text_colour(fill: str) -> str:
    if fill in (FROZEN, PAPER):
        return INK
    red, green, blue = (int(fill[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return _ON_LIGHT if 0.30 * red + 0.59 * green + 0.11 * blue > 0.45 else _ON_DARK


def _draw_box(
    axes: Axes,
    corner: Corner,
    index: int,
    title: str,
    members: Sequence[Mapping[str, Any]],
    look: _Look,
) -> None:
    left, top = corner
    box = FancyBboxPatch(
        corner, BOX_WIDTH, BOX_HEIGHT, "round,pad=0,rounding_size=0.03", facecolor=look.fill
    )
    box.set(edgecolor=LINE, linewidth=0.6, zorder=2, gid=f"box-{index}")
    axes.add_patch(box)
    total, x = sum(size for _, size in look.stripes), left
    for colour, size in look.stripes:
        width = BOX_WIDTH * size / total
        stripe = Rectangle((x, top + BOX_HEIGHT - 0.045), width, 0.045, color=colour, linewidth=0)
        axes.add_patch(stripe)
        stripe.set_zorder(3)
        x += width
    style: dict[str, Any] = {"va": "baseline", "color": _text_colour(look.fill), "zorder": 4}
    right = left + BOX_WIDTH - 0.05
    axes.text(right, top + 0.255, look.note, ha="right", fontsize=6.8, **style)
    left += 0.05
    if look.hatch:
        _hatched(axes, corner, _STRIP, BOX_HEIGHT, look.hatch)
        left += _STRIP
    title = shorten(title, _NAME_LENGTH - 2 * bool(look.hatch))
    axes.text(left, top + 0.135, title, fontsize=7.6, **style)
    kinds = ", ".join(node.get("type", "").rpartition(".")[2] for node in members)
    for long, short in _SHORT:
        kinds = kinds.replace(long, short)
    kinds = shorten(kinds, _LINE_LENGTH - len(look.note))
    axes.text(left, top + 0.255, kinds, fontsize=6.8, **style)


def _hatched(axes: Axes, corner: Corner, width: float, height: float, hatch: str) -> None:
    strip = Rectangle(corner, width, height, facecolor=FROZEN, edgecolor=MUTED, hatch=hatch)
    strip.set(linewidth=0, zorder=3)
    axes.add_patch(strip)


def _draw_key(axes: Axes, corner: Corner, fill: str, hatch: str, label: str) -> None:
    """One entry of the key, or the colour bar."""
    x, y, height = corner[0], corner[1], 0.12
    middle = y + height / 2
    if fill == "ratio":
        steps, length = 20, 1.2
        for step in range(steps):
            place = (x + 0.12 + length * step / steps, y)
            colour = _colour((step + 0.5) / steps)
            axes.add_patch(Rectangle(place, length / steps, height, color=colour, linewidth=0))
        style: dict[str, Any] = {"va": "center", "fontsize": 7.5}
        axes.text(x + 0.06, middle, "0", ha="right", color=MUTED, **style)
        axes.text(x + length + 0.17, middle, "1  keep ratio", color=MUTED, **style)
        return
    if hatch in ("", "stripes"):
        axes.add_patch(
            Rectangle((x, y), 0.2, height, facecolor=fill, edgecolor=LINE, linewidth=0.6)
        )
    else:
        _hatched(axes, corner, 0.2, height, hatch)
    if hatch == "stripes":
        for n, colour in enumerate((_ALONE[1], _COUPLED[0], FROZEN)):
            place = (x + 0.2 * n / 3, y + height - 0.045)
            axes.add_patch(Rectangle(place, 0.2 / 3, 0.045, color=colour, linewidth=0))
    axes.text(x + 0.27, middle, label, va="center", fontsize=7.5)
