"""Plans carried over: to a network after a cut, to a copy, and two of them to one.

A group is told from all others of its network by where it lies. Layers made of layers are taken
apart where they are cut; their layers are called `outer.inner` then, and still lie where they lay.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from absl import logging

from tfgraphprune.errors import UserError
from tfgraphprune.graph.groups import ChannelGroup
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.plan import PruningPlan


def read_cut(graph: LayerGraph, small: Any) -> LayerGraph:
    """The graph of a cut network, its groups frozen, and in steps, as those that they were.

    Groups that the cut has changed (a grouped convolution with one channel left in a block cuts
    like a depthwise one) are frozen, so that a plan for the result can be composed.

    Args:
        graph: of the network before the cut.
        small: the network after it.
    """
    found = LayerGraph.from_model(small)
    known = _before(graph, found)
    changed = [group.name for group in found.prunable_groups if group.name not in known]
    if changed:
        logging.info("kept whole from here on: %s", ", ".join(changed))
    reasons = dict.fromkeys(changed, "a cut before this one has changed it")
    reasons |= {name: group.reason for name, group in known.items() if not group.prunable}
    found = found.freezing(reasons).stepping({name: group.step for name, group in known.items()})
    found.choices = graph.choices
    return found


def counterparts(graph: LayerGraph, other: LayerGraph) -> dict[str, str]:
    """Names of the groups in a copy, by those in the network, for all that the copy has."""
    here, there = (
        {
            (_places(g), tuple(a.positions.tobytes() for a in g.axes)): g.name
            for g in of.channel_groups
        }
        for of in (graph, other)
    )
    return {name: there[place] for place, name in here.items() if place in there}


def carried_over(plan: PruningPlan, graph: LayerGraph, other: LayerGraph) -> PruningPlan:
    """The plan for a copy in which layers made of layers may have been taken apart.

    Args:
        plan: for the network of `graph`.
        graph: of that network.
        other: of its copy.

    Raises:
        UserError: a plan for another network, or a copy that lacks a group of it.
    """
    plan.check(graph)
    names = counterparts(graph, other)
    missing = [name for name in plan.kept if name not in names]
    if missing:
        raise UserError(
            f"the copy of {graph.model.name!r} must have the channel groups of its plan, but lacks "
            f"{', '.join(missing)}: freeze them."
        )
    kept = {names[name]: stays for name, stays in plan.kept.items()}
    return PruningPlan(kept, other.fingerprint)


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
    names = {group.name: name for name, group in _before(graph, small).items()}
    kept, used = {}, set()
    for group in graph.prunable_groups:
        left = first.kept.get(group.name, tuple(range(group.size)))
        name = names.get(group.name)
        used.add(name)
        kept[group.name] = tuple(left[i] for i in second.kept.get(name or "", range(len(left))))
    for name, stays in second.kept.items():
        if name not in used and len(stays) < small.group(name).size:
            raise UserError(
                f"the first cut has changed the channel group {name!r}, so a second cut of it is "
                "no plan for the whole network: read the cut network with read_cut."
            )
    return PruningPlan(kept, graph.fingerprint)


def _before(graph: LayerGraph, small: LayerGraph) -> dict[str, ChannelGroup]:
    """The groups of the network before a cut, by their names after it."""
    before = _located(graph)
    return {g.name: before[place] for place, g in _located(small).items() if place in before}


def _located(graph: LayerGraph) -> dict[Hashable, ChannelGroup]:
    """The groups by where they lie, also after a cut.

    The parts of a split may lie on the same weights; a cut keeps their order. Parts that are mixed,
    such as every second channel, are left out.
    """
    found = dict[Hashable, list[ChannelGroup]]()
    for group in graph.channel_groups:
        found.setdefault(_places(group), []).append(group)
    located = dict[Hashable, ChannelGroup]()
    for place, groups in found.items():
        groups.sort(key=lambda group: int(group.axes[0].positions.min()))
        ends = [int(group.axes[0].positions.max()) for group in groups]
        starts = [int(group.axes[0].positions.min()) for group in groups]
        if all(end < start for end, start in zip(ends, starts[1:], strict=False)):
            located |= {(place, number): group for number, group in enumerate(groups)}
    return located


def _places(group: ChannelGroup) -> Hashable:
    """Where the group lies, also after the layers around it were taken apart."""
    return frozenset(
        (
            "/".join(axis.path).replace(".", "/"),
            axis.weight,
            axis.axis,
            axis.role,
            axis.positions.shape[1],
        )
        for axis in group.axes
    )
