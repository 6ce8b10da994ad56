"""A network's latency on a device as a function of its channels: tables, set right by networks.

Tables of single operators as in HALP (Shen et al., "Structural Pruning via Latency-Saliency
Knapsack", NeurIPS 2022) and NetAdapt (Yang et al., ECCV 2018); what they leave out is fitted to
some whole networks that are measured.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from tfgraphprune.cost.model_cost import dense_counts
from tfgraphprune.cost.projection import Limit, Projection
from tfgraphprune.cost.table_cost import FittedCost, TableCost
from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.pruning.surgery import prune
from tfgraphprune.settings import Budget, Search
from tfgraphprune.tflite.clocks import Clocks, clocks
from tfgraphprune.tflite.convert import export_tflite
from tfgraphprune.tflite.latency import latency_ratio
from tfgraphprune.tflite.latency_table import LatencyTable
from tfgraphprune.tflite.layer_operators import channel_steps, elements_of, kernels_of, tables_of
from tfgraphprune.tflite.operators import Operator

_SHARES = (1.0, 0.9, 1.15, 1.0, 0.8)
"""Latencies at which networks are measured, as shares of the one that is aimed at."""

_LOADS = 5
"""Times that networks are loaded anew: where their tensors come to lie makes a difference."""

_TILE = 8
"""Grid of the tables: no device's kernels make fewer channels at a time."""

_ROUNDS = 3
"""Times that a plan is measured and set right at most."""

_SETTLED = (0.97, 1.01)
"""Measured latency in units of its limit at which a plan stays as it is."""

_PRIOR = 0.02
"""Weight that keeps the fit near the tables as they are, in squared relative error."""


@dataclass(frozen=True, eq=False)
class LatencyModel:
    """What a network of some channel counts takes on a device.

    Attributes:
        cost: milliseconds of each row of counts `[..., groups]`; a `Cost` for budgets.
        device: what was measured.
        steps: channel steps that suit the device, by group.
        measured: the networks that were measured, the dense one first: `counts`, `ms`, and
            `left_out_ms`, the estimate when that network was left out of the fit.
    """

    cost: FittedCost
    device: str
    steps: Mapping[str, int]
    measured: tuple[Mapping[str, Any], ...]

    @property
    def dense_ms(self) -> float:
        """Measured, of the dense network."""
        return float(self.measured[0]["ms"])

    @property
    def error(self) -> float:
        """Largest relative error on a measured pruned network that was left out of the fit."""
        return max(abs(row["left_out_ms"] / row["ms"] - 1) for row in self.measured[1:])

    def stepped(self, graph: LayerGraph) -> LayerGraph:
        """The graph with the device's channel steps, unless the user chose channel multiples."""
        return _stepped(graph, self.steps)

    def record(self) -> dict[str, Any]:
        """What was measured, as plain values; `measure_latency` goes on from it."""
        return {
            "device": self.device, "steps": dict(self.steps), "factors": list(self.cost.factors),
            "measured": list(self.measured), "error": self.error,
        }  # fmt: skip


