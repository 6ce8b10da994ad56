"""What every method of search is: the agents' and the rivals' common interface."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np

from tfgraphprune.errors import UserError
from tfgraphprune.search.problem import (
    Execution,
    Outcome,
    Probe,
    Proposal,
    SearchProblem,
    evaluate,
    executed,
)

S = TypeVar("S")


class Searcher(ABC):
    """Proposes actions and learns from what became of them.

    All randomness follows from `(seed, episode)` or from counters within `state()`, so that a
    search that was killed and resumed ends as one that was left alone.

    Args:
        problem: the network and its budget.
        evaluations: rewards that may be looked at.
        seed: of everything random.
        options: hyperparameters by name; the fields of the class's `Settings`.

    Attributes:
        settings: the hyperparameters, an instance of `Settings`.

    Raises:
        UserError: an option that the method does not have.
    """

    Settings: ClassVar[type] = dataclasses.make_dataclass("NoSettings", [], frozen=True)
    """A frozen dataclass of hyperparameters with defaults."""

    reads_graph: ClassVar[bool] = False
    """Whether the method looks at the features of the groups, and is charged for them."""

    replays: ClassVar[bool] = True
    """Whether the method resumes by observing again what it saw; else from `state()`."""

    def __init__(
        self,
        problem: SearchProblem,
        evaluations: int,
        seed: int,
        options: Mapping[str, Any] | None = None,
    ):
        self.problem = problem
        self.evaluations = evaluations
        self.seed = seed
        self.settings: Any = settings_from(self.Settings, options or {})

    @classmethod
    def needed(cls, evaluations: int, problem: SearchProblem) -> int:
        """How many of the rewards that are allowed the method looks at; all by default."""
        return evaluations

    @abstractmethod
    def propose(self, episode: int) -> Proposal:
        """What to look at in episode 0, 1, ...: an action or a probe."""

    def play(self, proposal: Proposal, floor: float, best: float = -math.inf) -> Outcome:
        """Evaluate a proposal; `floor` is the reward where that fails, `best` the best so far."""
        return evaluate(self.problem, proposal, floor, best)

    def observe(self, episode: int, outcome: Outcome) -> None:  # noqa: B027
        """Learn from an evaluation; nothing by default."""

    def state(self) -> dict[str, Any]:
        """TensorFlow trackables that a checkpoint must hold; none by default."""
        return {}

    def resume(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take up a search from the rows of its history, after `state()` was restored."""
        if not self.replays:
            return
        for episode, row in enumerate(rows):
            proposal = self.propose(episode)
            probe = isinstance(proposal, Probe)
            action = executed(self.problem, proposal).action
            execution = Execution(tuple(row["counts"]), action)
            self.observe(episode, Outcome(execution, row["reward"], row.get("error"), probe))

    def scalars(self) -> dict[str, float]:
        """Figures for TensorBoard beside the reward; none by default."""
        return {}

    def learned(self) -> Any:
        """What the method learned that serves other networks too; `None` by default."""
        return None


def settings_from(kind: type[S], options: Mapping[str, Any]) -> S:
    """Hyperparameters from options.

    Raises:
        UserError: no such field.
    """
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for name in options:
        if name not in known:
            raise UserError(
                f"the search method has no option {name!r}: it takes "
                f"{', '.join(known) if known else 'none'}."
            )
    return kind(**options)


_NEAR = 0.4
"""How far random actions go from a plan that they stay near."""


def random_action(groups: int, seed: int, episode: int) -> np.ndarray:
    """Float32 `[groups]` uniform in [-1, 1], from `(seed, episode)`."""
    return generator(seed, episode).uniform(-1, 1, groups).astype(np.float32)


def near(action: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """An action on the way from another one towards one that was drawn."""
    return np.clip(action + _NEAR * drawn, -1, 1)


def generator(seed: int, *purposes: int) -> np.random.Generator:
    """Random numbers that follow from a seed, an episode and the like."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *purposes])))
