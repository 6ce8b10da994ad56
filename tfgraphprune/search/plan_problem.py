"""The search problem of one model under one budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfgraphprune.batches import rows_of
from tfgraphprune.cost.projection import Limit, Projection
from tfgraphprune.embedding.features import group_graph
from tfgraphprune.embedding.group_graph import GUESS, GroupGraph
from tfgraphprune.embedding.sensitivity import least_changing, output_changes
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.search.evaluation.evaluator import RewardEvaluator
from tfgraphprune.search.problem import Execution

SENSITIVITY_EXAMPLES = 128
"""Images from which a policy sees how much each group matters."""

SCORE_SCALE = 3.0
"""Actions in [-1, 1] are scores in [-3, 3] before the common shift."""


class PlanProblem:
    """A score a group in, integer channels out, rewarded on images.

    Args:
        layers: the dense model's layer graph.
        graph: the policy's graph of the prunable groups.
        projection: onto the budget.
        evaluator: scores channel counts.
        training: examples with labels, for methods that take gradients.
        graph_images: images that were forwarded for the features of `graph`.

    Attributes:
        layers: as given.
        graph: as given.
        projection: as given.
        evaluator: as given.
        training: as given.
        graph_images: as given.
        images: images that went through the network so far; methods that use some outside of
            `reward` add them.
    """

    def __init__(
        self,
        layers: LayerGraph,
        graph: GroupGraph,
        projection: Projection,
        evaluator: RewardEvaluator,
        training: tuple[np.ndarray, np.ndarray],
        graph_images: int = 0,
    ):
        self.layers = layers
        self.graph = graph
        self.projection = projection
        self.evaluator = evaluator
        self.training = training
        self.graph_images = graph_images
        self.images = 0

    @classmethod
    def of(
        cls,
        layers: LayerGraph,
        limits: tuple[Limit, ...],
        evaluator: RewardEvaluator,
        training: tuple[np.ndarray, np.ndarray],
        *,
        min_keep: float = 0.1,
        images: Any = None,
        changes: tuple[Mapping[str, np.ndarray], int] | None = None,
    ) -> PlanProblem:
        """The problem of a model and a budget.

        Args:
            layers: the dense model's layer graph.
            limits: the budget as resolved for it.
            evaluator: scores channel counts.
            training: examples with labels, for methods that take gradients.
            min_keep: smallest share of channels that a group keeps.
            images: from which sensitivity is sampled, for methods that read the features.
            changes: such samples that are there already, as of `output_changes`.
        """
        projection = Projection.of(layers, limits, min_keep)
        if changes is None and images is not None:
            some = rows_of(images, slice(SENSITIVITY_EXAMPLES))
            changes = output_changes(layers, some, evaluator.importance, evaluator.batch_size)
        columns, forwarded = changes or ({}, 0)
        if columns:
            counts = least_changing(projection, columns)
            columns = {**columns, GUESS: _action_of(projection, counts)}
        graph = group_graph(layers, limits, columns)
        return cls(layers, graph, projection, evaluator, training, forwarded)

    def execute(self, action: np.ndarray) -> Execution:
        """The channel counts that an action leads to, and the action that stands for them."""
        scores = SCORE_SCALE * np.clip(np.asarray(action, np.float64), -1, 1)
        counts, shift = self.projection.project(scores)
        stands_for = self.projection.scores_of(counts, shift, scores)
        # A common shift means nothing: the smallest that brings all scores into their range.
        if np.ptp(stands_for) <= 2 * SCORE_SCALE:
            stands_for += np.clip(
                0.0, -SCORE_SCALE - stands_for.min(), SCORE_SCALE - stands_for.max()
            )
        else:
            stands_for -= (stands_for.max() + stands_for.min()) / 2
        clipped = np.clip(stands_for / SCORE_SCALE, -1, 1).astype(np.float32)
        return Execution(tuple(int(c) for c in counts), clipped)

    def action_of(self, counts: Sequence[int]) -> np.ndarray:
        """An action whose execution comes as near to these counts as the budget allows."""
        return _action_of(self.projection, counts)

    def reward(self, counts: Sequence[int], at_least: float = -math.inf) -> float:
        """The reward of the masked network with these channel counts."""
        reward, images = self.evaluator.reward(counts, at_least)
        self.images += images
        return reward


def _action_of(projection: Projection, counts: Sequence[int] | np.ndarray) -> np.ndarray:
    within = np.clip(counts, projection.lowest, projection.sizes)
    scores = projection.scores_of(within, 0.0, np.zeros(len(within)), exact=True)
    middle = (scores.max() + scores.min()) / 2
    return np.clip((scores - middle) / SCORE_SCALE, -1, 1).astype(np.float32)
