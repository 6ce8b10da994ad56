"""A Pareto front: the best plans for several budgets, from one policy that knows the budget."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfgraphprune.batches import Data, check, rows_of, sample
from tfgraphprune.cost.model_cost import dense_counts
from tfgraphprune.cost.projection import Limit, Projection, resolve_limits
from tfgraphprune.embedding.sensitivity import output_changes
from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.keras3 import is_keras3_model, twin
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.search.checks import check_read_from, check_search, starting_policy
from tfgraphprune.search.evaluation.evaluator import Metric, Reward, RewardEvaluator
from tfgraphprune.search.in_worker import group_rows
from tfgraphprune.search.loop import deterministic_ops, rounds_of
from tfgraphprune.search.plan_problem import SENSITIVITY_EXAMPLES, PlanProblem
from tfgraphprune.search.plan_search import checkpoint_key
from tfgraphprune.search.policy import Policy
from tfgraphprune.search.problem import Probe, evaluate
from tfgraphprune.search.registry import needs_worker
from tfgraphprune.settings import Budget, Search
from tfgraphprune.settings.checks import whole_seed
from tfgraphprune.worker import run_in_worker


@dataclass(frozen=True, eq=False)
class FrontPoint:
    """The best plan for one budget.

    Attributes:
        budget: as given.
        plan: the best of those that meet it, also where another budget's turn found it.
        reward: of the plan.
        shares: its cost as a share of the dense model's, for each cost that a budget limits.
    """

    budget: Budget
    plan: PruningPlan
    reward: float
    shares: dict[str, float]


@dataclass(frozen=True, eq=False)
class SearchFront:
    """What `search_front` found.

    Attributes:
        points: one a budget, in the order given.
        dense_reward: of the model as it is, measured as the plans are; NaN where that fails.
        history: a row for each evaluation, with the `problem` that is the budget's number.
        policy: one policy for all budgets.
    """

    points: list[FrontPoint]
    dense_reward: float
    history: list[dict[str, Any]]
    policy: Policy

    def plot(self, path: str | os.PathLike, cost: str = "macs") -> None:
        """Draw reward against cost into a file whose ending says the format.

        Raises:
            UserError: no budget limits that cost.
        """
        points = [
            (point.shares[cost], point.reward) for point in self.points if cost in point.shares
        ]
        if not points:
            known = sorted({name for point in self.points for name in point.shares})
            raise UserError(f"cost must be one that a budget limits, {known}, not {cost!r}.")
        shares, rewards = zip(*sorted(points), strict=True)
        figure = Figure(figsize=(5, 3.5), layout="constrained")
        axes = figure.subplots()
        axes.plot(shares, rewards, marker="o", label="best plan")
        axes.axhline(self.dense_reward, linestyle=":", color="gray", label="dense")
        axes.set_xlabel(f"{cost}, share of the dense model's")
        axes.set_ylabel("reward before fine-tuning")
        axes.legend(frameon=False)
        figure.savefig(Path(path))


def search_front(
    model: Any,
    graph: LayerGraph,
    train_data: Data,
    reward_data: Data | None,
    budgets: Sequence[Budget],
    search: Search | None = None,
    *,
    seed: int = 0,
    metric: Metric | None = None,
    reward: Reward | None = None,
    limits: Sequence[tuple[Limit, ...]] | None = None,
    checkpoint_dir: str | os.PathLike | None = None,
    on_evaluation: Callable[[dict[str, Any]], None] | None = None,
    progress: bool = True,
) -> SearchFront:
    """Search for the best plan at each of several budgets with one SAC policy.

    The budget is among the features that the policy reads, so that what it learns at one serves
    the others. `search.evaluations` are shared by all budgets.

    Args:
        model: the model that `graph` was read from.
        graph: its layer graph.
        train_data: calibration images come from here.
        reward_data: images that were not trained on, with labels; `None` where `reward` is given.
        budgets: two or more.
        search: numbers, and options of `sac`; defaults to `Search()`. Rivals are not run.
        seed: of everything random.
        metric: as in `search_plan`.
        reward: as in `search_plan`.
        limits: each budget as resolved for this graph; resolved here by default.
        checkpoint_dir: from which the same call resumes; refused for another model, budget or data.
        on_evaluation: called with each new row of the history.
        progress: whether to show a bar.

    Raises:
        UserError: bad data, a budget that can't be met, an agent other than `sac`, a time limit,
            too few evaluations, or checkpoints of another search.
        SearchFailedError: the reward fails from the start.
        MissingExtraError: TF-Agents is not installed.
    """
    search, seed = search or Search(), whole_seed(seed)
    check(train_data, "train_data")
    if reward is None:
        check(reward_data, "reward_data")
    if search.agent != "sac":
        raise UserError(f"a front is searched by the agent 'sac', not {search.agent!r}.")
    if search.time_limit is not None:
        raise UserError("a front has no time limit: leave time_limit out, and lower evaluations.")
    if len(budgets) < 2:
        raise UserError(f"a front needs two budgets or more, not {len(budgets)}: use search_plan.")
    check_read_from(graph, model)
    check_search(replace(search, rivals=()), graph.model)
    rounds_of(len(budgets), search.evaluations)
    limits = limits or [resolve_limits(budget, graph) for budget in budgets]
    for each in limits:
        Projection.of(graph, each, search.min_keep)
    key = None
    if checkpoint_dir is not None:
        key = checkpoint_key(graph, train_data, reward or reward_data, search, metric)
    arguments: dict[str, Any] = {
        "limits": limits,
        "calibration": sample(train_data, search.calibration_examples, seed),
        "reward": reward or sample(reward_data, search.reward_examples, seed, metric is not None),
        "search": search,
        "seed": seed,
        "metric": metric,
        "checkpoint_dir": None if checkpoint_dir is None else Path(checkpoint_dir),
        "progress": progress,
        "key": key,
    }
    if needs_worker("sac"):
        dense = twin(graph.model) if is_keras3_model(graph.model) else graph.model
        found = run_in_worker(
            "tfgraphprune.search.in_worker:front",
            {"model": dense, "rows": group_rows(graph), **arguments},
            {"on_evaluation": on_evaluation} if on_evaluation else None,
            step="the search",
        )
    else:
        found = front_of(graph, **arguments, on_evaluation=on_evaluation)
    points = [
        FrontPoint(budget, PruningPlan(kept, graph.fingerprint), value, shares)
        for budget, (kept, value, shares) in zip(budgets, found["points"], strict=True)
    ]
    return SearchFront(points, found["dense_reward"], found["history"], found["policy"])


@deterministic_ops()
def front_of(
    graph: LayerGraph,
    *,
    limits: Sequence[tuple[Limit, ...]],
    calibration: tuple[np.ndarray, np.ndarray],
    reward: tuple[np.ndarray, np.ndarray] | Reward,
    search: Search,
    seed: int,
    metric: Metric | None = None,
    checkpoint_dir: Path | None = None,
    key: Mapping[str, str] | None = None,
    on_evaluation: Callable[[dict[str, Any]], None] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """`search_front` in this process, on data that are drawn already; plain values."""
    from tfgraphprune.search.joint import run_joint  # needs TF-Agents

    evaluator = RewardEvaluator(
        graph, calibration, reward, search.criterion, search.eval_batch_size, metric,
        first_look=search.first_look, precision=search.reward_precision,
    )  # fmt: skip
    some = rows_of(calibration[0], slice(SENSITIVITY_EXAMPLES))
    changes = output_changes(graph, some, evaluator.importance, evaluator.batch_size)
    problems = []
    for number, each in enumerate(limits):
        columns = changes if number == 0 else (changes[0], 0)  # the images are charged once
        problems.append(
            PlanProblem.of(
                graph, each, evaluator, calibration, min_keep=search.min_keep, changes=columns
            )
        )
    start = starting_policy(search)
    options = dict(search.options) | ({} if start is None else {"policy": start})
    found = run_joint(
        problems,
        [f"budget {number}" for number in range(len(limits))],
        evaluations=search.evaluations,
        seed=seed,
        options=options,
        key=key,
        checkpoint_dir=checkpoint_dir,
        on_evaluation=on_evaluation,
        progress=progress,
    )
    dense = dense_counts(graph)
    points = []
    answers = [row for history in found.histories for row in history.answers]
    for problem, each in zip(problems, limits, strict=True):
        fitting = (row for row in answers if problem.projection.fits(np.array(row["counts"])))
        best = max(fitting, key=lambda row: row["reward"])
        counts = np.array(best["counts"])
        shares = {
            limit.name: float(limit.cost(counts)) / float(limit.cost(dense)) for limit in each
        }
        points.append((dict(evaluator.plan(best["counts"]).kept), best["reward"], shares))
    whole = dense.tolist()
    uncut = evaluate(problems[0], Probe(tuple(whole)), floor=math.nan)
    rows = sorted(
        (row for history in found.histories for row in history.rows),
        key=lambda row: (row["evaluation"], row["problem"]),
    )
    return {
        "points": points,
        "dense_reward": uncut.reward,
        "history": rows,
        "policy": found.policy,
    }
