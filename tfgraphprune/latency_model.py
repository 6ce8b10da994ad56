"""A network's latency on a device as a function of its channels: tables, set right by networks.

Tables of single operators as in HALP (Shen et al., "Structural Pruning via Latency-Saliency
Knapsack", NeurIPS 2022) and NetAdapt (Yang et al., ECCV 2018); what they leave out is fitted to
some whole networks that are measured.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from tfgraphprune.cost.model_cost import dense_counts
from tfgraphprune.cost.projection import Limit, Projection
from tfgraphprune.cost.table_cost import TableCost
from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.pruning.surgery import prune
from tfgraphprune.tflite.convert import export_tflite
from tfgraphprune.tflite.kernels import elements_of, kernels_of, tables_of
from tfgraphprune.tflite.latency_table import Clock, LatencyTable

_WIDTHS = (0.75, 0.5, 0.3)
"""Shares of the tables' latency at which networks are measured, beside the dense one."""

_TILE = 8
"""Grid of the tables: no device's kernels make fewer channels at a time."""

_PRIOR = 0.02
"""Weight that keeps the fit near the tables as they are, in squared relative error."""


@dataclass(frozen=True, eq=False)
class LatencyModel:
    """What a network of some channel counts takes on a device.

    Attributes:
        cost: milliseconds of each row of counts `[..., groups]`; a `Cost` for budgets.
        dense_ms: measured, of the whole network.
        step: the channel multiple at which the device's time steps up.
        measured: the networks that were measured: counts, milliseconds, and the tables' estimate
            when that network was left out of the fit.
    """

    cost: TableCost
    dense_ms: float
    step: int
    measured: tuple[Mapping[str, Any], ...]

    @property
    def error(self) -> float:
        """Largest relative error on a measured network that was left out of the fit."""
        return max(abs(row["left_out_ms"] / row["ms"] - 1) for row in self.measured)

    def limit(self, ratio: float | None = None, milliseconds: float | None = None) -> Limit:
        """A budget in latency, as a share of the dense network's or in milliseconds."""
        dense = float(self.cost(self._dense))
        value = dense * ratio if ratio is not None else milliseconds
        assert value is not None
        return Limit("latency_ms", self.cost, value)

    @property
    def _dense(self) -> np.ndarray:
        return np.asarray(self.measured[0]["counts"])


def measure_latency(
    graph: LayerGraph,
    table: LatencyTable,
    clock: Clock,
    *,
    networks: int = 4,
    seed: int = 0,
) -> LatencyModel:
    """Measure a network's operators and a few of its pruned versions on a device.

    Args:
        graph: of the dense network.
        table: the device's, which keeps what is measured.
        clock: measures TFLite files on the same device.
        networks: pruned networks to measure beside the dense one; 2 or more.
        seed: of their plans.

    Raises:
        UserError: nothing to prune or to measure, or too few networks.
    """
    if networks < 2:
        raise UserError(f"networks must be 2 or more, not {networks!r}.")
    dense = dense_counts(graph)
    kernels = kernels_of(graph)
    if not len(dense) or not kernels:
        raise UserError("the model has no convolution or dense layer whose channels may be cut.")
    step = table.channel_step()
    tables = tables_of(graph, kernels, table, _TILE)
    elements = elements_of(graph)
    rough = TableCost(tables, np.zeros(len(dense)), 0.0, _TILE)
    plans = [dense, *_plans(graph, rough, networks, seed)]
    times = _times(graph, plans, clock)
    features = np.stack(
        [
            [rough.kernels(c) for c in plans],
            [c @ elements.slope + elements.fixed for c in plans],
            np.ones(len(plans)),
        ],
        1,
    )
    factors = _fitted(features, times)
    rows = []
    for number, (counts, ms) in enumerate(zip(plans, times, strict=True)):
        others = np.arange(len(plans)) != number
        estimate = float(features[number] @ _fitted(features[others], times[others]))
        rows.append({"counts": counts.tolist(), "ms": float(ms), "left_out_ms": estimate})
    scaled = [type(t)(t.reads, t.makes, t.inputs, t.outputs, t.costs * factors[0]) for t in tables]
    fixed = elements.fixed * factors[1] + factors[2]
    cost = TableCost(scaled, elements.slope * factors[1], fixed, _TILE)
    model = LatencyModel(cost, float(times[0]), step, tuple(rows))
    logging.info(
        "latency on %s: %.3f ms dense, channels step at %d, error of the estimate %.1f%%",
        table.device, model.dense_ms, step, 100 * model.error,
    )  # fmt: skip
    return model


