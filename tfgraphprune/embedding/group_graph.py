"""The policy's view of a network: one node a channel group, features, typed edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tfgraphprune.errors import UserError

GUESS = "guess"
"""The feature that is an action already, from which policies depart."""


@dataclass(frozen=True, eq=False)
class Motifs:
    """The lower level of the hierarchy: a small graph of filters for each layer, and who has it.

    Attributes:
        nodes: float32 `[L, C, S]`, statistics of the filters of each layer.
        adjacency: float32 `[L, C, C]`, how strongly a filter's weights tie two nodes; rows
            receive from columns.
        mask: float32 `[L, C]`, 1 where there is a node.
        makes: float32 `[G, L]`, 1 where the layer makes channels of the group.
        reads: float32 `[G, L]`, 1 where the layer reads channels of the group.
    """

    nodes: np.ndarray
    adjacency: np.ndarray
    mask: np.ndarray
    makes: np.ndarray
    reads: np.ndarray

    def __post_init__(self) -> None:
        for name in ("nodes", "adjacency", "mask", "makes", "reads"):
            array = np.array(getattr(self, name), dtype=np.float32)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
            if not np.isfinite(array).all():
                raise UserError(f"the motifs' {name} must be finite: a weight of the model is not.")

    @classmethod
    def none(cls, groups: int) -> Motifs:
        """No layers at all."""
        pairs = np.zeros((groups, 0))
        return cls(np.zeros((0, 1, 1)), np.zeros((0, 1, 1)), np.zeros((0, 1)), pairs, pairs)

    def permute(self, order: np.ndarray) -> Motifs:
        """The same motifs for groups in another order."""
        return replace(self, makes=self.makes[order], reads=self.reads[order])


@dataclass(frozen=True, eq=False)
class GroupGraph:
    """Nodes, features and edges of one network under one budget.

    Attributes:
        names: the groups, in the order in which actions and counts list them.
        features: float32 `[G, F]`; what holds for the whole network is repeated in every row.
        adjacency: float32 `[R, G, G]`, a matrix for each type of edge; row `i` receives from
            column `j` where `adjacency[r, i, j]` is not 0. `R` may be 0.
        feature_names: the columns of `features`.
        motifs: the filters below the groups; none by default.

    Raises:
        UserError: shapes that do not fit together, a number that is not finite, no group at
            all, or a name given twice.
    """

    names: tuple[str, ...]
    features: np.ndarray
    adjacency: np.ndarray
    feature_names: tuple[str, ...]
    motifs: Motifs | None = None

    def __post_init__(self) -> None:
        for name in ("names", "feature_names"):
            values = tuple(getattr(self, name))
            object.__setattr__(self, name, values)
            if not values or len(set(values)) != len(values):
                raise UserError(f"{name} must be at least one name, each once, not {values}.")
        for name in ("features", "adjacency"):
            array = np.array(getattr(self, name), dtype=np.float32)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
            if not np.isfinite(array).all():
                raise UserError(f"{name} must be finite, but it holds NaN or infinity.")
        groups, columns = len(self.names), len(self.feature_names)
        if self.features.shape != (groups, columns):
            raise UserError(
                f"features must have the shape {(groups, columns)} of names and feature_names, "
                f"not {self.features.shape}."
            )
        if self.adjacency.ndim != 3 or self.adjacency.shape[1:] != (groups, groups):
            raise UserError(
                f"adjacency must have the shape (relations, {groups}, {groups}), "
                f"not {self.adjacency.shape}."
            )
        motifs = self.motifs or Motifs.none(groups)
        object.__setattr__(self, "motifs", motifs)
        for name in ("makes", "reads"):
            wanted, found = (groups, len(motifs.nodes)), getattr(motifs, name).shape
            if found != wanted:
                raise UserError(f"the motifs' {name} must have the shape {wanted}, not {found}.")

    @property
    def guess(self) -> np.ndarray:
        """The action that policies depart from, float32 `[G]`; 0 where no feature is one."""
        if GUESS not in self.feature_names:
            return np.zeros(len(self.names), np.float32)
        return self.features[:, self.feature_names.index(GUESS)]

    def permute(self, order: Sequence[int]) -> GroupGraph:
        """The same graph with its groups in another order; group `order[i]` becomes group `i`.

        Raises:
            UserError: `order` does not list every group once.
        """
        index = np.asarray(order, dtype=np.int64)
        if sorted(index.tolist()) != list(range(len(self.names))):
            raise UserError(
                f"order must list each of 0 to {len(self.names) - 1} once, not {list(order)}."
            )
        return GroupGraph(
            tuple(self.names[i] for i in index),
            self.features[index],
            self.adjacency[:, index][:, :, index],
            self.feature_names,
            self.motifs.permute(index) if self.motifs else None,
        )
