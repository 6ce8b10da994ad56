"""One plan after another, as one plan for the network that they began with."""

from __future__ import annotations

from typing import Any

from absl import logging

from tfgraphprune.errors import UserError
from tfgraphprune.graph.groups import ChannelGroup
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.plan import PruningPlan


def read_cut(graph: LayerGraph, small: Any) -> LayerGraph:
    """The graph of a cut network, with the choices of the one that it was cut from.

    Groups that the cut has changed (a grouped convolution with one channel left in a block cuts
    like a depthwise one) are frozen, so that a plan for the result can be composed.

    Args:
        graph: of the network before the cut.
        small: the network after it.
    """
    freeze, multiples = graph.choices
    found = LayerGraph.from_model(small, freeze, multiples)
    known = {_places(group) for group in graph.channel_groups}
    changed = [g for g in found.prunable_groups if _places(g) not in known]
    if not changed:
        return found
    logging.info("kept whole from here on: %s", ", ".join(group.name for group in changed))
    makers = dict.fromkeys(layer for group in changed for layer in group.producers)
    return LayerGraph.from_model(small, (*freeze, *makers), multiples)


def compose(
    graph: LayerGraph, first: PruningPlan, small: LayerGraph, second: PruningPlan
) -> PruningPlan:
    """The plan for `graph` that keeps what `second` keeps of what `first` keeps.

    Args:
        graph: of the network before the first cut.
        first: the plan of that cut.
        small: of the network after it, see `read_cut`.
        second: a plan for that network.

    Raises:
        UserError: a plan for another network, or one that cuts a group that the first cut has
            changed.
    """
    first.check(graph)
    second.check(small)
    later = {_places(group): group.name for group in small.channel_groups}
    kept, used = {}, set()
    for group in graph.prunable_groups:
        left = first.kept.get(group.name, tuple(range(group.size)))
        name = later.get(_places(group))
        used.add(name)
        kept[group.name] = tuple(left[i] for i in second.kept.get(name or "", range(len(left))))
    for name, stays in second.kept.items():
        if name not in used and len(stays) < small.group(name).size:
            raise UserError(
                f"the first cut has changed the channel group {name!r}, so a second cut of it is "
                "no plan for the whole network: read the cut network with read_cut."
            )
    return PruningPlan(kept, graph.fingerprint)


def _places(group: ChannelGroup) -> frozenset:
    """Where the group lies, which tells it from all others of its network."""
    return frozenset(
        (axis.path, axis.weight, axis.axis, axis.role, axis.positions.shape[1])
        for axis in group.axes
    )
