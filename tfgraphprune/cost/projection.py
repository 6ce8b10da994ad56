"""From scores to integer channel counts that meet every limit, with nothing left unspent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfgraphprune.cost.model_cost import Cost, dense_counts, file_bytes_cost, macs_cost, params_cost
from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.settings import Budget

_SATURATION = 0.05
"""How far the sigmoid is stretched, so that finite scores reach the smallest and largest width."""

_FLOOR_SLACK = 1e-6
"""Share of a step by which a width may miss a whole number and still count as it."""


@dataclass(frozen=True, eq=False)
class Limit:
    """One resolved entry of a budget: `cost(counts) <= value`."""

    name: str
    cost: Cost
    value: float


def resolve_limits(
    budget: Budget,
    graph: LayerGraph,
    file_overhead: float | None = None,
    latency: Cost | None = None,
    dense_ms: float | None = None,
    dense_bytes: float | None = None,
) -> tuple[Limit, ...]:
    """The budget as limits on cost functions of this graph.

    Args:
        budget: ratios are of the dense model's cost.
        graph: the graph to be pruned.
        file_overhead: bytes of the dense TFLite file beside its weights; needed for a budget in
            `file_bytes`.
        latency: milliseconds as a function of the counts, such as `LatencyModel.cost`; needed for
            a budget in latency.
        dense_ms: the dense network's latency as measured; that of `latency` by default.
        dense_bytes: of the dense TFLite file; by default those that the cost gives, which count
            the most that padding can take.

    Raises:
        UserError: the graph has nothing to prune, or what a limit needs is missing.
    """
    dense = dense_counts(graph)
    if not len(dense):
        raise UserError(
            "no channel group of this model may be cut: print(LayerGraph.from_model(model)) "
            "says why for each."
        )
    limits = []
    for name, make in (("macs", macs_cost), ("params", params_cost)):
        ratio, value = getattr(budget, f"{name}_ratio"), getattr(budget, name)
        if ratio is None and value is None:
            continue
        cost = make(graph)
        limits.append(Limit(name, cost, value if ratio is None else ratio * float(cost(dense))))
    if budget.limits_file:
        if file_overhead is None:
            raise UserError(
                "a budget in file_bytes needs the overhead of the dense TFLite file: call "
                "compress, or pass limits made by resolve_limits(budget, graph, file_overhead)."
            )
        size, ratio = file_bytes_cost(graph, file_overhead), budget.file_bytes_ratio
        whole = float(size(dense)) if dense_bytes is None else dense_bytes
        value = budget.file_bytes if ratio is None else ratio * whole
        assert value is not None
        limits.append(Limit("file_bytes", size, value))
    if budget.limits_latency:
        if latency is None:
            raise UserError(
                "a budget in latency needs the device's figures: call compress, or pass the cost "
                "of measure_latency(graph, budget)."
            )
        ratio = budget.latency_ratio
        whole = float(latency(dense)) if dense_ms is None else dense_ms
        value = budget.latency_ms if ratio is None else ratio * whole
        assert value is not None
        limits.append(Limit("latency_ms", latency, value))
    return tuple(limits)


def _said(value: float) -> str:
    """A cost for a person: whole numbers, small ones with three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


