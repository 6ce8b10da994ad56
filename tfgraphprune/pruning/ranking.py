"""Plans from one ranking over all groups, instead of one ratio for each."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfgraphprune.cost import Limit, Projection, resolve_limits
from tfgraphprune.errors import UserError
from tfgraphprune.graph.groups import ChannelGroup
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.criteria import Criterion, resolve_criterion
from tfgraphprune.pruning.plan import PruningPlan, most_important
from tfgraphprune.settings import Budget

NORMALISATIONS = ("mean", "max", "gaussian", "none")


def rank_globally(
    graph: LayerGraph,
    budget: Budget | None = None,
    *,
    keep_ratio: float | None = None,
    criterion: str | Criterion = "l2",
    normalise: str = "mean",
    isomorphic: bool = False,
    min_keep: float = 0.1,
) -> PruningPlan:
    """Keep the most important channels of the whole network, as many as a budget allows.

    Args:
        graph: the graph of the model to be pruned.
        budget: what may be spent; or else:
        keep_ratio: the share of all channels to be kept, in (0, 1].
        criterion: a name in `criteria.CRITERIA`, or an object such as `criteria.Taylor(data)`.
        normalise: what a group's importance is divided by before groups are compared: its `mean`
            (as DepGraph does, Fang et al., CVPR 2023), its `max`, `gaussian` for its distance
            from the mean in standard deviations, or `none`.
        isomorphic: rank only groups of equal structure with each other, and cut the same share
            of each kind (Fang et al., "Isomorphic Pruning for Vision Models", ECCV 2024).
        min_keep: smallest share of channels that a group keeps.

    Raises:
        UserError: not exactly one of budget and ratio, an unknown name, or a budget that can't be
            met.
    """
    if (budget is None) == (keep_ratio is None):
        raise UserError("give either a budget or a keep_ratio, and not both.")
    if keep_ratio is not None and not 0 < keep_ratio <= 1:
        raise UserError(f"keep_ratio must be above 0 and at most 1, not {keep_ratio}.")
    if normalise not in NORMALISATIONS:
        raise UserError(f"normalise must be one of {NORMALISATIONS}, not {normalise!r}.")
    groups = graph.prunable_groups
    sizes = np.array([group.size for group in groups])
    if budget is not None:
        limits = resolve_limits(budget, graph)
    else:
        limits = (Limit("channels", _count, (keep_ratio or 0.0) * float(sizes.sum())),)
    projection = Projection.of(graph, limits, min_keep)  # refuses what can't be met
    importance = resolve_criterion(criterion)(graph)
    scores = [_normalised(np.asarray(importance[g.name], np.float64), normalise) for g in groups]
    if isomorphic:
        scores = _ranks(graph, groups, scores)
    counts = _threshold(scores, projection)
    kept = {
        group.name: most_important(importance[group.name], int(count))
        for group, count in zip(groups, counts, strict=True)
    }
    return PruningPlan(kept, graph.fingerprint)


def _count(counts: np.ndarray) -> np.ndarray:
    return np.asarray(counts, np.float64).sum(-1)


def _normalised(values: np.ndarray, how: str) -> np.ndarray:
    if how == "gaussian":
        return (values - values.mean()) / (values.std() + 1e-12)
    scale = {"mean": values.mean(), "max": values.max(), "none": 1.0}[how]
    return values / (scale + 1e-12)


def _threshold(scores: list[np.ndarray], projection: Projection) -> np.ndarray:
    """Counts above the lowest threshold whose plan fits; whole steps, and no less than allowed."""
    levels = np.unique(np.concatenate(scores))
    low, high = 0, len(levels)  # keeping what is at or above levels[i]: all at 0, none at the end

    def counts(level: int) -> np.ndarray:
        threshold = levels[level] if level < len(levels) else np.inf
        above = np.array([(values >= threshold).sum() for values in scores])
        whole = above // projection.steps * projection.steps
        kept = np.where(above >= projection.sizes, above, whole)
        return np.clip(kept, projection.lowest, projection.sizes)

    while low < high:
        middle = (low + high) // 2
        if projection.fits(counts(middle)):
            high = middle
        else:
            low = middle + 1
    return counts(low)


def _ranks(
    graph: LayerGraph, groups: tuple[ChannelGroup, ...], scores: list[np.ndarray]
) -> list[np.ndarray]:
    """Each channel's place among those of all groups of equal structure, from 0 to 1."""
    kinds: dict[Any, list[int]] = {}
    for number, group in enumerate(groups):
        kinds.setdefault(structure_of(graph, group), []).append(number)
    ranks: list[np.ndarray] = [np.zeros(0)] * len(groups)
    for members in kinds.values():
        together = np.concatenate([scores[n] for n in members])
        places = np.argsort(np.argsort(together, kind="stable")) / len(together)
        ends = np.cumsum([len(scores[n]) for n in members])
        for number, part in zip(members, np.split(places, ends[:-1]), strict=True):
            ranks[number] = part
    return ranks


def structure_of(graph: LayerGraph, group: ChannelGroup) -> tuple:
    """What two groups must share to be isomorphic: kinds of layers, roles and kernel windows."""
    rows: dict[tuple, int] = {}
    for axis in group.axes:
        window: tuple = ()
        if axis.weight >= 0:
            window = tuple(graph.variable(axis).shape)[:-2]
        kind = type(graph.layer(axis.path)).__name__
        row = (kind, axis.weight, axis.axis, axis.role, window)
        rows[row] = rows.get(row, 0) + 1
    return tuple(sorted(rows.items(), key=str))
