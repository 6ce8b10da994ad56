"""Importance criteria: how much each channel of a group matters.

A criterion is a callable `criterion(graph) -> {group name: float [size]}`; larger stays longer.
"""

from __future__ import annotations

from collections.abc import Mapping

from tfgraphprune.errors import UserError
from tfgraphprune.pruning.criteria.activations import Activations
from tfgraphprune.pruning.criteria.taylor import Taylor
from tfgraphprune.pruning.criteria.weights import (
    Criterion,
    Importance,
    Random,
    batchnorm_scale,
    fpgm,
    l1,
    l2,
)

__all__ = [
    "CRITERIA",
    "Activations",
    "Criterion",
    "Importance",
    "Random",
    "Taylor",
    "batchnorm_scale",
    "fpgm",
    "l1",
    "l2",
    "resolve_criterion",
]

CRITERIA: Mapping[str, Criterion] = {
    "l1": l1,
    "l2": l2,
    "fpgm": fpgm,
    "batchnorm_scale": batchnorm_scale,
    "random": Random(),
}


def resolve_criterion(criterion: str | Criterion) -> Criterion:
    """The criterion with this name, or the object itself.

    Raises:
        UserError: neither a known name nor callable.
    """
    if callable(criterion):
        return criterion
    if criterion not in CRITERIA:
        raise UserError(
            f"criterion must be one of {', '.join(CRITERIA)} or an object such as "
            f"criteria.Taylor(data), not {criterion!r}."
        )
    return CRITERIA[criterion]
