"""The search problem as a TF-Agents environment."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from tf_agents.environments import py_environment
from tf_agents.specs import array_spec
from tf_agents.trajectories import time_step as ts

from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.search.problem import Execution, Outcome, SearchProblem, evaluate

__all__ = ["Execution", "PruningEnvironment", "SearchProblem"]


class PruningEnvironment(py_environment.PyEnvironment):
    """Episodes of one step: every group's score at once, then the reward of the cut network.

    One shot beat going through the layers one by one, as AMC (arXiv 1802.03494) does, at the
    same number of rewards. The state does not depend on earlier episodes, so `reset` is
    idempotent; the edges are constants of the networks and not part of the observation.

    Observation: `features`, float32 `[N, F]`, of the groups, and `graph`, int32 `[]`, the number
    of the problem. Action: float32 `[N]` in [-1, 1]. With several problems N is the number of
    groups of the largest; what an action says of the others' padding is ignored.

    Args:
        problems: networks with their budgets.
        bank: of the problems' graphs; made here by default.

    Attributes:
        number: of the problem that is played.
        floor_reward: what an evaluation that fails is worth.
        best_reward: the best so far, for rewards that give up early on what is clearly worse.
    """

    def __init__(self, problems: Sequence[SearchProblem], bank: GraphBank | None = None):
        super().__init__(handle_auto_reset=True)
        self._problems = tuple(problems)
        self._bank = bank or GraphBank([problem.graph for problem in problems])
        self._outcome: Outcome | None = None
        self.number = 0
        self.floor_reward = 0.0
        self.best_reward = -math.inf

    @property
    def last_outcome(self) -> Outcome:
        """The last evaluation.

        Raises:
            ValueError: no step was taken yet.
        """
        if self._outcome is None:
            raise ValueError("no step was taken in this environment yet")
        return self._outcome

    @property
    def last_execution(self) -> Execution:
        """The counts of the last step and the action that stands for them."""
        return self.last_outcome.execution

    def padded(self, action: np.ndarray) -> np.ndarray:
        """An action for the groups of one problem as one of this environment."""
        return np.pad(action, (0, self._bank.size - len(action))).astype(np.float32)

    def action_spec(self) -> array_spec.BoundedArraySpec:
        """A score a group."""
        return array_spec.BoundedArraySpec((self._bank.size,), np.float32, -1.0, 1.0, "action")

    def observation_spec(self) -> dict[str, array_spec.ArraySpec]:
        """The groups' features and the number of the graph."""
        return {
            "features": array_spec.ArraySpec(self._bank.features.shape[1:], np.float32, "features"),
            "graph": array_spec.BoundedArraySpec((), np.int32, 0, len(self._bank) - 1, "graph"),
        }

    def _observation(self) -> dict[str, np.ndarray]:
        return {
            "features": self._bank.features[self.number].copy(),
            "graph": np.array(self.number, np.int32),
        }

    def _reset(self) -> ts.TimeStep:
        return ts.restart(self._observation())

    def _step(self, action: np.ndarray) -> ts.TimeStep:
        problem = self._problems[self.number]
        self._outcome = evaluate(
            problem, action[: len(problem.graph.names)], self.floor_reward, self.best_reward
        )
        return ts.termination(self._observation(), self._outcome.reward)
