"""The pruning plan: which channels of each group stay."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.criteria import Criterion, resolve_criterion


@dataclass(frozen=True)
class PruningPlan:
    """The channels that stay, by group; groups that are not named stay whole.

    Attributes:
        kept: for each group, ascending indices of the channels that stay.
        fingerprint: of the graph that the plan was made for; weights may change, layers may not.
    """

    kept: Mapping[str, tuple[int, ...]]
    fingerprint: str

    @classmethod
    def from_keep_ratios(
        cls,
        graph: LayerGraph,
        ratios: float | Mapping[str, float],
        criterion: str | Criterion = "l2",
    ) -> PruningPlan:
        """Keep a share of each group's channels, the most important ones.

        Args:
            graph: the graph of the model to be pruned.
            ratios: one keep ratio in (0, 1] for every prunable group, or ratios by group name.
            criterion: a name in `criteria.CRITERIA`, or an object such as `criteria.Taylor(data)`.

        Raises:
            UserError: an unknown or frozen group, a ratio outside (0, 1], an unknown criterion.
        """
        if isinstance(ratios, int | float):
            ratios = {group.name: float(ratios) for group in graph.prunable_groups}
        if not isinstance(ratios, Mapping):
            raise UserError(f"ratios must be a number or a number by group name, not {ratios!r}.")
        counts = {}
        for name, ratio in ratios.items():
            group = graph.group(name)
            if not 0 < ratio <= 1:
                raise UserError(
                    f"the keep ratio of {name!r} must be above 0 and at most 1, not {ratio}."
                )
            whole = round(ratio * group.size / group.step) * group.step
            counts[name] = min(max(whole, group.step), group.size)
        return cls.from_counts(graph, counts, criterion)

    @classmethod
    def from_counts(
        cls,
        graph: LayerGraph,
        counts: Mapping[str, int],
        criterion: str | Criterion = "l2",
    ) -> PruningPlan:
        """Keep a number of channels of each group, the most important ones.

        Raises:
            UserError: an unknown or frozen group, a count outside 1 to the size, an unknown
                criterion.
        """
        importance = None
        kept = {}
        for name, count in counts.items():
            group = graph.group(name)
            if not group.prunable:
                raise UserError(
                    f"the group {name!r} may not be cut ({group.reason}): leave it out of the plan."
                )
            if not 1 <= count <= group.size:
                raise UserError(
                    f"the group {name!r} has {group.size} channels, so it can't keep {count}."
                )
            if importance is None:
                importance = resolve_criterion(criterion)(graph)
            kept[name] = most_important(importance[name], int(count))
        return cls(kept, graph.fingerprint)

    @classmethod
    def from_indices(cls, graph: LayerGraph, kept: Mapping[str, Sequence[int]]) -> PruningPlan:
        """Keep exactly these channels.

        Raises:
            UserError: an unknown or frozen group, or indices that are empty or out of range.
        """
        plan = cls(
            {name: tuple(sorted({int(i) for i in indices})) for name, indices in kept.items()},
            graph.fingerprint,
        )
        plan.check(graph)
        return plan

    def counts(self, graph: LayerGraph) -> np.ndarray:
        """Channels kept in each prunable group of the graph; int `[groups]`."""
        return np.array(
            [len(self.kept.get(g.name, range(g.size))) for g in graph.prunable_groups], int
        )

    def keep_ratios(self, graph: LayerGraph) -> dict[str, float]:
        """The share of channels kept, by group; frozen groups keep all."""
        return {
            g.name: len(self.kept.get(g.name, range(g.size))) / g.size for g in graph.channel_groups
        }

    def check(self, graph: LayerGraph) -> None:
        """Refuse a graph that this plan was not made for.

        Raises:
            UserError: another fingerprint, or groups and indices that the graph does not have.
        """
        if self.fingerprint != graph.fingerprint:
            raise UserError(
                f"this plan was made for another model (fingerprint {self.fingerprint}, this model "
                f"has {graph.fingerprint}): make a plan from this model's own graph."
            )
        for name, indices in self.kept.items():
            group = graph.group(name)
            ok = len(indices) > 0 and min(indices) >= 0 and max(indices) < group.size
            if not ok or len(set(indices)) != len(indices):
                raise UserError(
                    f"the plan for {name!r} must keep distinct channels from 0 to "
                    f"{group.size - 1}, at least one; it keeps {list(indices)[:8]}."
                )
            if not group.prunable and len(indices) < group.size:
                raise UserError(f"the group {name!r} may not be cut: {group.reason}.")

    def to_dict(self) -> dict[str, Any]:
        """A dictionary for JSON."""
        kept = {name: list(indices) for name, indices in self.kept.items()}
        return {"format": 1, "fingerprint": self.fingerprint, "kept": kept}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> PruningPlan:
        """The plan that `to_dict` wrote.

        Raises:
            UserError: something else came.
        """
        try:
            kept = {str(name): tuple(map(int, ids)) for name, ids in content["kept"].items()}
            return cls(kept, str(content["fingerprint"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"this is not a pruning plan ({error!r}): give one that was saved."
            ) from error

    def save(self, path: str | os.PathLike, overwrite: bool = False) -> None:
        """Write the plan as JSON.

        Raises:
            UserError: the file exists and `overwrite` is false.
        """
        if Path(path).exists() and not overwrite:
            raise UserError(f"{path} exists: pass overwrite=True to replace it.")
        Path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike) -> PruningPlan:
        """Read a plan written by `save`.

        Raises:
            UserError: the file is missing or holds no plan.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text()))
        except (OSError, json.JSONDecodeError) as error:
            raise UserError(
                f"can't read a pruning plan from {path} ({error}): give one that was saved."
            ) from error


def most_important(importance: np.ndarray, count: int) -> tuple[int, ...]:
    """Indices of the `count` largest values, ascending; of equal values the first stay."""
    order = np.argsort(-np.asarray(importance), kind="stable")
    return tuple(sorted(order[:count].tolist()))
