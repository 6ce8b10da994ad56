"""The whole way on one page: read, search, cut, recover, ship, show."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import tf_keras as keras

import tfgraphprune
from tfgraphprune.batches import Data, check
from tfgraphprune.compression_result import SAVED, CompressionResult, load_result, tflite_files
from tfgraphprune.cost.projection import Projection, resolve_limits
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.identity import identity, plain
from tfgraphprune.keras3 import copy_weights, is_keras3_model, twin
from tfgraphprune.outputs import check_classifier
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.pruning.surgery import prune
from tfgraphprune.results import RunRecord
from tfgraphprune.search.evaluation.evaluator import Metric, Reward
from tfgraphprune.search.plan_search import SearchResult, sample, search_plan
from tfgraphprune.search.registry import require
from tfgraphprune.settings import Budget, FineTune, Search
from tfgraphprune.shipping import QUANTIZATIONS, export_and_measure, file_overhead, graph_record
from tfgraphprune.training.augment import check_augmentation
from tfgraphprune.training.data import split_reward
from tfgraphprune.training.recovery import FitFn, recover
from tfgraphprune.workdir import WorkDir

_REPRESENTATIVE_EXAMPLES = 300


@dataclass(frozen=True, eq=False)
class Job:
    """All that a run needs, checked.

    Attributes:
        graph: the dense model's layer graph.
        train_data: to train on, calibrate and take int8 ranges from.
        validation_data: what the reward is measured on.
        test_data: looked at once, at the end; `None` for the validation data.
        budget: what may be spent.
        search: agent, rivals, numbers.
        finetune: recovery and its settings.
        fit_fn: the user's own training, or `None`.
        metric: what the search maximises in place of accuracy, or `None`.
        reward: a function of the network in its place, or `None`.
        seed: of everything random.
        quantizations: kinds of TFLite file.
        train_history: rows of the dense model's training.
        settings: what `config.json` records.
    """

    graph: LayerGraph
    train_data: Data
    validation_data: Data
    test_data: Data | None
    budget: Budget
    search: Search
    finetune: FineTune
    fit_fn: FitFn | None = None
    metric: Metric | None = None
    reward: Reward | None = None
    seed: int = 0
    quantizations: Sequence[str] = QUANTIZATIONS
    train_history: Sequence[dict[str, Any]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_classifier(self.graph.model)
        for name in ("train_data", "validation_data"):
            check(getattr(self, name), name)
        if self.test_data is not None:
            check(self.test_data, "test_data")
        for method in (self.search.agent, *self.search.rivals):
            require(method)
        if self.fit_fn is None and self.finetune.epochs:
            classes = self.graph.model.output_shape[-1]
            check_augmentation(self.finetune.augment, self.train_data, classes)
        if self.budget.file_bytes is None:
            Projection.of(self.graph, resolve_limits(self.budget, self.graph), self.search.min_keep)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the files that the run writes."""
        kinds = dict.fromkeys(("float32", *self.quantizations))
        tflite = ("dense_float32.tflite", *(f"model_{kind}.tflite" for kind in kinds))
        return (*SAVED, "config.json", *tflite)


_REWARD_SHARE = 0.1
"""Share of the training data that is held out where the caller names no validation data."""


def compress(
    model: Any,
    train_data: Data,
    validation_data: Data | None = None,
    test_data: Data | None = None,
    *,
    budget: Budget,
    search: Search | None = None,
    finetune: FineTune | None = None,
    fit_fn: FitFn | None = None,
    metric: Metric | None = None,
    reward: Reward | None = None,
    freeze: Sequence[str] = (),
    workdir: str | os.PathLike | None = None,
    overwrite: bool = False,
    seed: int = 0,
) -> CompressionResult:
    """Make a model smaller: search, cut, recover, export, measure.

    Args:
        model: a functional or Sequential classifier that ends in logits or softmax; it is not
            changed. One of Keras 3 is worked on as its twin of tf_keras, which `fit_fn` gets and
            the files of the run hold; the result's `model` is of Keras 3.
        train_data: `(x, y)` arrays or a finite batched `tf.data.Dataset`.
        validation_data: what the reward is measured on; split from training when `None`.
        test_data: looked at once, at the end; `None` reports the validation figures.
        budget: what may be spent.
        search: agent, rivals and number of evaluations.
        finetune: recovery and its settings.
        fit_fn: `fit_fn(model, teacher) -> model` replaces our fine-tuning.
        metric: `metric(labels, outputs) -> float`, which the search maximises in place of accuracy.
        reward: `reward(model) -> float` in its place; see `search_plan`.
        freeze: names or patterns of layers whose channels must stay.
        workdir: folder of the run; the same call resumes there. By default a temporary one is
            used and nothing resumes.
        overwrite: start again in a folder that holds a run, deleting that run's own files.
        seed: of everything random.

    Raises:
        UserError: anything that can't be used, before long work starts.
    """
    check(train_data, "train_data")
    if is_keras3_model(model):
        found = compress(
            twin(model), train_data, validation_data, test_data, budget=budget, search=search,
            finetune=finetune, fit_fn=fit_fn, metric=metric, reward=reward, freeze=freeze,
            workdir=workdir, overwrite=overwrite, seed=seed,
        )  # fmt: skip
        return _as_keras3(model, found)
    graph = LayerGraph.from_model(model, freeze=freeze)
    if validation_data is None:
        train_data, validation_data = split_reward(train_data, _REWARD_SHARE, seed)
    search, finetune = search or Search(), finetune or FineTune()
    settings = {
        "budget": plain(budget),
        "search": plain(search),
        "finetune": plain(finetune),
        "freeze": list(freeze),
        "seed": seed,
        "rewarded_by": [getattr(f, "__qualname__", str(f)) for f in (metric, reward) if f],
    }
    job = Job(
        graph, train_data, validation_data, test_data, budget, search, finetune, fit_fn, metric,
        reward, seed, settings=settings,
    )  # fmt: skip
    key = identity(model, graph.fingerprint, (train_data, validation_data, test_data), settings)
    if workdir is None:
        with tempfile.TemporaryDirectory() as folder, WorkDir.open(folder, key) as run:
            return replace(run_stages(run, job), folder=None)
    with WorkDir.open(workdir, key, job.outputs, overwrite) as run:
        return load_result(run.folder) if run.finished else run_stages(run, job)


