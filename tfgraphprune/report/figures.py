"""The figures of a run as matplotlib `Figure`s, built without pyplot and without a global backend.

Each takes the plain records of a run; names in them are drawn as they are, never as mathematics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfgraphprune.report.canvas import STYLE, new_figure, shorten
from tfgraphprune.report.graph_figure import layer_graph_figure
from tfgraphprune.report.tables import bytes_text, count_text, number, percent_text
from tfgraphprune.report.theme import ACCENT, FROZEN, LINE, MUTED, SERIES

__all__ = ["channels_figure", "costs_figure", "layer_graph_figure", "search_figure"]

_GROUP_ROWS = 40


def channels_figure(graph: Mapping[str, Any], kept: Mapping[str, Sequence[int]] | None) -> Figure:
    """Channels before and after for each prunable group, as nested bars.

    Args:
        graph: a layer graph's `to_dict()`.
        kept: the kept indices of each group; a group that is missing is whole.
    """
    kept = kept or {}
    groups = [group for group in graph.get("groups", ()) if group.get("prunable")]
    columns = max(1, math.ceil(len(groups) / _GROUP_ROWS))
    rows = max(1, math.ceil(len(groups) / columns))
    with matplotlib.rc_context(STYLE):
        figure = new_figure(max(7.0, 4.6 * columns), 0.9 + 0.21 * rows)
        figure.set_layout_engine("constrained")
        all_axes = figure.subplots(1, columns, squeeze=False)[0]
        for index, axes in enumerate(all_axes):
            _channel_bars(axes, groups[index * rows : (index + 1) * rows], kept, rows)
        if not groups:
            all_axes[0].text(0.0, 0.0, "no group may be pruned", color=MUTED)
        return figure


def search_figure(history: Mapping[str, Any]) -> Figure:
    """Best reward so far, and the smoothed reward, over evaluations for each search method.

    Args:
        history: a run's history; its `"search"` entries have `method`, `evaluation` (from 1),
            `reward` and `best_reward`.
    """
    methods: dict[str, list[tuple[float, float]]] = {}
    for entry in history.get("search") or ():
        evaluation, reward = number(entry.get("evaluation")), number(entry.get("reward"))
        if evaluation is not None and reward is not None:
            methods.setdefault(str(entry.get("method", "search")), []).append((evaluation, reward))
    longest = max((points[-1][0] for points in methods.values()), default=1)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.0, 3.6)
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        for index, (method, points) in enumerate(methods.items()):
            colour = SERIES[index % len(SERIES)]
            steps, rewards = [p[0] for p in points], [p[1] for p in points]
            best = _running_maximum(rewards)
            # The best stays what it is after a method's last evaluation.
            axes.step(
                [*steps, longest], [*best, best[-1]], where="post", color=colour, linewidth=1.9
            )
            axes.plot(steps, rewards, ".", color=colour, markersize=3, alpha=0.35)
            if len(points) > 2:
                axes.plot(steps, _smoothed(rewards), color=colour, linewidth=0.9, linestyle="--")
            axes.plot([], [], color=colour, linewidth=1.9, label=method)
        axes.plot([], [], color=MUTED, linewidth=1.9, label="best so far")
        axes.plot([], [], color=MUTED, linewidth=0.9, linestyle="--", label="smoothed")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("evaluation")
        axes.set_ylabel("reward")
        axes.set_xlim(left=0)
        _bare(axes)
        axes.grid(axis="y", color=LINE, linewidth=0.5, alpha=0.6)
        figure.legend(loc="outside upper left", ncols=5, frameon=False, fontsize=8.5)
        return figure


def costs_figure(metrics: Mapping[str, Any]) -> Figure:
    """The pruned model's accuracy and costs in per cent of the dense model's.

    Args:
        metrics: a run's metrics; what is missing on either side is left out.
    """
    dense, pruned = metrics.get("dense") or {}, metrics.get("pruned") or {}
    bars = []
    for key, label, text in (
        ("accuracy", "accuracy", percent_text),
        ("macs", "MACs", count_text),
        ("params", "parameters", count_text),
        ("file_bytes", "file size", bytes_text),
        ("latency_ms", "host latency", lambda value: f"{value:.3g} ms"),
    ):
        before, after = number(dense.get(key)), number(pruned.get(key))
        if before and after is not None:
            bars.append((label, 100 * after / before, f"{text(before)} → {text(after)}"))
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.0, 0.8 + 0.42 * max(len(bars), 1))
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        for row, (label, share, values) in enumerate(bars):
            axes.barh(row, 100, height=0.62, color=FROZEN)
            axes.barh(row, share, height=0.34, color=ACCENT)
            axes.text(-2, row, label, ha="right", va="center")
            edge = max(share, 100) + 2
            axes.text(edge, row, f"{share:.1f} %", va="center", weight="bold")
            axes.text(edge + 17, row, values, va="center", color=MUTED)
        if not bars:
            axes.text(0, 0, "no figures of both models", color=MUTED)
        axes.set_ylim(max(len(bars), 1) - 0.5, -0.5)
        axes.set_xlim(0, max([100.0, *(bar[1] for bar in bars)]))
        axes.set_yticks([])
        axes.set_xlabel("per cent of the dense model (grey)")
        _bare(axes)
        axes.spines["left"].set_visible(False)
        return figure


def _channel_bars(
    axes: Axes, groups: Sequence[Mapping[str, Any]], kept: Mapping[str, Sequence[int]], rows: int
) -> None:
    largest = max((group["size"] for group in groups), default=1)
    for row, group in enumerate(groups):
        size = group["size"]
        after = len(kept[group["name"]]) if group["name"] in kept else size
        axes.barh(row, size, height=0.72, color=FROZEN)
        axes.barh(row, after, height=0.42, color=ACCENT)
        axes.text(-0.015 * largest, row, shorten(group["name"], 30), ha="right", va="center")
        axes.text(
            size + 0.015 * largest, row, f"{size} → {after}", va="center", color=MUTED, fontsize=8
        )
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_xlim(0, largest)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("channels (grey: before, coloured: after)")
    _bare(axes)
    axes.spines["left"].set_visible(False)


def _running_maximum(values: Sequence[float]) -> list[float]:
    best, result = -math.inf, []
    for value in values:
        best = max(best, value)
        result.append(best)
    return result


def _smoothed(values: Sequence[float]) -> list[float]:
    """Means of the last tenth of the values, of at least three."""
    window = max(3, len(values) // 10)
    parts = [values[max(0, end - window) : end] for end in range(1, len(values) + 1)]
    return [sum(part) / len(part) for part in parts]


def _bare(axes: Axes) -> None:
    axes.set_facecolor("none")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