def _plans(graph: LayerGraph, cost: TableCost, networks: int, seed: int) -> list[np.ndarray]:
    """Counts of random plans that spend different shares of the tables' latency."""
    random = np.random.Generator(np.random.Philox(seed))
    dense = dense_counts(graph)
    whole = float(cost(dense))
    steps = np.array([group.step for group in graph.prunable_groups])
    found = []
    for number in range(networks):
        share = _WIDTHS[number % len(_WIDTHS)]
        limit = Limit("latency_ms", cost, whole * share)
        try:
            projection = Projection(dense, steps, (limit,), 0.1)
        except UserError:  # the smallest network takes longer: that is the one to measure
            projection = Projection(dense, steps, (), 0.1)
            found.append(projection.lowest)
            continue
        found.append(projection.project(random.normal(0, 1, len(dense)))[0])
    return found


def _times(graph: LayerGraph, plans: Sequence[np.ndarray], clock: Clock) -> np.ndarray:
    """Median milliseconds of the networks, measured together."""
    names = [group.name for group in graph.prunable_groups]
    with tempfile.TemporaryDirectory(prefix="tfgraphprune-") as folder:
        paths = {}
        for number, counts in enumerate(plans):
            kept = dict(zip(names, map(int, counts), strict=True))
            small = prune(graph.model, PruningPlan.from_counts(graph, kept))
            path = Path(folder) / f"{number}.tflite"
            export_tflite(small, path)
            paths[str(number)] = path
        found = clock(paths)
    return np.array([found[str(n)].median_ms for n in range(len(plans))])


def _fitted(features: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Factors of kernels, elements and 1, none below 0, that fit the times in relative error."""
    scale = features / times[:, None]
    typical = np.maximum(np.abs(scale).mean(0), 1e-12)
    prior = np.array([1.0, 0.0, 0.0])
    chosen = [0, 1, 2]
    while True:
        a = scale[:, chosen]
        penalty = np.sqrt(_PRIOR) * np.diag(typical[chosen])
        left = np.concatenate([a, penalty])
        right = np.concatenate([np.ones(len(times)), penalty @ prior[chosen]])
        found = np.linalg.lstsq(left, right, rcond=None)[0]
        if (found >= 0).all():
            break
        chosen = [c for c, value in zip(chosen, found, strict=True) if value >= 0]
    factors = np.zeros(3)
    factors[chosen] = found
    return factors


def host_table(
    file: str | os.PathLike | None = None, threads: int = 1
) -> tuple[LatencyTable, Clock]:
    """The table and the clock of this machine.

    Args:
        file: where the table is kept.
        threads: threads of LiteRT.
    """
    import platform
    from importlib import metadata

    from tfgraphprune.tflite.latency import host_latency

    runtime = metadata.version("ai-edge-litert")
    device = f"{platform.machine()} host, LiteRT {runtime}, {threads} thread(s)"

    def quick(paths: Mapping[str, Path]) -> Mapping[str, Any]:
        return host_latency(paths, runs=20, warmup=3, threads=threads)

    def careful(paths: Mapping[str, Path]) -> Mapping[str, Any]:
        return host_latency(paths, runs=60, warmup=5, threads=threads)

    return LatencyTable(quick, device, file), careful
