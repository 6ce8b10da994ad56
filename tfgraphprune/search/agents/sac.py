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
from tfgraphprune.search.searcher import Searcher, near, random_action


class SacSearch(Searcher):
    """TF-Agents' SAC on a problem: `SacLearner`, episode by episode.

    Episodes: the uniform plan, the knapsack's (where the reward is the accuracy), the graph's
    guess, random actions, two thirds of them around these two, then the exploring policy with
    training in between; the last one is the policy's most likely action. A search that starts
    from a policy has that one's most likely action for the uniform plan, and its exploring actions
    for the random ones.

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
        self._known: list[np.ndarray] | None = None
        self._gradients = 0

    def propose(self, episode: int) -> np.ndarray:
        """The action of an episode, float32 `[G]`."""
        groups = len(self.problem.graph.names)
        cold = self.settings.policy is None
        if cold and episode == 0:
            return np.zeros(groups, np.float32)
        if 0 < episode < self._warmup and episode + 1 < self.evaluations:
            known = self._near_known(episode)
            if known is not None:
                return known
            if cold:
                return random_action(groups, self.seed, episode)
        greedy, exploring = self.learner.act(episode)
        return greedy if episode in (0, self.evaluations - 1) else exploring

    def _near_known(self, episode: int) -> np.ndarray | None:
        """A plan that is known, one near it, or none where the turn is that of free ones."""
        plans = self._plans()
        turn, number = divmod(episode - 1, len(plans) + 1)
        if number == len(plans):
            return None
        if turn > 0:
            return near(plans[number], random_action(len(plans[number]), self.seed, episode))
        if number == 0 and isinstance(self.problem, PlanProblem):
            # Charged once, also where a stopped search needs them again.
            self.problem.images += self._gradients
        return plans[number]

    def _plans(self) -> list[np.ndarray]:
        """Actions that are sensible by themselves: the knapsack's and the graph's guess."""
        if self._known is None:
            problem, known = self.problem, []
            if self.settings.guided:
                if isinstance(problem, PlanProblem) and problem.evaluator.is_accuracy:
                    known.append(knapsack_action(problem))
                    self._gradients = gradient_images(problem)
                if problem.graph.guess.any():
                    known.append(problem.graph.guess)
            self._known = known
        return self._known

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
