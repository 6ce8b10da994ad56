"""How much a network's outputs change where one group alone is cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.batches import batched, length, model_inputs
from tfgraphprune.cost.allocation import greedy
from tfgraphprune.cost.projection import Projection
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.batchnorm import BatchNormEstimator
from tfgraphprune.pruning.criteria import Importance
from tfgraphprune.pruning.masking import Silencer
from tfgraphprune.pruning.plan import most_important

KEPT = {"change_at_half": 0.5, "change_at_quarter": 0.25}
"""The columns, and the share of channels that stays for each."""

_EVEN = 0.02


def output_changes(
    graph: LayerGraph, images: Any, importance: Importance, batch_size: int = 128
) -> tuple[dict[str, np.ndarray], int]:
    """Sensitivity samples in the manner of Galen (arXiv 2212.07818), but without labels.

    The change `d` is the squared difference of the outputs over their variance, with BatchNorm
    on the statistics of the images of each pass; the sample is `d / (1 + d)`.

    Args:
        graph: the dense model's graph.
        images: inputs; some 100 are enough.
        importance: which channels stay.
        batch_size: examples in a forward pass.

    Returns:
        The columns of `KEPT`, float64 `[groups]` each, and the images that were forwarded.
    """
    groups = graph.prunable_groups
    silencer = Silencer(graph)
    estimator = BatchNormEstimator(silencer.model)
    batches = batched(model_inputs(images, graph.model), batch_size)

    def outputs() -> list[np.ndarray]:
        found = (tf.nest.flatten(estimator.outputs(batch)) for batch in batches)
        return [np.concatenate(parts).astype(np.float64) for parts in zip(*found, strict=True)]

    silencer.apply({})
    dense = outputs()
    columns: dict[str, Any] = {}
    for name, share in KEPT.items():
        values = []
        for group in groups:
            count = max(1, round(share * group.size))
            silencer.apply({group.name: most_important(importance[group.name], count)})
            change = np.mean([_distance(a, b) for a, b in zip(dense, outputs(), strict=True)])
            values.append(change / (1 + change))
        columns[name] = np.array(values)
    return columns, length(images) * (1 + len(KEPT) * len(groups))


def least_changing(projection: Projection, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """The plan by these samples alone: channels go where the outputs change least for the cost.

    Greedy allocation as in Li et al., "Pruning Filters for Efficient ConvNets" (ICLR 2017), on
    changes of outputs in place of losses of accuracy: they are added over the groups, and lie on
    lines between the samples.

    Args:
        projection: sizes, smallest widths and limits.
        columns: as of `output_changes`.

    Returns:
        Counts, int `[groups]`, at the limits or just below.
    """
    half, quarter = (columns[name] for name in KEPT)
    quarter = np.maximum(quarter, 1.2 * half)  # a smaller group never does better
    shares = (0.0, *sorted(KEPT.values()), 1.0)
    changes = np.stack([2 * quarter - half, quarter, half, np.zeros(len(half))], 1)
    # Groups that change nothing are cut alike, and not to the bone before others begin.
    even = _EVEN * (half.mean() or 1.0)

    def loss(group: int, count: int) -> float:
        share = count / projection.sizes[group]
        return float(np.interp(share, shares, changes[group])) + even * (1 - share) ** 2

    return greedy(projection, loss)


def _distance(dense: np.ndarray, cut: np.ndarray) -> float:
    """Mean squared difference over variance; large, but finite, where an output overflows."""
    distance = np.mean((dense - cut) ** 2) / max(dense.var(), 1e-12)
    return float(np.nan_to_num(distance, nan=1e6, posinf=1e6))
