"""The search problem as a TF-Agents environment."""

from __future__ import annotations

import numpy as np
from tf_agents.environments import py_environment
from tf_agents.specs import array_spec
from tf_agents.trajectories import time_step as ts

from tfgraphprune.search.problem import Execution, Outcome, SearchProblem, evaluate

__all__ = ["Execution", "PruningEnvironment", "SearchProblem"]


class PruningEnvironment(py_environment.PyEnvironment):
    """Episodes of one step: every group's score at once, then the reward of the cut network.

    One shot beat going through the layers one by one, as AMC (arXiv 1802.03494) does, at the
    same number of rewards. The state does not depend on earlier episodes, so `reset` is
    idempotent; the edges are constants of the networks and not part of the observation.

    Observation: float32 `[G, F]`, the node features. Action: float32 `[G]` in [-1, 1].

    Args:
        problem: the network and its budget.

    Attributes:
        floor_reward: what an evaluation that fails is worth.
    """

    def __init__(self, problem: SearchProblem):
        super().__init__(handle_auto_reset=True)
        self._problem = problem
        self._features = np.array(problem.graph.features, np.float32)
        self._outcome: Outcome | None = None
        self.floor_reward = 0.0

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

    def action_spec(self) -> array_spec.BoundedArraySpec:
        """A score a group."""
        return array_spec.BoundedArraySpec((len(self._features),), np.float32, -1.0, 1.0, "action")

    def observation_spec(self) -> array_spec.ArraySpec:
        """The node features."""
        return array_spec.ArraySpec(self._features.shape, np.float32, "features")

    def _reset(self) -> ts.TimeStep:
        return ts.restart(self._features.copy())

    def _step(self, action: np.ndarray) -> ts.TimeStep:
        self._outcome = evaluate(self._problem, action, self.floor_reward)
        return ts.termination(self._features.copy(), self._outcome.reward)