def _as_keras3(model: Any, found: CompressionResult) -> CompressionResult:
    """The result for a Keras 3 model, given that for its twin."""
    plan = PruningPlan.from_indices(LayerGraph.from_model(model), found.plan.kept)
    pruned = prune(model, plan)
    copy_weights(found.model, pruned)
    return replace(found, model=pruned, dense=model, plan=plan)


def run_stages(run: WorkDir, job: Job) -> CompressionResult:
    """Search, cut, recover, ship and show in an open folder; finished stages are passed over."""
    dense = job.graph.model
    save_model(run, "dense.keras", dense)
    found = _search(run, job)
    plan = PruningPlan.from_dict(found["plan"])
    pruned, rows = _recover(run, job, plan)
    figures = run.done("ship") or run.mark(
        "ship",
        export_and_measure(
            dense,
            pruned,
            run.folder,
            sample(job.train_data, _REPRESENTATIVE_EXAMPLES, job.seed),
            job.test_data if job.test_data is not None else job.validation_data,
            job.quantizations,
        ),
    )
    history = {
        "train": list(job.train_history),
        "search": found["history"],
        "finetune": rows,
    }
    record = RunRecord(
        graph=graph_record(job.graph),
        kept={name: list(indices) for name, indices in plan.kept.items()},
        metrics={**figures, "search": found["methods"]},
        history=history,
        config={**job.settings, "versions": _versions()},
    )
    run.write("record.json", record.to_json())
    run.write("config.json", json.dumps(record.config, indent=1) + "\n")
    result = CompressionResult(pruned, dense, plan, record, run.folder, tflite_files(run.folder))
    result.report.save(run.folder / "report.html", overwrite=True)
    run.finish()
    return result


def save_model(run: WorkDir, name: str, model: Any) -> None:
    """Write a model into the run's folder, whole or not at all."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        model.save(path)
        run.write(name, path.read_bytes())


def _search(run: WorkDir, job: Job) -> dict[str, Any]:
    done = run.done("search")
    if done is not None:
        return done
    overhead = None
    if job.budget.file_bytes is not None:
        overhead = file_overhead(job.graph, run.folder)
    found: SearchResult = search_plan(
        job.graph.model,
        job.graph,
        job.train_data,
        job.validation_data,
        job.budget,
        job.search,
        seed=job.seed,
        limits=resolve_limits(job.budget, job.graph, overhead),
        metric=job.metric,
        reward=job.reward,
        checkpoint_dir=run.directory("checkpoints", "search"),
        log_dir=run.directory("tensorboard", "search"),
        on_evaluation=lambda row: run.log_row(f"search {row['method']}", row, "evaluation"),
    )
    content = found.plan.to_dict()
    run.write("plan.json", json.dumps(content, indent=1) + "\n")
    return run.mark("search", {"plan": content, "methods": found.methods, "history": found.history})


def _recover(run: WorkDir, job: Job, plan: PruningPlan) -> tuple[Any, list[dict[str, Any]]]:
    rows = run.done("recover")
    if rows is not None:
        return keras.models.load_model(run.folder / "model.keras", compile=False), rows
    pruned, rows = recover(
        job.graph,
        plan,
        job.finetune,
        job.train_data,
        sample(job.train_data, job.search.calibration_examples, job.seed),
        validation_data=job.validation_data,
        fit_fn=job.fit_fn,
        seed=job.seed,
        checkpoint_dir=run.directory("checkpoints", "finetune"),
        log_dir=run.directory("tensorboard", "finetune"),
        on_epoch=lambda row: run.log_row("finetune", row, "epoch"),
    )
    save_model(run, "model.keras", pruned)
    return pruned, run.mark("recover", rows)


def _versions() -> dict[str, str]:
    names = ("tensorflow", "tf-keras", "tf-agents", "tensorflow-model-optimization", "spektral")
    found = {"python": platform.python_version(), "tfgraphprune": tfgraphprune.__version__}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
