"""The layer graph as a drawing: one box a layer call, coloured by what is kept of its channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path

from tfgraphprune.report.canvas import STYLE, new_figure, shorten
from tfgraphprune.report.layout import Place, lay_out
from tfgraphprune.report.theme import FROZEN, INK, LINE, MUTED, PAPER

# All in inches: the axes' data units are inches too, with y downwards.
_BOX_WIDTH, _BOX_HEIGHT = 1.5, 0.155
_ROW, _LANE, _GUTTER = 0.23, 1.68, 0.75
_MARGIN, _TOP = 0.5, 0.62
_NAME_LENGTH = 22
_NARROWEST = 6.4
# On coloured boxes the text keeps its colour in dark mode, so these are none of the theme's.
_ON_LIGHT, _ON_DARK = "#14171c", "#fdfdfd"


def layer_graph_figure(
    graph: Mapping[str, Any], keep_ratios: Mapping[str, float] | None = None
) -> Figure:
    """The layer graph, data flowing downwards and column by column.

    A box is coloured by the keep ratio of the channel groups that its output carries (by size,
    where there are several); grey where none of them may be cut, white where it carries none.

    Args:
        graph: a layer graph's `to_dict()`.
        keep_ratios: share of the channels kept of each group, in (0, 1]; a group that is missing
            is whole. None colours every prunable group alike, without a colour bar.
    """
    nodes = list(graph.get("nodes", ()))
    groups = {group["name"]: group for group in graph.get("groups", ())}
    layout = lay_out(nodes)
    lefts, edge = [], _MARGIN
    for lanes in layout.lanes:
        lefts.append(edge)
        edge += (lanes - 1) * _LANE + _BOX_WIDTH + _GUTTER
    width = max(edge - _GUTTER + _MARGIN, _NARROWEST)
    height = _TOP + layout.rows * _ROW + 0.2

    def corner(place: Place) -> tuple[float, float]:
        return lefts[place.column] + place.lane * _LANE, _TOP + place.row * _ROW

    with matplotlib.rc_context(STYLE):
        figure = new_figure(width, height)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.set_axis_off()
        _draw_key(axes, len(nodes), keep_ratios is not None)
        crossings = 0
        for node in nodes:
            end = layout.places[node["name"]]
            for name in node.get("inputs", ()):
                start = layout.places.get(name)
                if start is None:
                    continue
                crossings += start.column != end.column
                path = _edge(start, end, corner(start), corner(end), crossings)
                axes.add_patch(
                    PathPatch(path, facecolor="none", edgecolor=MUTED, linewidth=0.7, zorder=1)
                )
        for node in nodes:
            ratio, fill = _fill(node, groups, keep_ratios)
            _draw_box(axes, corner(layout.places[node["name"]]), node["name"], ratio, fill)
        return figure


def _fill(
    node: Mapping[str, Any],
    groups: Mapping[str, Mapping[str, Any]],
    keep_ratios: Mapping[str, float] | None,
) -> tuple[float | None, str]:
    """The keep ratio of what a node carries, where it may be cut, and the colour of its box."""
    carried = [groups[name] for name in node.get("groups", ()) if name in groups]
    free = [group for group in carried if group.get("prunable")]
    if not free:
        return None, FROZEN if carried else PAPER
    if keep_ratios is None:
        return None, _colour(0.6)
    size = sum(group["size"] for group in free) or 1
    ratio = sum(group["size"] * keep_ratios.get(group["name"], 1.0) for group in free) / size
    return ratio, _colour(ratio)


def _colour(ratio: float) -> str:
    red, green, blue, _ = matplotlib.colormaps["viridis"](min(max(ratio, 0.0), 1.0))
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _text_colour(fill: str) -> str:
    if fill in (FROZEN, PAPER):
        return INK
    red, green, blue = (int(fill[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return _ON_LIGHT if 0.30 * red + 0.59 * green + 0.11 * blue > 0.45 else _ON_DARK


def _draw_box(
    axes: Axes, corner: tuple[float, float], name: str, ratio: float | None, fill: str
) -> None:
    left, top = corner
    axes.add_patch(
        FancyBboxPatch(
            corner,
            _BOX_WIDTH,
            _BOX_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.03",
            facecolor=fill,
            edgecolor=LINE if fill in (FROZEN, PAPER) else fill,
            linewidth=0.6,
            zorder=2,
        )
    )
    middle, colour = top + _BOX_HEIGHT / 2, _text_colour(fill)
    style: dict[str, Any] = {"va": "center_baseline", "fontsize": 6.2, "color": colour, "zorder": 3}
    axes.text(left + 0.045, middle, shorten(name, _NAME_LENGTH), ha="left", **style)
    if ratio is not None:
        axes.text(left + _BOX_WIDTH - 0.045, middle, f"{100 * ratio:.0f}%", ha="right", **style)


def _edge(
    start: Place, end: Place, source: tuple[float, float], target: tuple[float, float], index: int
) -> Path:
    half = _BOX_WIDTH / 2
    x0, y0 = source[0] + half, source[1] + _BOX_HEIGHT
    x1, y1 = target[0] + half, target[1]
    if start.column != end.column:
        return _across(source, target, index)
    span = end.row - start.row
    if start.lane != end.lane:
        # The long part runs straight down the outer lane; the bend is in the last row or first.
        bend = y1 - y0 - (span - 1) * _ROW
        low = y1 - bend if start.lane > end.lane else y0
        points = [(x0, y0), (x0, low), (x0, low + bend / 2), (x1, low + bend / 2)]
        points += [(x1, low + bend), (x1, y1)]
        codes = [Path.MOVETO, Path.LINETO, *[Path.CURVE4] * 3, Path.LINETO]
        return Path(points, codes)
    if span == 1:
        return Path([(x0, y0), (x1, y1)], [Path.MOVETO, Path.LINETO])
    side = -1.0 if start.lane == 0 else 1.0
    out = side * min(0.05 + 0.05 * span, 0.42)
    x, y0, y1 = x0 + side * half, y0 - _BOX_HEIGHT / 2, y1 + _BOX_HEIGHT / 2
    return Path([(x, y0), (x + out, y0), (x + out, y1), (x, y1)], [Path.MOVETO, *[Path.CURVE4] * 3])


def _across(source: tuple[float, float], target: tuple[float, float], index: int) -> Path:
    """From a box's right side up the gutter before the target's column, with round corners."""
    x0, y0 = source[0] + _BOX_WIDTH, source[1] + _BOX_HEIGHT / 2
    x1, y1 = target[0], target[1] + _BOX_HEIGHT / 2
    gutter = x1 - _GUTTER + 0.12 + 0.07 * (index % 4)
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


def _draw_key(axes: Axes, count: int, with_bar: bool) -> None:
    """The colour bar and what grey and white boxes mean, in the top margin."""
    x, y, height = _MARGIN, 0.2, 0.11
    if with_bar:
        steps, length = 20, 1.4
        for step in range(steps):
            fill = _colour((step + 0.5) / steps)
            axes.add_patch(
                Rectangle(
                    (x + length * step / steps, y), length / steps, height, color=fill, linewidth=0
                )
            )
        for share in (0.0, 0.5, 1.0):
            axes.text(
                x + length * share,
                y + height + 0.04,
                f"{share:g}",
                ha="center",
                va="top",
                fontsize=7,
                color=MUTED,
            )
        axes.text(x + length + 0.1, y + height / 2, "keep ratio", va="center", fontsize=7.5)
        x += length + 0.95
    for fill, label, room in (
        (FROZEN, "not cut", 0.75),
        (PAPER, "no channel group", 1.25),
    ):
        axes.add_patch(
            Rectangle((x, y), 0.2, height, facecolor=fill, edgecolor=LINE, linewidth=0.6)
        )
        axes.text(x + 0.27, y + height / 2, label, va="center", fontsize=7.5)
        x += room + 0.2
    axes.text(x, y + height / 2, f"{count} layers", va="center", fontsize=7.5, color=MUTED)
