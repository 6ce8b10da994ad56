"""From a model and a budget to a pruning plan: the search as users call it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfgraphprune.batches import Data, as_arrays, check
from tfgraphprune.cost.projection import Limit, Projection, resolve_limits
from tfgraphprune.embedding.features import group_graph
from tfgraphprune.embedding.group_graph import GroupGraph
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.keras3 import is_keras3_model, twin
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.search.evaluator import RewardEvaluator
from tfgraphprune.search.in_worker import group_rows
from tfgraphprune.search.loop import run_search
from tfgraphprune.search.problem import Execution
from tfgraphprune.search.searcher import needs_worker, require
from tfgraphprune.settings import Budget, Search
from tfgraphprune.worker import run_in_worker

SCORE_SCALE = 3.0
"""Actions in [-1, 1] are scores in [-3, 3] before the common shift."""


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found.

    Attributes:
        plan: the best plan of the agent.
        plans: the best plan of each method, rivals included.
        history: a row for each evaluation: method, evaluation, reward, best_reward, counts.
        methods: for each method its best reward, evaluations and seconds.
    """

    plan: PruningPlan
    plans: dict[str, PruningPlan]
    history: list[dict[str, Any]]
    methods: dict[str, dict[str, float]]


class PlanProblem:
    """The search problem of one model and budget: a score a group in, integer channels out.

    Args:
        graph: the policy's graph of the prunable groups.
        projection: onto the budget.
        reward: scores channel counts.
    """

    def __init__(self, graph: GroupGraph, projection: Projection, reward: RewardEvaluator):
        self.graph = graph
        self._projection = projection
        self._reward = reward

    def execute(self, action: np.ndarray) -> Execution:
        """The channel counts that an action leads to, and the action that stands for them."""
        scores = SCORE_SCALE * np.clip(np.asarray(action, np.float64), -1, 1)
        counts, shift = self._projection.project(scores)
        stands_for = self._projection.scores_of(counts, shift, scores) / SCORE_SCALE
        executed = np.clip(stands_for, -1, 1).astype(np.float32)
        return Execution(tuple(int(c) for c in counts), executed)

    def reward(self, counts: Sequence[int]) -> float:
        """The reward of the masked network with these channel counts."""
        return self._reward(counts)


def search_plan(
    model: Any,
    graph: LayerGraph,
    train_data: Data,
    reward_data: Data,
    budget: Budget,
    search: Search | None = None,
    *,
    seed: int = 0,
    limits: tuple[Limit, ...] | None = None,
    checkpoint_dir: Path | None = None,
    log_dir: Path | None = None,
    on_evaluation: Callable[[dict[str, Any]], None] | None = None,
    progress: bool = True,
) -> SearchResult:
    """Search for the keep ratios that lose least at a budget.

    Each evaluation masks the model to a plan that meets the budget exactly, re-estimates
    BatchNorm statistics on training images and measures accuracy on the reward images.

    Where `tf.keras` is Keras 3 in this program, methods that are built on TF-Agents run in a
    worker process, with the same result.

    Args:
        model: the model that `graph` was read from.
        graph: its layer graph.
        train_data: calibration images come from here.
        reward_data: images that were not trained on, with labels; not the test set.
        budget: what may be spent.
        search: agent, rivals, numbers; defaults to `Search()`.
        seed: of everything random.
        limits: the budget as resolved for this graph; resolved here by default.
        checkpoint_dir: where every method keeps its state; the same call resumes from it.
        log_dir: for TensorBoard.
        on_evaluation: called with each new row of the history.
        progress: whether to show bars.

    Raises:
        UserError: bad data, or a budget that can't be met.
        MissingExtraError: the agent's package is not installed.
    """
    search = search or Search()
    check(train_data, "train_data")
    check(reward_data, "reward_data")
    names = tuple(dict.fromkeys((search.agent, *search.rivals)))
    for name in names:
        require(name)
    arguments: dict[str, Any] = {
        "limits": limits or resolve_limits(budget, graph),
        "calibration": sample(train_data, search.calibration_examples, seed),
        "reward": as_arrays(reward_data, search.reward_examples),
        "search": search,
        "seed": seed,
        "checkpoint_dir": checkpoint_dir,
        "log_dir": log_dir,
        "progress": progress,
    }
    if not any(map(needs_worker, names)):
        return search_graph(graph, **arguments, on_evaluation=on_evaluation)
    # A budget that can't be met is refused before a process starts.
    Projection.of(graph, arguments["limits"], search.min_keep)
    dense = twin(graph.model) if is_keras3_model(graph.model) else graph.model
    found = run_in_worker(
        "tfgraphprune.search.in_worker:search",
        {"model": dense, "rows": group_rows(graph), **arguments},
        {"on_evaluation": on_evaluation} if on_evaluation else None,
        step="the search",
    )
    plans = {name: PruningPlan(kept, graph.fingerprint) for name, kept in found["kept"].items()}
    return SearchResult(plans[search.agent], plans, found["history"], found["methods"])


def search_graph(
    graph: LayerGraph,
    *,
    limits: tuple[Limit, ...],
    calibration: tuple[np.ndarray, np.ndarray],
    reward: tuple[np.ndarray, np.ndarray],
    search: Search,
    seed: int,
    checkpoint_dir: Path | None = None,
    log_dir: Path | None = None,
    on_evaluation: Callable[[dict[str, Any]], None] | None = None,
    progress: bool = True,
) -> SearchResult:
    """`search_plan` in this process, on data that are drawn already.

    Args:
        graph: the dense model's graph.
        limits: the budget as resolved for it.
        calibration: training examples for the BatchNorm statistics.
        reward: held-out examples with labels.
        search: agent, rivals, numbers.
        seed: of everything random.
        checkpoint_dir: where every method keeps its state.
        log_dir: for TensorBoard.
        on_evaluation: called with each new row of the history.
        progress: whether to show bars.
    """
    projection = Projection.of(graph, limits, search.min_keep)
    evaluator = RewardEvaluator(graph, calibration, reward)
    problem = PlanProblem(group_graph(graph, limits), projection, evaluator)
    plans, history, methods = {}, [], {}
    for name in dict.fromkeys((search.agent, *search.rivals)):
        started = time.perf_counter()
        found = run_search(
            problem,
            name,
            evaluations=search.evaluations,
            seed=seed,
            checkpoint_dir=checkpoint_dir / name if checkpoint_dir else None,
            log_dir=log_dir / name if log_dir else None,
            on_evaluation=on_evaluation,
            progress=progress,
        )
        plans[name] = evaluator.plan(found.best_counts)
        history += found.rows
        methods[name] = {
            "best_reward": found.best_reward,
            "evaluations": len(found.rows),
            "seconds": round(time.perf_counter() - started, 2),
        }
    return SearchResult(plans[search.agent], plans, history, methods)


def sample(data: Data, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Up to `count` examples, drawn without replacement; of a data set the first ones."""
    if not isinstance(data, tuple | list):
        return as_arrays(data, count)
    x, y = data
    random = np.random.Generator(np.random.Philox([seed, 1]))
    rows = np.sort(random.permutation(len(x))[:count])
    return np.asarray(x)[rows], np.asarray(y)[rows]
