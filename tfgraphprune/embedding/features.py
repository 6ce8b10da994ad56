"""What the policy sees of a network: a row of features for each prunable group, and typed edges.

The features are those of AMC, AGMC, GNN-RL and Galen where they make sense for a group of
coupled layers; all are ratios or logarithms, so that one policy can read any network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from tfgraphprune.cost.model_cost import dense_counts, macs_cost, params_cost
from tfgraphprune.cost.projection import Limit
from tfgraphprune.embedding.group_graph import GUESS, GroupGraph
from tfgraphprune.embedding.motifs import motifs_of
from tfgraphprune.embedding.sensitivity import KEPT
from tfgraphprune.errors import UserError
from tfgraphprune.graph.groups import ChannelGroup
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.criteria import l1, l2

FEATURES = (
    "log_size",
    "macs_share",
    "params_share",
    "macs_saved_per_channel",
    "params_saved_per_channel",
    "log_producers",
    "log_consumers",
    "log_positions",
    "kernel_size",
    "depthwise",
    "depth_in",
    "depth_out",
    "order",
    "l2_low",
    "l2_median",
    "l2_high",
    "l2_variation",
    "l1_low",
    "l1_variation",
    "macs_target",
    "params_target",
    "bytes_target",
    "change_at_half",
    "change_at_quarter",
    GUESS,
)

RELATIONS = ("forward", "backward", "side_by_side")
"""Forward: a layer reads the one and makes the other; side by side: both are on a weight axis."""


def group_graph(
    graph: LayerGraph,
    limits: tuple[Limit, ...] = (),
    sensitivity: Mapping[str, np.ndarray] | None = None,
) -> GroupGraph:
    """The graph of the prunable groups.

    Args:
        graph: the layer graph.
        limits: the resolved budget, whose targets become features of every node.
        sensitivity: columns `change_at_half` and `change_at_quarter` of float `[groups]`, how
            much the outputs change where a group alone is cut, and `GUESS`, the action of the
            plan that follows from them; zeros by default.

    Returns:
        Features float32 `[groups, len(FEATURES)]` and adjacency float32
        `[len(RELATIONS), groups, groups]`, rows receive from columns.
    """
    groups = graph.prunable_groups
    forward, beside = _edges(groups)
    columns = {
        **_costs(graph),
        **_geometry(graph, groups),
        **_depths(forward),
        **_importance(graph, groups),
        **_targets(graph, limits),
        **{name: np.zeros(len(groups)) for name in (*KEPT, GUESS)},
        **(sensitivity or {}),
    }
    features = np.stack([columns[name] for name in FEATURES], axis=1).astype(np.float32)
    adjacency = np.stack([forward, forward.T, beside]).astype(np.float32)
    names = tuple(g.name for g in groups)
    return GroupGraph(names, features, adjacency, FEATURES, motifs_of(graph, groups))


def _edges(groups: tuple[ChannelGroup, ...]) -> tuple[np.ndarray, np.ndarray]:
    """`forward[b, a]`: a layer reads `a` and makes `b`; `beside[a, b]`: on one weight axis."""
    count = len(groups)
    forward, beside = np.zeros((count, count)), np.zeros((count, count))
    readers: dict[str, set[int]] = {}
    sharers: dict[tuple, set[int]] = {}
    for number, group in enumerate(groups):
        for name in group.consumers:
            readers.setdefault(name, set()).add(number)
        for axis in group.axes:
            sharers.setdefault((axis.path, axis.weight, axis.axis), set()).add(number)
    for number, group in enumerate(groups):
        for name in group.producers:
            forward[number, [a for a in readers.get(name, ()) if a != number]] = 1
    for together in sharers.values():
        members = sorted(together)
        beside[np.ix_(members, members)] = 1
    np.fill_diagonal(beside, 0)
    return forward, beside


def _costs(graph: LayerGraph) -> dict[str, np.ndarray]:
    """Shares of the whole cost that a group touches, and what one channel of it saves."""
    dense = dense_counts(graph)
    params = params_cost(graph)
    try:
        macs = macs_cost(graph)
    except UserError:  # inputs of no fixed size
        macs = params
    columns = {}
    for name, cost in (("macs", macs), ("params", params)):
        total = float(cost(dense))
        without = cost(np.where(np.eye(len(dense), dtype=bool), 0, dense))
        one_less = cost(dense - np.eye(len(dense), dtype=int))
        columns[f"{name}_share"] = 1 - without / total
        columns[f"{name}_saved_per_channel"] = (1 - one_less / total) * dense.mean()
    return columns


def _geometry(graph: LayerGraph, groups: tuple[ChannelGroup, ...]) -> dict[str, np.ndarray]:
    uses = {(w.path, w.weight): w for w in graph.weights}

    def produced(group: ChannelGroup, value: Callable) -> list[float]:
        found = [uses[a.path, a.weight] for a in group.axes if a.role == "out"]
        return [value(weight) for weight in found if len(weight.shape) > 1]

    return {
        "log_size": np.array([math.log2(g.size) / 10 for g in groups]),
        "log_producers": np.array([math.log2(1 + len(g.producers)) / 4 for g in groups]),
        "log_consumers": np.array([math.log2(1 + len(g.consumers)) / 4 for g in groups]),
        "log_positions": np.array(
            [np.mean(produced(g, lambda w: math.log2(1 + (w.uses or 0)))) / 16 for g in groups]
        ),
        "kernel_size": np.array(
            [np.mean(produced(g, lambda w: np.prod(w.shape[:-2]) ** 0.5)) / 3 for g in groups]
        ),
        "depthwise": np.array([float(_has_depthwise(graph, g)) for g in groups]),
        "order": np.linspace(0, 1, len(groups)),
    }


def _has_depthwise(graph: LayerGraph, group: ChannelGroup) -> bool:
    """Whether a spatial kernel passes the channels on one by one."""
    return any(
        axis.role == "through" and axis.weight >= 0 and len(graph.variable(axis).shape) > 2
        for axis in group.axes
    )


def _depths(forward: np.ndarray) -> dict[str, np.ndarray]:
    """Longest paths from the first and to the last group, as shares of the longest of all."""
    into, out = _longest(forward), _longest(forward.T)
    longest = max(1.0, (into + out).max())
    return {"depth_in": into / longest, "depth_out": out / longest}


def _longest(receives: np.ndarray) -> np.ndarray:
    """Longest path that ends at each node; cycles (shared layers) end after one round each."""
    depth = np.zeros(len(receives))
    for _ in range(len(receives)):
        reached = np.where(receives > 0, depth[None, :] + 1, 0).max(1, initial=0)
        reached = np.minimum(reached, len(receives))
        if np.array_equal(reached, depth):
            break
        depth = reached
    return depth


def _importance(graph: LayerGraph, groups: tuple[ChannelGroup, ...]) -> dict[str, np.ndarray]:
    """Quantiles of each group's channel norms, relative to the group's mean."""
    columns: dict[str, list[float]] = {}
    for name, values in (("l2", l2(graph)), ("l1", l1(graph))):
        for group in groups:
            norms = np.asarray(values[group.name], np.float64)
            norms = norms / max(norms.mean(), 1e-12)
            low, median, high = np.quantile(norms, [0.1, 0.5, 0.9])
            row: Mapping[str, float] = {
                f"{name}_low": low,
                f"{name}_median": median,
                f"{name}_high": high,
                f"{name}_variation": norms.std(),
            }
            for key, value in row.items():
                columns.setdefault(key, []).append(value)
    return {key: np.array(column) for key, column in columns.items()}


def _targets(graph: LayerGraph, limits: tuple[Limit, ...]) -> dict[str, np.ndarray]:
    """Each limit as a share of the dense cost, 1 where there is none; the same for every node."""
    dense = dense_counts(graph)
    share = {limit.name: limit.value / float(limit.cost(dense)) for limit in limits}
    return {
        column: np.full(len(dense), min(1.0, share.get(name, 1.0)))
        for name, column in (
            ("macs", "macs_target"),
            ("params", "params_target"),
            ("file_bytes", "bytes_target"),
        )
    }
