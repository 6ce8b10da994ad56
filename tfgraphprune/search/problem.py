"""What is searched: a graph of groups, the projection of actions, the reward.

Free of TF-Agents, so that the rivals run where it is not installed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from absl import logging

from tfgraphprune.cost.projection import Projection
from tfgraphprune.embedding.group_graph import GroupGraph


@dataclass(frozen=True, eq=False)
class Execution:
    """What the projection made of an action.

    Attributes:
        counts: channels kept of each group.
        action: float32 `[G]` in [-1, 1]; the action that stands for exactly these counts.
    """

    counts: tuple[int, ...]
    action: np.ndarray


@dataclass(frozen=True, eq=False)
class Probe:
    """Channel counts to be looked at whatever they cost, as sensitivity analyses do.

    A probe is an evaluation like any other, but never a search's answer.

    Attributes:
        counts: channels kept of each group.
    """

    counts: tuple[int, ...]


Proposal = np.ndarray | Probe
"""What a method wants to see rewarded: an action, float32 `[G]` in [-1, 1], or a probe."""


class SearchProblem(Protocol):
    """One network under one budget."""

    @property
    def graph(self) -> GroupGraph:
        """The groups, their features and edges."""

    @property
    def projection(self) -> Projection:
        """Sizes, steps, smallest widths and limits of the groups."""

    @property
    def graph_images(self) -> int:
        """Images that were forwarded for the features of the graph."""

    @property
    def images(self) -> int:
        """Images that went through the network so far, as a measure of what was spent."""

    def execute(self, action: np.ndarray) -> Execution:
        """The counts within the budget that an action in [-1, 1]^G leads to."""

    def action_of(self, counts: Sequence[int]) -> np.ndarray:
        """An action whose execution comes as near to these counts as the budget allows."""

    def reward(self, counts: Sequence[int], at_least: float = -math.inf) -> float:
        """How good these counts are; higher is better, any scale.

        Args:
            counts: channels kept of each group.
            at_least: the best reward so far; a plan that is clearly below it may be judged by
                a cheaper estimate.
        """


@dataclass(frozen=True, eq=False)
class Outcome:
    """One evaluation.

    Attributes:
        execution: the counts and the action that stands for them.
        reward: finite; the floor where the evaluation failed.
        error: what went wrong, if anything did.
        probe: whether it was a look at counts that may be over the budget.
        teaches: whether an agent can learn from the reward: not where an evaluation failed before
            any had succeeded, as nobody knows then what is low.
    """

    execution: Execution
    reward: float
    error: str | None = None
    probe: bool = False
    teaches: bool = True


def executed(problem: SearchProblem, proposal: Proposal) -> Execution:
    """What a proposal leads to, without rewarding it.

    Raises:
        ValueError: a number for each group is expected.
    """
    groups = len(problem.graph.names)
    if isinstance(proposal, Probe):
        if len(proposal.counts) != groups:
            raise ValueError(f"a probe must have {groups} counts, not {len(proposal.counts)}")
        return Execution(proposal.counts, np.zeros(groups, np.float32))
    action = np.asarray(proposal, np.float32)
    if action.shape != (groups,):
        raise ValueError(f"an action must have the shape {(groups,)}, not {action.shape}")
    if not np.isfinite(action).all():
        raise ValueError("an action must be finite, but it holds NaN or infinity")
    return problem.execute(np.clip(action, -1, 1))


def evaluate(
    problem: SearchProblem, proposal: Proposal, floor: float = 0.0, best: float = -math.inf
) -> Outcome:
    """Execute a proposal and reward its counts.

    A reward that raises or is not finite is reported with the counts that caused it and
    counts as `floor`: one broken plan must not end a long search.

    Args:
        problem: the network and its budget.
        proposal: an action or a probe.
        floor: the reward of an evaluation that fails.
        best: the best reward so far.
    """
    execution = executed(problem, proposal)
    probe = isinstance(proposal, Probe)
    try:
        reward = float(problem.reward(execution.counts, -math.inf if probe else best))
        error = None if np.isfinite(reward) else f"the reward is {reward}"
    except Exception as failure:
        logging.debug("The reward raised:", exc_info=True)
        error = f"the reward raised {type(failure).__name__}: {failure}"
    if error is None:
        return Outcome(execution, reward, probe=probe)
    logging.warning(
        "%s for the channel counts %s; counted as %g.",
        error[0].upper() + error[1:],
        dict(zip(problem.graph.names, execution.counts, strict=True)),
        floor,
    )
    return Outcome(execution, floor, error, probe, teaches=math.isfinite(best))
