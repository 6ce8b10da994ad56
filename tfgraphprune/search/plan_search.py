"""From a model and a budget to a pruning plan: the search as users call it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from tfgraphprune.batches import Data, check, sample
from tfgraphprune.cost.projection import Limit, Projection, resolve_limits
from tfgraphprune.errors import SearchFailedError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.identity import identity, named, plain
from tfgraphprune.keras3 import is_keras3_model, twin
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.search.checks import check_read_from, check_search, starting_policy
from tfgraphprune.search.evaluation.evaluator import Metric, Reward, RewardEvaluator
from tfgraphprune.search.in_worker import group_rows
from tfgraphprune.search.loop import deterministic_ops, run_search
from tfgraphprune.search.plan_problem import PlanProblem
from tfgraphprune.search.policy import Policy
from tfgraphprune.search.registry import needs_worker, searcher_class, training_examples
from tfgraphprune.settings import Budget, Search
from tfgraphprune.settings.checks import whole_seed
from tfgraphprune.settings.search import seconds
from tfgraphprune.worker import run_in_worker


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found.

    Attributes:
        plan: the best plan of the agent.
        plans: the best plan of each method; rivals without a plan that was rewarded are left out.
        history: a row for each evaluation: method, evaluation, reward, best_reward, counts.
        methods: for each method its best reward, evaluations, images and seconds.
        policy: what the agent learned, if it serves other networks: `policy.save(folder)`.
    """

    plan: PruningPlan
    plans: dict[str, PruningPlan]
    history: list[dict[str, Any]]
    methods: dict[str, dict[str, float]]
    policy: Policy | None = None


