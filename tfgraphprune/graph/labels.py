"""Channel ids: which channel stands at which position of a tensor, and which ids are one class.

Every channel that a layer makes gets an integer id. `Labels` says which id stands at each
position of a tensor; `IdUnion` is the union-find over them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

Shape = tuple[int | None, ...]


class IdUnion:
    """Union-find over integer ids whose every operation takes whole arrays.

    Attributes:
        merges: how often `unite` has changed something; tells whether classes are still growing.
    """

    def __init__(self) -> None:
        self._parent = np.zeros(1024, np.int64)
        self._size = 0
        self.merges = 0

    def __len__(self) -> int:
        return self._size

    def new(self, count: int) -> np.ndarray:
        """`count` fresh ids, each alone in its class; int64 `[count]`."""
        end = self._size + count
        if end > len(self._parent):
            grown = np.zeros(max(end, 2 * len(self._parent)), np.int64)
            grown[: self._size] = self._parent[: self._size]
            self._parent = grown
        ids = np.arange(self._size, end)
        self._parent[self._size : end] = ids
        self._size = end
        return ids

    def find(self, ids: np.ndarray) -> np.ndarray:
        """The representative (smallest id) of each id's class, in the shape of `ids`."""
        roots = self._parent[ids]
        while True:
            above = self._parent[roots]
            if np.array_equal(above, roots):
                break
            roots = above
        self._parent[ids] = roots
        return roots

    def unite(self, left: np.ndarray, right: np.ndarray) -> None:
        """Put `left[i]` and `right[i]` into one class, for every position of the broadcast pair."""
        left, right = (side.ravel() for side in np.broadcast_arrays(left, right))
        while True:
            a, b = self.find(left), self.find(right)
            differ = a != b
            if not differ.any():
                return
            self.merges += 1
            low, high = np.minimum(a, b)[differ], np.maximum(a, b)[differ]
            # Of several links for one root only the smallest is kept; the next round adds the rest.
            np.minimum.at(self._parent, high, low)


@dataclass(frozen=True, eq=False)
class Labels:
    """The channel ids of one tensor.

    Attributes:
        ids: int64, one axis for each axis of the tensor but the batch; an axis of length 1
            stands for ids that do not change along it.
        shape: the tensor's shape without the batch; `None` where the size is unknown.
        source: name of the layer call that made the tensor.
    """

    ids: np.ndarray
    shape: Shape
    source: str = ""

    @property
    def rank(self) -> int:
        """Number of axes without the batch."""
        return len(self.shape)

    def varying(self, union: IdUnion) -> tuple[int, ...]:
        """The axes along which the class changes."""
        roots = union.find(self.ids)
        return tuple(
            axis
            for axis in range(roots.ndim)
            if roots.shape[axis] > 1 and (roots != roots.take([0], axis)).any()
        )

    def along(self, axis: int) -> np.ndarray:
        """The ids along `axis`, int64 `[size]`, taken at the first position of the other axes."""
        index = [0] * self.ids.ndim
        index[axis] = slice(None)  # type: ignore[call-overload]
        line = self.ids[tuple(index)]
        size = self.shape[axis]
        return np.broadcast_to(line, (size,)) if size is not None else line

    def full(self) -> np.ndarray:
        """The ids at every position; needs a shape without `None`."""
        return np.broadcast_to(self.ids, self.shape)  # type: ignore[arg-type]

    def made_by(self, source: str) -> Labels:
        """The same labels, with another layer call as their source."""
        return replace(self, source=source)


def per_channel(ids: np.ndarray, shape: Shape, axis: int = -1) -> Labels:
    """Labels of a tensor with one id a channel on `axis`, the same everywhere else."""
    ones = [1] * len(shape)
    ones[axis] = -1
    return Labels(ids.reshape(ones), tuple(shape))


def compact(ids: np.ndarray, shape: Shape, source: str = "") -> Labels:
    """Labels from an array with an id at every position; constant axes shrink to length 1."""
    for axis in range(ids.ndim):
        first = ids.take([0], axis)
        if ids.shape[axis] > 1 and (ids == first).all():
            ids = first
    return Labels(ids, tuple(shape), source)


class Kept:
    """Which classes a plan keeps, asked by the rules that rewrite layers.

    Args:
        union: the union-find that the labels belong to.
        mask: bool `[number of ids]`, true where the id's class is kept; read at representatives.
    """

    def __init__(self, union: IdUnion, mask: np.ndarray):
        self._union = union
        self._mask = mask

    def of(self, ids: np.ndarray) -> np.ndarray:
        """Whether each id is kept; bool, in the shape of `ids`."""
        return self._mask[self._union.find(ids)]

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """The kept positions of a line of ids, ascending."""
        return np.flatnonzero(self.of(ids))

    def all_of(self, tensors: Iterable[Labels]) -> bool:
        """Whether no channel of these tensors is cut."""
        return all(self.of(labels.ids).all() for labels in tensors)

    def count(self, ids: np.ndarray) -> int:
        """How many of these ids are kept."""
        return int(self.of(ids).sum())

    def along(self, labels: Labels, axis: int) -> np.ndarray:
        """Whether each position along `axis` stays; bool `[size]`."""
        if axis not in labels.varying(self._union):
            size = labels.shape[axis]
            return np.ones(1 if size is None else size, bool)
        return self.of(labels.along(axis))

    def shape(self, labels: Labels) -> Shape:
        """The shape of the tensor after the cut, without the batch."""
        varying = labels.varying(self._union)
        return tuple(
            int(self.of(labels.along(axis)).sum()) if axis in varying else size
            for axis, size in enumerate(labels.shape)
        )
