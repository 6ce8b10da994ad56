"""Search, cut and recover: once, or in several stages on the way to the budget."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tf_keras as keras
from absl import logging

from tfgraphprune.batches import sample
from tfgraphprune.cost.model_cost import dense_counts
from tfgraphprune.cost.projection import Limit, Projection, resolve_limits
from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.job import Job
from tfgraphprune.latency_model import LatencyModel, measure_latency, settle
from tfgraphprune.pruning.composition import compose, read_cut
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.pruning.rebuild import distributed_as
from tfgraphprune.pruning.tasks import assembled
from tfgraphprune.search.plan_search import SearchResult, search_plan
from tfgraphprune.settings import LIMITS, Budget
from tfgraphprune.settings.search import seconds
from tfgraphprune.shipping import file_overhead
from tfgraphprune.training.recoveries.registry import followed
from tfgraphprune.training.recovery import recover
from tfgraphprune.workdir import WorkDir


@dataclass(frozen=True, eq=False)
class Pruned:
    """What the stages leave.

    Attributes:
        model: the pruned and trained model.
        plan: what stayed of the dense one.
        methods: figures of each search method, of the last stage.
        searched: rows of all searches.
        trained: rows of all trainings.
    """

    model: Any
    plan: PruningPlan
    methods: dict[str, Any]
    searched: list[dict[str, Any]]
    trained: list[dict[str, Any]]


def prune_in_stages(run: WorkDir, job: Job) -> Pruned:
    """Go to the budget in `job.finetune.stages` equal steps, as ratios: 0.7, then 0.7 x 0.7.

    GNN-RL (ICML 2022) advises several rounds of search, cut and training for high ratios. What
    is finished in the run's folder is passed over; the dense model teaches in all stages.
    """
    file = None
    if job.budget.limits_file:
        file = file_overhead(job.graph, run.folder)
    graph, latency = _on_device(run, job, job.graph, "")
    limits = _limits(job.budget, graph, file, latency)
    dense = dense_counts(graph)
    stages = job.finetune.stages
    model, methods = graph.model, dict[str, Any]()
    searched, trained = list[dict[str, Any]](), list[dict[str, Any]]()
    plan: PruningPlan | None = None
    for number in range(1, stages + 1):
        name = f" {number}" if stages > 1 else ""
        budget, ahead = job.budget, limits
        if stages > 1:
            aims: dict[str, Any] = {
                limit.name: _on_the_way(limit, float(limit.cost(dense)), number / stages)
                for limit in limits
            }
            if number > 1:
                graph, latency = _on_device(run, job, graph, name)
            budget = replace(job.budget, **{**dict.fromkeys(LIMITS), **aims})
            ahead = _limits(budget, graph, file, latency)
        found = _search(run, job, graph, ahead, name, number)
        step = _settled(run, job, graph, PruningPlan.from_dict(found["plan"]), budget, ahead, name)
        model, rows, step = _recover(run, job, graph, step, name, number)
        before = Counter(row["method"] for row in searched)
        for row in found["history"]:
            count = row["evaluation"] + before[row["method"]]
            searched.append({**row, "evaluation": count})
        trained += [{**row, "epoch": row["epoch"] + len(trained)} for row in rows]
        plan = compose(job.graph, plan, graph, step) if plan is not None else step
        methods = found["methods"]
        if number < stages:
            graph = followed(read_cut(job.graph, model), job.finetune.recovery)
    assert plan is not None
    run.write("plan.json", json.dumps(plan.to_dict(), indent=1) + "\n")
    return Pruned(model, plan, methods, searched, trained)


def save_model(run: WorkDir, name: str, model: Any) -> None:
    """Write a model into the run's folder, whole or not at all."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        model.save(path)
        run.write(name, path.read_bytes())


def _on_device(
    run: WorkDir, job: Job, graph: LayerGraph, name: str
) -> tuple[LayerGraph, LatencyModel | None]:
    """For a budget in latency, the graph in the device's steps, and its latency; measured once."""
    if not job.budget.limits_latency:
        return graph, None
    budget = job.budget
    if budget.latency_table is None:
        budget = replace(budget, latency_table=str(run.folder / "latency.json"))
    found = measure_latency(graph, budget, seed=job.seed, record=run.done(f"latency{name}"))
    if run.done(f"latency{name}") is None:
        run.mark(f"latency{name}", found.record())
    stepped = found.stepped(graph)
    try:
        limits = _limits(
            replace(job.budget, file_bytes=None, file_bytes_ratio=None), stepped, None, found
        )
        Projection.of(stepped, limits, job.search.min_keep)
    except UserError as error:
        logging.info("channels go one by one, not in the device's steps: %s", error)
        return graph, found
    return stepped, found


