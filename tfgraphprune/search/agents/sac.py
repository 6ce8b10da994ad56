"""Soft actor-critic over whole plans: one action a group, one step an episode."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfgraphprune.search.agents.sac_learner import SacLearner, SacSettings
from tfgraphprune.search.plan_problem import PlanProblem
from tfgraphprune.search.policy import Policy
from tfgraphprune.search.problem import Outcome, Proposal, SearchProblem
from tfgraphprune.search.rivals.knapsack import gradient_images, knapsack_action
from tfgraphprune.search.searcher import Searcher, random_action

_NEAR = 0.4
"""How far random actions go from the knapsack's, where they stay near it."""


class SacSearch(Searcher):
    """TF-Agents' SAC on a problem: `SacLearner`, episode by episode.

    Episodes: the uniform plan, the knapsack's (where the reward is the accuracy), random actions,
    half of them around the knapsack's, then the exploring policy with training in between; the
    last one is the policy's most likely action. A search that starts from a policy begins with
    its most likely action and explores with it from there.

    Args:
        problem: what is searched.
        evaluations: rewards that may be looked at.
        seed: of weights and draws.
        options: fields of `SacSettings`.
    """

    Settings = SacSettings
    reads_graph = True
    replays = False

    def __init__(
        self,
        problem: SearchProblem,
        evaluations: int,
        seed: int,
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__(problem, evaluations, seed, options)
        self._warmup = max(1, min(self.settings.warmup, evaluations // 4))
        self.learner = SacLearner([problem], evaluations, seed, self.settings)
        self._losses: dict[str, float] = {}
        self._guess: np.ndarray | None = None

    def propose(self, episode: int) -> np.ndarray:
        """The action of an episode, float32 `[G]`."""
        groups = len(self.problem.graph.names)
        if self.settings.policy is None:
            if episode == 0:
                return np.zeros(groups, np.float32)
            if episode < self._warmup and episode + 1 < self.evaluations:
                return self._random(episode)
        greedy, exploring = self.learner.act(episode)
        return greedy if episode in (0, self.evaluations - 1) else exploring

    def _random(self, episode: int) -> np.ndarray:
        """A random action, or one near the knapsack's, or that itself."""
        drawn = random_action(len(self.problem.graph.names), self.seed, episode)
        problem = self.problem
        known = isinstance(problem, PlanProblem) and problem.evaluator.is_accuracy
        if not (self.settings.guided and known and episode % 2):
            return drawn
        assert isinstance(problem, PlanProblem)
        if self._guess is None:
            self._guess = knapsack_action(problem)
        if episode == 1:  # charged once, also where a stopped search needs it again
            problem.images += gradient_images(problem)
            return self._guess
        return np.clip(self._guess + _NEAR * drawn, -1, 1)

    def play(self, proposal: Proposal, floor: float, best: float = -math.inf) -> Outcome:
        """One episode of the environment; the executed action is stored."""
        return self.learner.play(proposal, floor, best)

    def observe(self, episode: int, outcome: Outcome) -> None:
        """Train, once the random episodes are over."""
        if episode + 1 == self._warmup:
            self.learner.standardise()
        if self._warmup <= episode + 1 < self.evaluations:
            self._losses = self.learner.learn()

    def state(self) -> dict[str, Any]:
        """The learner's."""
        return self.learner.state()

    def scalars(self) -> dict[str, float]:
        """The last losses and the entropy weight."""
        return {**self._losses, "alpha": float(self.learner.agent.alpha)}

    def learned(self) -> Policy:
        """The policy as trained so far."""
        return self.learner.policy()
