"""What reading a model on channel ids finds out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from tfgraphprune.graph.constraints import Constraint
from tfgraphprune.graph.labels import IdUnion, Labels
from tfgraphprune.graph.reader import Program

Role = Literal["in", "out", "through", "slice", "norm"]
"""What an axis does with channels: reads them, makes them, passes each on, or only holds them.

`norm` stands for the statistics of a normalization over the channels: its restricted twin leaves
out what is cut.
"""

PRODUCT = -1
"""In the place of a weight's index: a product of activations, as in attention."""

NORM = -2
"""In the place of a weight's index: the statistics of a normalization."""


@dataclass(eq=False)
class WeightAxis:
    """One axis of one weight, with the channel id at each of its positions.

    Attributes:
        path: names that lead from the model to the layer; `()` for an axis without a weight.
        weight: index in `layer.weights`; below 0 for an axis without a weight.
        axis: which axis of the weight.
        role: what the layer does with the channels on it.
        ids: int64 `[size]`; of a blocked axis (see `axes`), those of all blocks.
        blocks: number of blocks of the last axis that read other channels each.
    """

    path: tuple[str, ...]
    weight: int
    axis: int
    role: Role
    ids: np.ndarray
    blocks: int = 1


@dataclass(eq=False)
class TracedWeight:
    """One weight: its shape and how often each element is multiplied for one example.

    Attributes:
        path: names that lead from the model to the layer.
        weight: index in `layer.weights`, or `PRODUCT`.
        shape: its dense shape.
        uses: multiplications of each element for one example, over all calls; `None` where a
            spatial size is unknown.
    """

    path: tuple[str, ...]
    weight: int
    shape: tuple[int, ...]
    uses: int | None = 0


@dataclass(eq=False)
class Trace:
    """All that reading a model on channel ids found out."""

    union: IdUnion = field(default_factory=IdUnion)
    axes: dict[tuple, WeightAxis] = field(default_factory=dict)
    weights: dict[tuple, TracedWeight] = field(default_factory=dict)
    frozen: list[tuple[np.ndarray, str]] = field(default_factory=list)
    inputs: dict[str, list[Labels]] = field(default_factory=dict)
    outputs: dict[str, list[Labels]] = field(default_factory=dict)
    paths: dict[int, tuple[str, ...]] = field(default_factory=dict)
    layers: dict[tuple[str, ...], Any] = field(default_factory=dict)
    insides: dict[str, Program] = field(default_factory=dict)
    opened: dict[int, list[str]] = field(default_factory=dict)
    picks: list[tuple[Labels, int, int, str]] = field(default_factory=list)
    constraints: list[Constraint] = field(default_factory=list)
    settings: dict[tuple[str, ...], dict[tuple[str, ...], np.ndarray]] = field(default_factory=dict)
