"""What is searched: a graph of groups, the projection of actions, the reward.

Free of TF-Agents, so that the rivals run where it is not installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from absl import logging

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


class SearchProblem(Protocol):
    """One network under one budget."""

    @property
    def graph(self) -> GroupGraph:
        """The groups, their features and edges."""

    def execute(self, action: np.ndarray) -> Execution:
        """The counts within the budget that an action in [-1, 1]^G leads to."""

    def reward(self, counts: Sequence[int]) -> float:
        """How good these counts are; higher is better, any scale."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """One evaluation.

    Attributes:
        execution: the counts and the action that stands for them.
        reward: finite; the floor where the evaluation failed.
        error: what went wrong, if anything did.
    """

    execution: Execution
    reward: float
    error: str | None = None


def evaluate(problem: SearchProblem, action: np.ndarray, floor: float = 0.0) -> Outcome:
    """Execute an action and reward its counts.

    A reward that raises or is not finite is reported with the counts that caused it and
    counts as `floor`: one broken plan must not end a long search.
    """
    action = np.asarray(action, np.float32)
    expected = (len(problem.graph.names),)
    if action.shape != expected:
        raise ValueError(f"an action must have the shape {expected}, not {action.shape}")
    execution = problem.execute(np.clip(action, -1, 1))
    try:
        reward = float(problem.reward(execution.counts))
        error = None if np.isfinite(reward) else f"the reward is {reward}"
    except Exception as failure:
        logging.debug("The reward raised:", exc_info=True)
        error = f"the reward raised {type(failure).__name__}: {failure}"
    if error is None:
        return Outcome(execution, reward)
    logging.warning(
        "%s for the channel counts %s; counted as %g.",
        error[0].upper() + error[1:],
        dict(zip(problem.graph.names, execution.counts, strict=True)),
        floor,
    )
    return Outcome(execution, floor, error)
