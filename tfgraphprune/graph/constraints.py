"""What the kept channels must satisfy beside living and dying together.

Two kinds: what stays of a tensor must be a block (`Rectangle`), and equally many channels must
stay in each block of a grouped convolution (`Balance`). Both are met by uniting classes, no more
than needed, once the whole model has been read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tfgraphprune.graph.labels import IdUnion

_LEVELS = 8
"""How much fuller than their fullest block united classes may be, while partners are sought."""

_TRIES = 20_000
"""Partial combinations that are looked at for one class before all that is left is united."""

Footprint = tuple[int, ...]
"""How many channels of a class lie in each block."""


class Constraint(Protocol):
    """Something that unites classes until it holds."""

    def settle(self, union: IdUnion) -> None:
        """Unite what must be united for this to hold, however a plan chooses."""
        ...


def settle(constraints: Iterable[Constraint], union: IdUnion) -> None:
    """Settle all of them; each may undo what another has settled, but classes only grow."""
    constraints = list(constraints)
    while True:
        before = union.merges
        for constraint in constraints:
            constraint.settle(union)
        if union.merges == before:
            return


@dataclass(frozen=True, eq=False)
class Rectangle:
    """What stays of a tensor is a block: its classes change along one axis at most.

    Of several varying axes the last one stays; ids at equal positions along it are united (for a
    channel shuffle: equal indices of all its groups).

    Attributes:
        ids: int64, one axis for each axis of the tensor but the batch.
    """

    ids: np.ndarray

    def settle(self, union: IdUnion) -> None:
        """Unite over all varying axes but the last."""
        roots = union.find(self.ids)
        varying = [a for a in range(roots.ndim) if (roots != roots.take([0], a)).any()]
        if len(varying) > 1:
            rows = np.moveaxis(roots, varying[-1], -1)
            union.unite(rows, rows.reshape(-1, rows.shape[-1])[0])


@dataclass(frozen=True, eq=False)
class Balance:
    """Equally many channels stay in each block, whichever classes a plan keeps.

    Classes are united until each has equally many channels in every block: classes that lie in
    one block each, with their partners in the other blocks; after a channel shuffle, classes of
    different footprints that add up to equal numbers.

    Attributes:
        ids: int64 `[blocks, channels of a block]`.
    """

    ids: np.ndarray

    def settle(self, union: IdUnion) -> None:
        """Unite classes of unequal footprint into classes of equal ones."""
        roots = union.find(self.ids)
        classes, first, inverse = np.unique(roots, return_index=True, return_inverse=True)
        inverse = inverse.reshape(roots.shape)
        footprints = np.stack([np.bincount(row, minlength=len(classes)) for row in inverse], 1)
        uneven = np.flatnonzero((footprints != footprints[:, :1]).any(1))
        waiting: dict[Footprint, list[int]] = {}
        for index in uneven[np.argsort(first[uneven])]:
            waiting.setdefault(tuple(footprints[index].tolist()), []).append(int(classes[index]))
        for partners in _partners(waiting):
            members = np.array(partners)
            union.unite(members, members[:1])


def _partners(waiting: dict[Footprint, list[int]]) -> list[list[int]]:
    """Sets of classes whose footprints add up to equal numbers in all blocks."""
    found: list[list[int]] = []
    while any(waiting.values()):
        kinds = {kind: len(classes) for kind, classes in waiting.items() if classes}
        chosen = _combination(kinds)
        if chosen is None:
            return [*found, [c for classes in waiting.values() for c in classes]]
        times = min(kinds[kind] // chosen.count(kind) for kind in set(chosen))
        for _ in range(times):
            found.append([waiting[kind].pop(0) for kind in chosen])
    return found


def _combination(kinds: dict[Footprint, int]) -> list[Footprint] | None:
    """A small multiset of footprints, the first one among them, that fills all blocks equally."""
    start = next(iter(kinds))
    tries = 0

    def fill(sums: np.ndarray, level: int, chosen: list[Footprint]) -> list[Footprint] | None:
        nonlocal tries
        tries += 1
        deficient = np.flatnonzero(sums < level)
        if not len(deficient):
            return chosen
        for kind, count in kinds.items():
            if kind[deficient[0]] and chosen.count(kind) < count and tries < _TRIES:
                after = sums + kind
                if (after <= level).all():
                    result = fill(after, level, [*chosen, kind])
                    if result:
                        return result
        return None

    for level in range(max(start), max(start) + _LEVELS + 1):
        result = fill(np.array(start), level, [start])
        if result:
            return result
    return None
