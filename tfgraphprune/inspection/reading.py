"""Reads a model for `inspect`: what its groups control, what it may cost, a budget's chances."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfgraphprune.cost.model_cost import dense_counts, macs_cost, params_cost, weight_bytes_cost
from tfgraphprune.cost.projection import Projection, resolve_limits
from tfgraphprune.errors import UserError
from tfgraphprune.graph.groups import ChannelGroup
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.graph.trace import TracedWeight
from tfgraphprune.inspection.findings import GroupRow, Inspection, Verdict, WidthRow, writable
from tfgraphprune.inspection.picture import PICTURES
from tfgraphprune.model_files import load_model
from tfgraphprune.settings import Budget, Search

_OUTPUT = "output of the model"


def inspect(
    model: Any,
    freeze: Sequence[str] = (),
    channel_multiple: int | Mapping[str, int] = 1,
    budget: Budget | None = None,
    picture: str | os.PathLike | None = None,
) -> Inspection:
    """Find out what can be cut from a model, without changing it.

    The smallest width is what a search with default settings may reach: `Search.min_keep` of each
    group, rounded up to its channel multiple. The centroid is half of each group, likewise.

    Args:
        model: a model that `LayerGraph.from_model` takes.
        freeze: names of layers, or shell patterns, whose output channels must stay.
        channel_multiple: as in `LayerGraph.from_model`.
        budget: a budget to be tried; for `file_bytes` the model is converted to TFLite once.
        picture: an `.svg`, `.png` or `.pdf` file for a drawing, which must not exist yet; see
            `Inspection.save_picture`.

    Raises:
        UserError: the model can't be read, a pattern matches no layer, or the picture can't be
            written.
    """
    if budget is not None and not isinstance(budget, Budget):
        raise UserError(f"budget must be a Budget, not {budget!r}: write Budget(macs_ratio=0.5).")
    if picture is not None:
        writable(picture, PICTURES, False)
    graph = LayerGraph.from_model(model, freeze=freeze, channel_multiple=channel_multiple)
    notes = []
    macs: Any = None
    try:
        macs = macs_cost(graph)
    except UserError as error:
        notes.append(str(error))
    params, weights = params_cost(graph), weight_bytes_cost(graph)
    lowest = Projection.of(graph, (), Search.min_keep).lowest
    widths = []
    for name, counts in _widths(graph, lowest).items():
        cost = None if macs is None else float(macs(counts))
        widths.append(WidthRow(name, cost, float(params(counts)), float(weights(counts))))
    verdicts = []
    for entry, value in budget.limits.items() if budget is not None else ():
        if macs is None and entry.startswith("macs"):
            notes.append(f"Without MACs, {entry}={value:g} can't be judged.")
            continue
        if entry.startswith("latency"):
            notes.append(f"{entry}={value:g} is judged when the device is measured.")
            continue
        try:
            single: dict[str, Any] = {entry: value}
            verdicts.append(_verdict(graph, Budget(**single), lowest))
        except UserError as error:
            notes.append(f"{entry}={value:g} can't be judged: {error}")
    free, outputs = _outputs(graph)
    found = Inspection(
        model=model.name,
        calls=len(graph.nodes),
        free_outputs=free,
        outputs=outputs,
        groups=_rows(graph, macs is not None),
        widths=tuple(widths),
        min_keep=Search.min_keep,
        verdicts=tuple(verdicts),
        notes=tuple(dict.fromkeys(notes)),
        graph=graph.to_dict(),
    )
    if picture is not None:
        found.save_picture(picture)
    return found


def inspect_file(
    path: str | os.PathLike,
    freeze: Sequence[str] = (),
    channel_multiple: int | Mapping[str, int] = 1,
    macs_ratio: float | None = None,
    params_ratio: float | None = None,
    picture: str | None = None,
    json: str | None = None,
    overwrite: bool = False,
    allow_lambda: bool = False,
) -> Inspection:
    """`inspect` for a `.keras` or `.h5` file.

    Args:
        path: the file.
        freeze: as for `inspect`.
        channel_multiple: as for `inspect`.
        macs_ratio: a budget to be tried, as a share of the dense MACs.
        params_ratio: the same of the parameters.
        picture: an `.svg`, `.png` or `.pdf` file for a drawing.
        json: a `.json` file for the findings as data.
        overwrite: whether these files may be replaced.
        allow_lambda: load models with Lambda layers, whose Python code then runs.

    Raises:
        UserError: a file can't be loaded, read or written.
    """
    given = macs_ratio is not None or params_ratio is not None
    budget = Budget(macs_ratio=macs_ratio, params_ratio=params_ratio) if given else None
    if picture is not None:
        writable(picture, PICTURES, overwrite)
    if json is not None:
        writable(json, ("json",), overwrite)
    found = inspect(load_model(path, allow_lambda), freeze, channel_multiple, budget)
    if picture is not None:
        found.save_picture(picture, overwrite)
    if json is not None:
        found.save_json(json, overwrite)
    return found


def _widths(graph: LayerGraph, lowest: np.ndarray) -> dict[str, np.ndarray]:
    sizes = dense_counts(graph)
    steps = np.array([group.step for group in graph.prunable_groups], int)
    half = np.clip(-(-sizes // (2 * steps)) * steps, lowest, sizes)
    return {"minimum": lowest, "centroid": half, "maximum": sizes}


def _verdict(graph: LayerGraph, budget: Budget, lowest: np.ndarray) -> Verdict:
    """What becomes of a budget with a single entry."""
    overhead, whole = None, None
    if budget.limits_file:
        from tfgraphprune.shipping import file_overhead

        with tempfile.TemporaryDirectory() as folder:
            overhead, whole = file_overhead(graph, Path(folder))
    (limit,) = resolve_limits(budget, graph, overhead, dense_bytes=whole)
    least, most = float(limit.cost(lowest)), float(limit.cost(dense_counts(graph)))
    return Verdict(limit.name, limit.value, least, most, least <= limit.value)


def _outputs(graph: LayerGraph) -> tuple[int, int]:
    """Output channels of convolutions and dense layers: those that may be cut, and all.

    Outputs of the model are left out, as they are what it is for.
    """
    made = [
        (axis.path, axis.weight, axis.positions.size, group)
        for group in graph.channel_groups
        for axis in group.axes
        if axis.role == "out" and axis.weight >= 0 and _has_kernel(graph.layer(axis.path))
    ]
    kernels: dict[tuple[str, ...], int] = {}
    for path, weight, _, _ in made:
        kernels[path] = min(weight, kernels.get(path, weight))
    free = outputs = 0
    for path, weight, size, group in made:
        if weight == kernels[path] and group.reason != _OUTPUT:  # a bias repeats the kernel's
            outputs += size
            free += size * group.prunable
    return free, outputs


def _has_kernel(layer: Any) -> bool:
    kinds = type(getattr(layer, "layer", layer)).__mro__
    return any(re.search("Conv|Dense", kind.__name__) for kind in kinds)


def _rows(graph: LayerGraph, with_macs: bool) -> tuple[GroupRow, ...]:
    weights = {(weight.path, weight.weight): weight for weight in graph.weights}
    rows = []
    for group in graph.channel_groups:
        macs, params = _controlled(group, weights)
        rows.append(
            GroupRow(
                group.name,
                group.size,
                group.step,
                macs if with_macs else None,
                params,
                group.prunable,
                group.reason,
                group.layers,
            )
        )
    return tuple(rows)


def _controlled(
    group: ChannelGroup, weights: Mapping[tuple[tuple[str, ...], int], TracedWeight]
) -> tuple[float, float]:
    """MACs and parameters that would go with all channels of a group, frozen or not."""
    stay: dict[tuple[tuple[str, ...], int], dict[int, float]] = {}
    for axis in group.axes:
        if axis.role != "norm":
            key = axis.path, axis.weight
            share = axis.positions.size / axis.blocks / weights[key].shape[axis.axis]
            left = stay.setdefault(key, {})
            left[axis.axis] = left.get(axis.axis, 1.0) - share
    macs = params = 0.0
    for key, left in stay.items():
        weight = weights[key]
        gone = float(np.prod(weight.shape)) * (1.0 - float(np.prod(list(left.values()))))
        macs += gone * (weight.uses or 0)
        params += gone * (weight.weight >= 0)
    return macs, params
