"""Weight axes that carry channels: how they are cut and silenced.

The input axis of a grouped convolution's kernel is *blocked*: it is as long as one block, and
each block of the last axis reads other channels on it. Its ids and positions run over all blocks
one after another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def taken(value: np.ndarray, axis: int, blocks: int, positions: np.ndarray) -> np.ndarray:
    """A weight with only some positions of an axis left.

    Args:
        value: the weight.
        axis: which of its axes.
        blocks: 1, or the number of blocks of the last axis that read other channels each.
        positions: ascending; of a blocked axis, equally many in each block.
    """
    if blocks == 1:
        return np.take(value, positions, axis)
    length = value.shape[axis]
    rows = positions.reshape(blocks, -1) - length * np.arange(blocks)[:, None]
    parts = np.split(value, blocks, -1)
    return np.concatenate(
        [np.take(part, row, axis) for part, row in zip(parts, rows, strict=True)], -1
    )


def silence(
    factor: np.ndarray | None,
    shape: Sequence[int],
    axis: int,
    blocks: int,
    positions: np.ndarray,
) -> np.ndarray:
    """A factor that zeroes some positions of an axis of a weight, on top of another factor.

    Args:
        factor: the factor so far, which may be changed, or `None`.
        shape: of the weight.
        axis: which of its axes.
        blocks: 1, or the number of blocks of the last axis that read other channels each.
        positions: what is zeroed.
    """
    needed = {axis} if blocks == 1 else {axis, len(shape) - 1}
    have = np.ones([1] * len(shape), np.float32) if factor is None else factor
    wide = [n if a in needed else have.shape[a] for a, n in enumerate(shape)]
    factor = np.broadcast_to(have, wide).copy() if list(have.shape) != wide else have
    if blocks == 1:
        np.moveaxis(factor, axis, 0)[positions] = 0
        return factor
    parts = factor.reshape(*factor.shape[:-1], blocks, -1)
    block, row = np.divmod(positions, shape[axis])
    np.moveaxis(parts, (axis, -2), (0, 1))[row, block] = 0
    return factor


def used_positions(value: np.ndarray, axis: int, blocks: int) -> np.ndarray:
    """At which positions of an axis a weight is not all zeros; bool, over all blocks.

    Args:
        value: the weight.
        axis: which of its axes.
        blocks: 1, or the number of blocks of the last axis that read other channels each.
    """
    return position_sums(value != 0, axis, blocks) > 0


def position_sums(value: np.ndarray, axis: int, blocks: int) -> np.ndarray:
    """The sum of a weight at each position of an axis, over all blocks.

    Args:
        value: the weight.
        axis: which of its axes.
        blocks: 1, or the number of blocks of the last axis that read other channels each.
    """
    if blocks == 1:
        return value.sum(tuple(a for a in range(value.ndim) if a != axis))
    parts = value.reshape(*value.shape[:-1], blocks, -1)
    kept = (axis, parts.ndim - 2)
    return parts.sum(tuple(a for a in range(parts.ndim) if a not in kept)).T.ravel()
