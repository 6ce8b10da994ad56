"""The cost of a model as it stands."""

from __future__ import annotations

from typing import Any

from tfgraphprune.cost.model_cost import dense_counts, macs_cost
from tfgraphprune.graph.layer_graph import LayerGraph


def count_macs(model: Any) -> int:
    """Multiply-accumulates of a model's convolutions and dense layers for one example.

    Layers without a rule, such as custom ones, count as nothing.

    Raises:
        UserError: the model can't be read, or an input size is unknown.
    """
    graph = LayerGraph.from_model(model)
    return round(float(macs_cost(graph)(dense_counts(graph))))


def count_params(model: Any) -> int:
    """Parameters of a model, BatchNorm's moving statistics included."""
    return int(model.count_params())