def search_plan(
    model: Any,
    graph: LayerGraph,
    train_data: Data,
    reward_data: Data | None,
    budget: Budget,
    search: Search | None = None,
    *,
    seed: int = 0,
    limits: tuple[Limit, ...] | None = None,
    metric: Metric | None = None,
    reward: Reward | None = None,
    checkpoint_dir: str | os.PathLike | None = None,
    log_dir: str | os.PathLike | None = None,
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
        reward_data: images that were not trained on, with labels; not the test set. `None` where
            `reward` is given, or nothing is rewarded as there are no evaluations.
        budget: what may be spent.
        search: agent, rivals, numbers; defaults to `Search()`.
        seed: of everything random.
        limits: the budget as resolved for this graph; resolved here by default.
        metric: `metric(labels, outputs) -> float` in place of accuracy; higher is better.
        reward: `reward(model) -> float` in place of a metric on `reward_data`, for detection and
            the like: the masked network with its statistics re-estimated, not to be changed.
        checkpoint_dir: where every method keeps its state; the same call resumes from it, and one
            with another model, budget or data, or a metric of another name, is refused.
        log_dir: for TensorBoard.
        on_evaluation: called with each new row of the history.
        progress: whether to show bars.

    Raises:
        UserError: bad data, a budget that can't be met, or checkpoints of another search.
        SearchFailedError: the agent's plans could not be rewarded.
        MissingExtraError: the agent's package is not installed.
    """
    search, seed = search or Search(), whole_seed(seed)
    check(train_data, "train_data")
    if search.evaluations == 0:
        reward = reward or unrewarded
    if reward is None:
        check(reward_data, "reward_data")
    check_read_from(graph, model)
    names = check_search(search, graph.model)
    limits = limits or resolve_limits(budget, graph)
    Projection.of(graph, limits, search.min_keep)
    examples = {count: sample(train_data, count, seed) for count in map(training_examples, names)}
    key = None
    if checkpoint_dir is not None:
        key = checkpoint_key(graph, train_data, reward or reward_data, search, metric)
    arguments: dict[str, Any] = {
        "limits": limits,
        "calibration": sample(train_data, search.calibration_examples, seed),
        "training": {name: examples[training_examples(name)] for name in names},
        "reward": reward or sample(reward_data, search.reward_examples, seed, metric is not None),
        "metric": metric,
        "search": search,
        "seed": seed,
        "checkpoint_dir": None if checkpoint_dir is None else Path(checkpoint_dir),
        "log_dir": None if log_dir is None else Path(log_dir),
        "progress": progress,
        "key": key,
    }
    if not any(map(needs_worker, names)):
        return search_graph(graph, **arguments, on_evaluation=on_evaluation)
    dense = twin(graph.model) if is_keras3_model(graph.model) else graph.model
    found = run_in_worker(
        "tfgraphprune.search.in_worker:search",
        {"model": dense, "rows": group_rows(graph), **arguments},
        {"on_evaluation": on_evaluation} if on_evaluation else None,
        step="the search",
    )
    plans = {name: PruningPlan(kept, graph.fingerprint) for name, kept in found["kept"].items()}
    return SearchResult(
        plans[search.agent], plans, found["history"], found["methods"], found["policy"]
    )


@deterministic_ops()
def search_graph(
    graph: LayerGraph,
    *,
    limits: tuple[Limit, ...],
    calibration: tuple[np.ndarray, np.ndarray],
    training: Mapping[str, tuple[np.ndarray, np.ndarray]],
    reward: tuple[np.ndarray, np.ndarray] | Reward,
    search: Search,
    seed: int,
    metric: Metric | None = None,
    checkpoint_dir: Path | None = None,
    key: Mapping[str, str] | None = None,
    log_dir: Path | None = None,
    on_evaluation: Callable[[dict[str, Any]], None] | None = None,
    progress: bool = True,
) -> SearchResult:
    """`search_plan` in this process, on data that are drawn already.

    Args:
        graph: the dense model's graph.
        limits: the budget as resolved for it.
        calibration: training examples for the BatchNorm statistics.
        training: for each method, the examples that it takes gradients of.
        reward: held-out examples with labels, or a function of the network.
        search: agent, rivals, numbers.
        seed: of everything random.
        metric: in place of accuracy.
        checkpoint_dir: where every method keeps its state.
        key: hashes of model, data and reward, which checkpoints must agree with.
        log_dir: for TensorBoard.
        on_evaluation: called with each new row of the history.
        progress: whether to show bars.
    """
    started = time.monotonic()
    names = tuple(training)
    start = starting_policy(search)
    evaluator = RewardEvaluator(
        graph, calibration, reward, search.criterion, search.eval_batch_size, metric,
        first_look=search.first_look, precision=search.reward_precision,
    )  # fmt: skip
    reads_graph = search.evaluations == 0 or any(searcher_class(n).reads_graph for n in names)
    problem = PlanProblem.of(
        graph,
        limits,
        evaluator,
        training[search.agent],
        min_keep=search.min_keep,
        images=calibration[0] if reads_graph else None,
    )
    if start is not None and search.evaluations == 0:
        return _without_search(problem, search, start)
    plans, history, methods, policy = {}, [], {}, None
    for name in names:
        is_agent = name == search.agent
        options = dict(search.options) if is_agent else {}
        if is_agent and start is not None:
            options["policy"] = start
        problem.training = training[name]
        try:
            found = run_search(
                problem,
                name,
                evaluations=search.evaluations,
                seed=seed,
                options=options,
                time_limit=None if search.time_limit is None else seconds(search.time_limit),
                spent=time.monotonic() - started if is_agent else 0.0,
                key=key,
                checkpoint_dir=checkpoint_dir / name if checkpoint_dir else None,
                log_dir=log_dir / name if log_dir else None,
                on_evaluation=on_evaluation,
                progress=progress,
            )
        except SearchFailedError as error:
            if is_agent:
                raise
            logging.warning("The rival %r is left out: %s", name, error)
            continue
        plans[name] = evaluator.plan(found.best_counts)
        history += found.rows
        policy = found.policy if is_agent else policy
        methods[name] = {
            "best_reward": found.best_reward,
            "evaluations": len(found.rows),
            "images": found.rows[-1]["images"],
            "seconds": round(found.seconds, 2),
        }
    return SearchResult(plans[search.agent], plans, history, methods, policy)


def checkpoint_key(
    graph: LayerGraph, train_data: Data, reward: Data | Reward, search: Search, metric: Any
) -> dict[str, str]:
    """Hashes of model, data and reward, which checkpoints of a search must agree with."""
    data = [train_data, None if callable(reward) else reward]
    settings = {
        "examples": [search.calibration_examples, search.reward_examples, search.eval_batch_size],
        "criterion": plain(search.criterion),
        "first_look": search.first_look,
        "reward_precision": search.reward_precision,
        "rewarded_by": [named(f) for f in (metric, reward) if callable(f)],
    }
    return identity(graph.model, graph.fingerprint, data, settings)


def unrewarded(model: Any) -> float:
    """The reward where there are no evaluations."""
    return math.nan


def _without_search(problem: PlanProblem, search: Search, policy: Policy) -> SearchResult:
    """What a trained policy says, unrewarded."""
    counts = problem.execute(policy.action(problem.graph)).counts
    plan = problem.evaluator.plan(counts)
    methods = {search.agent: {"evaluations": 0.0, "images": float(problem.graph_images)}}
    return SearchResult(plan, {search.agent: plan}, [], methods, policy)
