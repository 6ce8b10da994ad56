"""The search in a worker process, for programs in which `tf.keras` is Keras 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph

Row = tuple[str, int, bool, str, int]
"""A channel group without its places: name, size, prunable, reason, step."""


def group_rows(graph: LayerGraph) -> list[Row]:
    """What `same_groups` needs to read the graph's model again as it was read."""
    return [(g.name, g.size, g.prunable, g.reason, g.step) for g in graph.channel_groups]


def same_groups(model: Any, rows: Sequence[Row]) -> LayerGraph:
    """Read a model, and freeze its groups as those of the graph that the rows are of.

    Raises:
        UserError: the model has other groups.
    """
    graph = LayerGraph.from_model(model)
    found = [(group.name, group.size) for group in graph.channel_groups]
    if found != [row[:2] for row in rows]:
        raise UserError(
            f"the model {model.name!r} has other channel groups in the worker process that the "
            "search needs: import tfgraphprune before tf.keras is first used."
        )
    graph.channel_groups = tuple(
        replace(group, prunable=prunable, reason=reason, step=step)
        for group, (_, _, prunable, reason, step) in zip(graph.channel_groups, rows, strict=True)
    )
    return graph


def search(model: Any, rows: Sequence[Row], **arguments: Any) -> Mapping[str, Any]:
    """What the worker runs: `plan_search.search_graph` on plain values.

    Returns:
        The result's `kept` (channels of each method's plan by group), `history`,
        `methods` and `policy`.
    """
    from tfgraphprune.search.plan_search import search_graph

    found = search_graph(same_groups(model, rows), **arguments)
    kept = {name: dict(plan.kept) for name, plan in found.plans.items()}
    return {
        "kept": kept,
        "history": found.history,
        "methods": found.methods,
        "policy": found.policy,
    }


def front(model: Any, rows: Sequence[Row], **arguments: Any) -> Mapping[str, Any]:
    """`search` for several budgets."""
    from tfgraphprune.search.front import front_of

    return front_of(same_groups(model, rows), **arguments)