def measure_latency(
    graph: LayerGraph,
    budget: Budget,
    *,
    networks: int = 5,
    seed: int = 0,
    record: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> LatencyModel:
    """Measure a network's operators, and a few of its pruned versions, on a budget's device.

    Args:
        graph: of the dense network.
        budget: whose device, threads and table are used; the networks that are measured lie around
            its latency.
        networks: pruned networks to measure beside the dense one; 2 or more.
        seed: of their plans.
        record: an earlier measurement's, in place of measuring networks again.
        progress: whether to show a bar.

    Raises:
        UserError: nothing to prune or to measure, a device that can't be used, a table of another
            device.
    """
    if networks < 2:
        raise UserError(f"networks must be 2 or more, not {networks!r}.")
    dense = dense_counts(graph)
    kernels = kernels_of(graph)
    if not len(dense) or not kernels:
        raise UserError("the model has no convolution or dense layer whose channels may be cut.")
    clock = clocks(budget)
    table = LatencyTable(clock.operators, clock.device, budget.latency_table, progress)
    tables = tables_of(graph, kernels, table, _TILE)
    elements, rate = elements_of(graph), _element_ms(table)
    base = TableCost(tables, elements.slope * rate, elements.fixed * rate, _TILE)
    cost = FittedCost(base, (1.0, 0.0, 0.0), float(base(dense)))
    if record is None:
        steps = channel_steps(graph, kernels, table)
        rows = _measured(_stepped(graph, steps), budget, clock, cost, networks, seed)
        features = cost.features(np.array([row["counts"] for row in rows]))
        factors = _fitted(features, np.array([row["ms"] for row in rows]))
        record = {"steps": steps, "factors": factors.tolist(), "measured": rows}
    a, b, c = map(float, record["factors"])
    cost = replace(cost, factors=(a, b, c))
    model = LatencyModel(cost, clock.device, record["steps"], tuple(record["measured"]))
    logging.info(
        "latency on %s: %.3f ms dense, error of the estimate %.1f%%",
        model.device, model.dense_ms, 100 * model.error,
    )  # fmt: skip
    return model


def settle(
    graph: LayerGraph,
    plan: PruningPlan,
    budget: Budget,
    limits: tuple[Limit, ...],
    search: Search,
) -> tuple[PruningPlan, dict[str, float]]:
    """Measure a plan's network on the budget's device, and correct the plan until it meets it.

    What the estimate was wrong by at this plan is taken out of the latency limit, and the plan's
    ratios are projected anew, as often as it takes; NetAdapt (Yang et al., ECCV 2018) measures its
    networks likewise. The other limits hold throughout.

    Args:
        graph: that the plan is for.
        plan: near its limits by the estimate.
        budget: whose device and threads are used.
        limits: that budget's, as `resolve_limits` gives them.
        search: whose `min_keep` and `criterion` hold.

    Returns:
        The plan, and what was measured: `latency_ms`, and `share`, that of its limit.

    Raises:
        UserError: the device can't be used.
    """
    clock, dense = clocks(budget), dense_counts(graph)
    mine = next(limit for limit in limits if limit.name == "latency_ms")
    counts, tried = plan.counts(graph), list[tuple[np.ndarray, dict[str, float]]]()
    for _ in range(_ROUNDS):
        whole, ms = map(float, _times(graph, [dense, counts], clock))
        # A ratio is one of the same moment, because a machine's speed drifts.
        ratio = budget.latency_ratio
        share = ms / (mine.value if ratio is None else ratio * whole)
        tried.append((counts, {"latency_ms": ms, "share": share}))
        logging.info("measured: %.3f ms, %.1f%% of the latency that is allowed", ms, 100 * share)
        if _SETTLED[0] <= share <= _SETTLED[1]:
            break
        limit = replace(mine, value=float(mine.cost(counts)) / share)
        others = tuple(each for each in limits if each is not mine)
        try:
            projection = Projection.of(graph, (limit, *others), search.min_keep)
        except UserError:  # as fast as it gets
            break
        scores = projection.scores_of(counts, 0.0, np.zeros(len(counts)), exact=True)
        after, _ = projection.project(scores)
        if (after == counts).all():
            break
        counts = after
    counts, measured = min(tried, key=lambda each: abs(each[1]["share"] - 1.0))
    if (counts == plan.counts(graph)).all():
        return plan, measured
    names = [group.name for group in graph.prunable_groups]
    kept = dict(zip(names, map(int, counts), strict=True))
    return PruningPlan.from_counts(graph, kept, search.criterion), measured


def _stepped(graph: LayerGraph, steps: Mapping[str, int]) -> LayerGraph:
    return graph.stepping(steps) if graph.choices[1] == 1 else graph


def _measured(
    graph: LayerGraph, budget: Budget, clock: Clocks, rough: FittedCost, networks: int, seed: int
) -> list[dict[str, Any]]:
    """Whole networks on the device, the dense one first."""
    dense = dense_counts(graph)
    whole = _times(graph, [dense], clock)[0]
    share = budget.latency_ratio or min(1.0, (budget.latency_ms or whole) / whole)
    plans = [dense, *_plans(graph, rough, share, networks, seed)]
    times = _times(graph, plans, clock)
    features = rough.features(np.array(plans))
    rows = []
    for number, (counts, ms) in enumerate(zip(plans, times, strict=True)):
        others = np.arange(len(plans)) != number
        estimate = float(features[number] @ _fitted(features[others], times[others]))
        rows.append({"counts": counts.tolist(), "ms": float(ms), "left_out_ms": estimate})
    return rows


def _element_ms(table: LatencyTable) -> float:
    """Milliseconds for a number that an operator such as an addition of two tensors writes."""
    operator = Operator("add", 32, 32, 64, 64)
    return table.milliseconds([operator])[0] / (1.5 * 32 * 32 * 64)


def _plans(
    graph: LayerGraph, cost: FittedCost, share: float, networks: int, seed: int
) -> list[np.ndarray]:
    """Counts of random plans whose latency by the tables lies around a share of the dense one's."""
    random = np.random.Generator(np.random.Philox(seed))
    dense = dense_counts(graph)
    whole = float(cost(dense))
    found = []
    for number in range(networks):
        aim = min(0.95, share * _SHARES[number % len(_SHARES)])
        limit = Limit("latency_ms", cost, whole * aim)
        try:
            projection = Projection.of(graph, (limit,))
        except UserError:  # the smallest network takes longer: that is the one to measure
            found.append(Projection.of(graph, ()).lowest)
            continue
        found.append(projection.project(random.normal(0, 1, len(dense)))[0])
    return found


def _times(graph: LayerGraph, plans: Sequence[np.ndarray], clock: Clocks) -> np.ndarray:
    """Milliseconds of networks that are measured together, by their ratios to the first."""
    names = [group.name for group in graph.prunable_groups]
    with tempfile.TemporaryDirectory(prefix="tfgraphprune-") as folder:
        paths = {}
        for number, counts in enumerate(plans):
            kept = dict(zip(names, map(int, counts), strict=True))
            small = prune(graph.model, PruningPlan.from_counts(graph, kept))
            path = Path(folder) / f"{number}.tflite"
            export_tflite(small, path)
            paths[str(number)] = path
        rounds = []
        for _ in range(_LOADS):
            found = clock.networks(paths)
            ratios = [latency_ratio(found[str(n)], found["0"]) for n in range(len(plans))]
            rounds.append(found["0"].median_ms * np.array(ratios))
    return np.median(rounds, axis=0)


def _fitted(features: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Factors, none below 0, that fit the times in relative error."""
    scale = features / times[:, None]
    typical = np.maximum(np.abs(scale).mean(0), 1e-12)
    prior = np.array([1.0, 0.0, 0.0])
    chosen = [0, 1, 2]
    while True:
        penalty = np.sqrt(_PRIOR) * np.diag(typical[chosen])
        left = np.concatenate([scale[:, chosen], penalty])
        right = np.concatenate([np.ones(len(times)), penalty @ prior[chosen]])
        found = np.linalg.lstsq(left, right, rcond=None)[0]
        if (found >= 0).all():
            break
        chosen = [c for c, value in zip(chosen, found, strict=True) if value >= 0]
    factors = np.zeros(3)
    factors[chosen] = found
    return factors
