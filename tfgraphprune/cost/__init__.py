"""COUNT: MACs, parameters and bytes as functions of the channels kept, and the way to a budget."""

from tfgraphprune.cost.counting import count_macs, count_params
from tfgraphprune.cost.model_cost import Cost, ProductCost, dense_counts, macs_cost, params_cost
from tfgraphprune.cost.projection import Limit, Projection, resolve_limits

__all__ = [
    "Cost",
    "Limit",
    "ProductCost",
    "Projection",
    "count_macs",
    "count_params",
    "dense_counts",
    "macs_cost",
    "params_cost",
    "resolve_limits",
]
