"""The whole way on one page: read, search, cut, recover, ship, show."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any

import tfgraphprune
from tfgraphprune.batches import Data, check, sample
from tfgraphprune.compression_result import CompressionResult, load_result, tflite_files
from tfgraphprune.errors import UserError
from tfgraphprune.graph.dialects import dialect_of
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.identity import identity, named, plain
from tfgraphprune.job import Job
from tfgraphprune.keras3 import copy_weights, is_keras3_model, twin
from tfgraphprune.pruning.masking import copy_model
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.pruning.surgery import prune
from tfgraphprune.pruning.tasks import assembled
from tfgraphprune.results import RunRecord
from tfgraphprune.search.evaluation.evaluator import Metric, Reward
from tfgraphprune.settings import Budget, FineTune, Search
from tfgraphprune.settings.checks import whole_seed
from tfgraphprune.shipping import export_and_measure, graph_record
from tfgraphprune.stages import prune_in_stages, save_model
from tfgraphprune.training.data import split_reward
from tfgraphprune.training.objectives import (
    check_losses_stay,
    compile_settings,
    has_own_step,
    is_compiled,
)
from tfgraphprune.training.recoveries.base import FitFn
from tfgraphprune.training.recoveries.registry import followed
from tfgraphprune.workdir import WorkDir

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
    channel_multiple: int | Mapping[str, int] = 1,
    workdir: str | os.PathLike | None = None,
    overwrite: bool = False,
    seed: int = 0,
) -> CompressionResult:
    """Make a model smaller: search, cut, recover, export, measure.

    Args:
        model: a functional or Sequential model, or a subclassed one that was called on data, which
            is worked on as a functional one; it is not changed. A classifier ends in logits or
            softmax; one of other outputs, or of several, is compiled with its losses (unless
            `fit_fn` trains it) and comes with a `metric` or a `reward`. One of Keras 3 is worked on
            as its twin of tf_keras, which `fit_fn` gets and the files of the run hold; the result's
            `model` is of Keras 3.
        train_data: `(x, y)` arrays or a finite batched `tf.data.Dataset`; lists or dictionaries of
            arrays for several inputs or outputs.
        validation_data: what the reward is measured on; split from training when `None`.
        test_data: looked at once, at the end; `None` reports the validation figures.
        budget: what may be spent.
        search: agent, rivals and number of evaluations.
        finetune: recovery and its settings.
        fit_fn: `fit_fn(model, teacher) -> model` replaces our fine-tuning.
        metric: `metric(labels, outputs) -> float`, which the search maximises in place of accuracy,
            and which the result reports as the score.
        reward: `reward(model) -> float` in its place; see `search_plan`.
        freeze: names or patterns of layers whose channels must stay.
        channel_multiple: what counts of channels are multiples of, as in `LayerGraph.from_model`;
            with 1, a budget in latency brings the device's own steps.
        workdir: folder of the run; the same call resumes there. By default a temporary one is
            used and nothing resumes.
        overwrite: start again in a folder that holds a run, deleting that run's own files.
        seed: of everything random.

    Raises:
        UserError: anything that can't be used, before long work starts.
    """
    check(train_data, "train_data")
    seed = whole_seed(seed)
    if is_keras3_model(model):
        if fit_fn is None and (finetune or FineTune()).epochs:
            check_losses_stay(model, "the training of a Keras 3 model")
        found = compress(
            twin(model), train_data, validation_data, test_data, budget=budget, search=search,
            finetune=finetune, fit_fn=fit_fn, metric=metric, reward=reward, freeze=freeze,
            channel_multiple=channel_multiple, workdir=workdir, overwrite=overwrite, seed=seed,
        )  # fmt: skip
        return _as_keras3(model, found)
    if not dialect_of(model).has_layer_graph(model):
        if has_own_step(model) and fit_fn is None and (finetune or FineTune()).epochs:
            raise UserError(
                f"{model.name!r} is a subclassed model with a training step of its own, which the "
                "functional model that compress makes of it does not have: give a fit_fn."
            )
        model = assembled(model, copy_model(model))
    graph = LayerGraph.from_model(model, freeze=freeze, channel_multiple=channel_multiple)
    search, finetune = search or Search(), finetune or FineTune()
    graph = followed(graph, finetune.recovery)
    split = None
    if validation_data is None:
        split = {"share": _REWARD_SHARE, "seed": seed}
        train_data, validation_data = split_reward(train_data, _REWARD_SHARE, seed)
    settings = {
        "budget": plain(budget),
        "search": plain(search),
        "finetune": plain(finetune),
        "freeze": list(freeze),
        "channel_multiple": plain(channel_multiple),
        "seed": seed,
        "validation_split": split,
        "rewarded_by": [named(f) for f in (metric, reward) if f],
        **({"fit_fn": named(fit_fn)} if fit_fn is not None else {}),
        **({"compile": compile_settings(model)} if is_compiled(model) else {}),
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
        return load_result(run.folder, True) if run.finished else run_stages(run, job)


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
    found = prune_in_stages(run, job)
    pruned, plan = found.model, found.plan
    figures = run.done("ship") or run.mark(
        "ship",
        export_and_measure(
            dense,
            pruned,
            run.folder,
            sample(job.train_data, job.representative_examples, job.seed),
            job.test_data if job.test_data is not None else job.validation_data,
            job.quantizations,
            metric=job.metric,
            reward=job.reward,
        ),
    )
    history = {
        "train": list(job.train_history),
        "search": found.searched,
        "finetune": found.trained,
    }
    record = RunRecord(
        graph=graph_record(job.graph),
        kept={name: list(indices) for name, indices in plan.kept.items()},
        metrics={**figures, "search": found.methods},
        history=history,
        config={**job.settings, "versions": _versions()},
    )
    run.write("record.json", record.to_json())
    run.write("config.json", json.dumps(record.config, indent=1) + "\n")
    result = CompressionResult(pruned, dense, plan, record, run.folder, tflite_files(run.folder))
    result.report.save(run.folder / "report.html", overwrite=True)
    run.finish()
    return result


def _versions() -> dict[str, str]:
    names = ("tensorflow", "tf-keras", "tf-agents", "tensorflow-model-optimization", "spektral")
    found = {"python": platform.python_version(), "tfgraphprune": tfgraphprune.__version__}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
