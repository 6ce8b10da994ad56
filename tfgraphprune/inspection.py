"""What can be cut from a model, in words: its groups, its cost by width, a budget's chances."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfgraphprune.cost.model_cost import dense_counts, macs_cost, params_cost
from tfgraphprune.graph.groups import ChannelGroup
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.model_files import load_model

_SHOWN_LAYERS = 3


def inspect(model: Any, freeze: Sequence[str] = (), macs_ratio: float | None = None) -> str:
    """A table of a model's channel groups, and its cost at the smallest, half and full width.

    Args:
        model: a functional or Sequential tf_keras model.
        freeze: names or patterns of layers whose channels must stay.
        macs_ratio: a budget to be tried, as a share of the dense MACs.

    Raises:
        UserError: the model can't be read, or a pattern matches no layer.
    """
    graph = LayerGraph.from_model(model, freeze=freeze)
    dense = dense_counts(graph)
    macs, params = macs_cost(graph), params_cost(graph)
    rows = [("group", "channels", "MACs", "params", "state", "layers")]
    column = 0
    for group in graph.channel_groups:
        shares = ("", "")
        if group.prunable:
            without = dense.copy()
            without[column] = 0
            shares = (_share(macs, without, dense), _share(params, without, dense))
            column += 1
        rows.append((group.name, str(group.size), *shares, _state(group), _layers(group)))
    smallest = np.array([min(g.step, g.size) for g in graph.prunable_groups], int)
    half = np.maximum(dense // 2, smallest)
    widths = [("width", "MACs", "params")]
    for name, counts in (("smallest", smallest), ("half", half), ("full", dense)):
        widths.append((name, f"{float(macs(counts)):,.0f}", f"{float(params(counts)):,.0f}"))
    free = sum(g.size for g in graph.prunable_groups)
    made = sum(g.size for g in graph.channel_groups if g.producers)
    text = [
        f"{model.name}: {len(graph.nodes)} layer calls, {len(graph.channel_groups)} channel "
        f"groups; {free} of {made} channels may be cut",
        "",
        _table(rows),
        "",
        _table(widths),
    ]
    if macs_ratio is not None:
        least = float(macs(smallest)) / float(macs(dense))
        verdict = "can be met" if macs_ratio >= least else "can't be met"
        text += ["", f"a budget of {macs_ratio:g} of the MACs {verdict}: the least is {least:.4f}"]
    return "\n".join(text)


def inspect_file(
    path: str | os.PathLike,
    freeze: Sequence[str] = (),
    macs_ratio: float | None = None,
    allow_lambda: bool = False,
) -> str:
    """`inspect` for a `.keras` or `.h5` file.

    Raises:
        UserError: the file can't be loaded or read.
    """
    return inspect(load_model(path, allow_lambda), freeze, macs_ratio)


def _share(cost: Any, without: np.ndarray, dense: np.ndarray) -> str:
    """How much of the dense cost goes when the whole group goes."""
    return f"{1 - float(cost(without)) / float(cost(dense)):.1%}"


def _state(group: ChannelGroup) -> str:
    return "free" if group.prunable else f"frozen: {group.reason}"


def _layers(group: ChannelGroup) -> str:
    names = group.layers
    more = f" and {len(names) - _SHOWN_LAYERS} more" if len(names) > _SHOWN_LAYERS else ""
    return ", ".join(names[:_SHOWN_LAYERS]) + more


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