def _limits(
    budget: Budget,
    graph: LayerGraph,
    file: tuple[float, int] | None,
    latency: LatencyModel | None,
) -> tuple[Limit, ...]:
    cost, dense = (latency.cost, latency.dense_ms) if latency else (None, None)
    overhead, whole = file or (None, None)
    return resolve_limits(budget, graph, overhead, cost, dense, whole)


def _search(
    run: WorkDir, job: Job, graph: LayerGraph, limits: tuple[Limit, ...], name: str, number: int
) -> dict[str, Any]:
    done = run.done(f"search{name}")
    if done is not None:
        return done
    evaluations = job.search.evaluations
    share = _share(evaluations, number, job.finetune.stages) if evaluations else 0
    found: SearchResult = search_plan(
        graph.model,
        graph,
        job.train_data,
        job.validation_data,
        job.budget,
        replace(job.search, evaluations=share, time_limit=_time(job)),
        seed=job.seed,
        limits=limits,
        metric=job.metric,
        reward=job.reward,
        checkpoint_dir=run.directory("checkpoints", f"search{name}"),
        log_dir=run.directory("tensorboard", f"search{name}"),
        on_evaluation=lambda row: run.log_row(f"search{name} {row['method']}", row, "evaluation"),
    )
    content = {"plan": found.plan.to_dict(), "methods": found.methods, "history": found.history}
    return run.mark(f"search{name}", content)


def _time(job: Job) -> float | None:
    """Seconds of a stage."""
    limit = job.search.time_limit
    return None if limit is None else seconds(limit) / job.finetune.stages


def _settled(
    run: WorkDir,
    job: Job,
    graph: LayerGraph,
    plan: PruningPlan,
    budget: Budget,
    limits: tuple[Limit, ...],
    name: str,
) -> PruningPlan:
    """For a budget in latency, a plan that was measured to meet it."""
    if not budget.limits_latency:
        return plan
    done = run.done(f"settle{name}")
    if done is None:
        plan, measured = settle(graph, plan, budget, limits, job.search)
        done = run.mark(f"settle{name}", {"plan": plan.to_dict(), **measured})
    return PruningPlan.from_dict(done["plan"])


def _recover(
    run: WorkDir, job: Job, graph: LayerGraph, plan: PruningPlan, name: str, number: int
) -> tuple[Any, list[dict[str, Any]], PruningPlan]:
    last = number == job.finetune.stages
    file = "model.keras" if last else f"stage_{number}.keras"
    done = run.done(f"recover{name}")
    if done is not None:
        # The run's own file, made of a model that was handed over or allowed to have lambdas.
        with distributed_as(job.graph.model):
            model = keras.models.load_model(run.folder / file, compile=False, safe_mode=False)
            model = assembled(job.graph.model, model)
        return model, done["rows"], PruningPlan.from_dict(done["plan"])
    epochs = _share(job.finetune.epochs, number, job.finetune.stages)
    found = recover(
        graph,
        plan,
        replace(job.finetune, epochs=epochs, stages=1),
        job.train_data,
        sample(job.train_data, job.search.calibration_examples, job.seed),
        teacher=job.graph.model,
        validation_data=job.validation_data,
        fit_fn=job.fit_fn,
        seed=job.seed,
        checkpoint_dir=run.directory("checkpoints", f"finetune{name}"),
        log_dir=run.directory("tensorboard", f"finetune{name}"),
        on_epoch=lambda row: run.log_row(f"finetune{name}", row, "epoch"),
    )
    save_model(run, file, found.model)
    content = {"rows": found.rows, "plan": found.plan.to_dict()}
    run.mark(f"recover{name}", content)
    return found.model, found.rows, found.plan


def _on_the_way(limit: Limit, dense: float, share: float) -> float:
    """A limit's value after a share of the way from the dense network's cost, as ratios."""
    if share == 1.0:
        return limit.value
    return dense * min(1.0, limit.value / dense) ** share


def _share(whole: int, number: int, stages: int) -> int:
    """An equal share of a whole number, the first stages getting what is over; 1 at least."""
    return max(1, whole // stages + (number <= whole % stages)) if whole else 0
