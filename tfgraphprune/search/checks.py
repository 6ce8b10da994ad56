"""What can't be searched is refused before long work starts."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.criteria import resolve_criterion
from tfgraphprune.search.policy import Policy, load_policy
from tfgraphprune.search.registry import needs_worker, require, searcher_class
from tfgraphprune.search.searcher import settings_from
from tfgraphprune.settings import Search


def check_read_from(graph: LayerGraph, model: Any) -> None:
    """Refuse a graph of another model.

    Raises:
        UserError: it is.
    """
    if graph.model is not model:
        raise UserError(
            f"graph must be that of the model {getattr(model, 'name', model)!r}, but is of another "
            "one: give LayerGraph.from_model(model)."
        )


def check_search(search: Search, model: Any) -> tuple[str, ...]:
    """Refuse a search that can't be made.

    Args:
        search: agent, rivals, numbers.
        model: that is to be pruned.

    Returns:
        The names of agent and rivals, each once.

    Raises:
        UserError: an unknown method, criterion or option, a method that the model's outputs are
            not made for, or no policy where one is needed.
        MissingExtraError: a method's package is not installed.
    """
    names = tuple(dict.fromkeys((search.agent, *search.rivals)))
    for name in names:
        require(name, model)
    resolve_criterion(search.criterion)
    if not needs_worker(search.agent):
        settings_from(searcher_class(search.agent).Settings, search.options)
        starting_policy(search)
    return names


def starting_policy(search: Search) -> Policy | None:
    """The trained policy that the agent starts from, or whose plan is taken.

    Raises:
        UserError: there is none where one is needed, or the agent can't start from any.
    """
    if search.evaluations == 0:
        source = search.policy or ("pretrained" if search.agent == "pretrained" else None)
        if source is None:
            raise UserError(
                "a search with 0 evaluations takes what a trained policy says: give "
                "Search(policy=FOLDER) or agent='pretrained'."
            )
        return load_policy(source)
    if search.policy is None:
        return None
    known = {field.name for field in dataclasses.fields(searcher_class(search.agent).Settings)}
    if "policy" not in known:
        raise UserError(
            f"the agent {search.agent!r} can't start from a policy: use agent='sac', or leave "
            "policy out."
        )
    return load_policy(search.policy)