class Projection:
    """Maps one score a group to the channel counts that spend the budget.

    The scores of all groups are shifted by one common number, found by bisection, until the
    widths `size * sigmoid(score + shift)` meet the limits; widths are rounded down to whole
    steps, and single steps are given back, largest remainder first, until none fits.

    Args:
        sizes: int `[groups]`, dense channel counts.
        steps: int `[groups]`, channel multiples.
        limits: what must hold.
        min_keep: smallest share of channels that a group keeps.

    Raises:
        UserError: a limit is below the cost of the smallest network.
    """

    def __init__(
        self,
        sizes: np.ndarray,
        steps: np.ndarray,
        limits: tuple[Limit, ...],
        min_keep: float = 0.1,
    ):
        self.sizes = np.asarray(sizes, int)
        self.steps = np.asarray(steps, int)
        self.limits = limits
        lowest = np.ceil(min_keep * self.sizes / self.steps - _FLOOR_SLACK) * self.steps
        self.lowest = np.clip(lowest, np.minimum(self.steps, self.sizes), self.sizes).astype(int)
        for limit in limits:
            least, most = float(limit.cost(self.lowest)), float(limit.cost(self.sizes))
            if least > limit.value:
                raise UserError(
                    f"the budget asks for {limit.name} <= {_said(limit.value)}, but this model "
                    f"can only reach {_said(least)} to {_said(most)} with at least {min_keep:g} "
                    "of each group kept: raise the budget or lower min_keep."
                )

    @classmethod
    def of(cls, graph: LayerGraph, limits: tuple[Limit, ...], min_keep: float = 0.1) -> Projection:
        """The projection for the prunable groups of a graph."""
        steps = np.array([group.step for group in graph.prunable_groups])
        return cls(dense_counts(graph), steps, limits, min_keep)

    def fits(self, counts: np.ndarray) -> np.ndarray:
        """Whether all limits hold; bool for each row of counts `[..., groups]`."""
        held = [limit.cost(counts) <= limit.value for limit in self.limits]
        return np.all(held, axis=0)

    def project(self, scores: np.ndarray) -> tuple[np.ndarray, float]:
        """Counts that meet the limits, and the shift that was found.

        Args:
            scores: float `[groups]`; equal scores give equal keep ratios.

        Returns:
            counts: int `[groups]`; no limit is exceeded, and no further step of any group fits.
            shift: float, the common shift.

        Raises:
            ValueError: another number of scores, or one that is not finite.
        """
        scores = np.asarray(scores, np.float64)
        if scores.shape != self.sizes.shape or not np.isfinite(scores).all():
            raise ValueError(
                f"scores must be {len(self.sizes)} finite numbers, one a group, not {scores}"
            )
        # From every group at its smallest to every group whole.
        low, high = -60.0 - float(scores.max()), 60.0 - float(scores.min())
        if self.fits(self._widths(scores + high)):
            low = high
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (
                (middle, high) if self.fits(self._widths(scores + middle)) else (low, middle)
            )
        widths = self._widths(scores + low)
        counts = self._whole_steps(widths, _FLOOR_SLACK)
        if not self.fits(counts):
            counts = self._whole_steps(widths, 0.0)
        return self._fill(counts, widths), low

    def scores_of(
        self, counts: np.ndarray, shift: float, scores: np.ndarray, exact: bool = False
    ) -> np.ndarray:
        """The scores that stand for `counts`: their widths at this shift are the counts.

        Where a count is the smallest or the whole size, many scores stand for it; the given one
        is kept if it is among them, unless `exact` asks for the one nearest to the others.
        """
        share = (np.asarray(counts, np.float64) / self.sizes + _SATURATION) / (1 + 2 * _SATURATION)
        found = np.log(share) - np.log1p(-share) - shift
        if exact:
            return found
        full, least = counts >= self.sizes, counts <= self.lowest
        found = np.where(full, np.maximum(found, scores), found)
        return np.where(least, np.minimum(found, scores), found)

    def _widths(self, scores: np.ndarray) -> np.ndarray:
        share = (1 + 2 * _SATURATION) / (1 + np.exp(-np.clip(scores, -60, 60))) - _SATURATION
        return np.clip(share * self.sizes, self.lowest, self.sizes)

    def _whole_steps(self, widths: np.ndarray, slack: float) -> np.ndarray:
        counts = np.maximum(np.floor(widths / self.steps + slack) * self.steps, self.lowest)
        return np.where(widths >= self.sizes - slack, self.sizes, counts).astype(int)

    def _fill(self, counts: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Give back single steps, the most deserving first, until none fits."""
        while True:
            after = np.minimum(counts // self.steps * self.steps + self.steps, self.sizes)
            trials = np.where(np.eye(len(counts), dtype=bool), after, counts)
            possible = (after > counts) & self.fits(trials)
            if not possible.any():
                return counts
            due = np.where(possible, (widths - counts) / self.steps, -np.inf)
            best = int(np.argmax(due))
            counts[best] = after[best]
