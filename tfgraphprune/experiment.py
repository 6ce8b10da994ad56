"""A configured experiment: data and dense model as the config says, then the pipeline."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

import tf_keras as keras

from tfgraphprune.compression_result import CompressionResult, load_result
from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.identity import identity, plain
from tfgraphprune.job import Job
from tfgraphprune.model_files import load_model
from tfgraphprune.models import load_npz_weights, network_by_name
from tfgraphprune.pipeline import run_stages
from tfgraphprune.settings import Budget, FineTune, Search
from tfgraphprune.training.data import Splits, load_digits, load_tfds
from tfgraphprune.training.finetune import finetune
from tfgraphprune.training.image_folders import load_image_folder
from tfgraphprune.training.recoveries.registry import followed
from tfgraphprune.workdir import WorkDir

SPLITS = "splits.json"
"""Which files a run trained on, measured its reward on, and tested on."""


def run(
    config: Any,
    workdir: str | os.PathLike,
    overwrite: bool = False,
    allow_lambda: bool = False,
) -> CompressionResult:
    """Run an experiment, go on with it, or, where it is finished, load its result.

    Args:
        config: an `ml_collections.ConfigDict` like those in `configs/`.
        workdir: folder of the run.
        overwrite: start again, deleting the files of the run in the folder.
        allow_lambda: load models with Lambda layers, whose code then runs.

    Raises:
        UserError: anything in the config that can't be used, before training starts.
    """
    settings = settings_of(config)
    splits = load_splits(config.data)
    keras.utils.set_random_seed(config.seed)
    model = build_model(config.model, splits, allow_lambda)
    graph = _graph(model, config)
    content = plain(config.to_dict())
    job_settings = {"config": content, "experiment": True}
    key = identity(
        model, graph.fingerprint, (splits.train, splits.reward, splits.test), job_settings
    )
    job = Job(
        graph,
        splits.train,
        splits.reward,
        splits.test,
        *settings,
        seed=config.seed,
        quantizations=tuple(config.export.quantizations),
        representative_examples=config.export.representative_examples,
        settings=content,
    )
    outputs = (*job.outputs, *([SPLITS] if splits.files else []))
    with WorkDir.open(workdir, key, outputs, overwrite) as folder:
        if folder.finished:
            return load_result(folder.folder, allow_lambda)
        if splits.files:
            folder.write(SPLITS, json.dumps(splits.files, indent=1) + "\n")
        rows = _train_dense(folder, config, model, splits)
        # Read again: the graph's criterion and teacher are the trained weights.
        graph = _graph(model, config)
        return run_stages(folder, replace(job, graph=graph, train_history=rows))


def _graph(model: Any, config: Any) -> LayerGraph:
    multiples = config.to_dict()["channel_multiple"]
    graph = LayerGraph.from_model(model, tuple(config.freeze), multiples)
    return followed(graph, config.finetune.recovery)


def load_splits(config: Any) -> Splits:
    """The data set that the config names."""
    if config.name == "digits":
        return load_digits(config.split_seed)
    if config.name == "folder":
        if not config.dir:
            raise UserError("config.data.dir must name the image folder where data.name is folder.")
        return load_image_folder(
            config.dir,
            config.image_size,
            channels=config.channels,
            reward_share=config.reward_share,
            test_share=config.test_share,
            seed=config.split_seed,
        )
    return load_tfds(
        config.name,
        config.dir or None,
        reward_examples=config.reward_examples,
        download=config.download,
    )


def build_model(config: Any, splits: Splits, allow_lambda: bool = False) -> Any:
    """The dense model that the config names: from a file, or built, with weights if it has any.

    Raises:
        UserError: an unknown name, or a model that does not fit the data.
    """
    if config.path:
        model = load_model(config.path, allow_lambda)
    else:
        model = network_by_name(config.name, splits.classes, splits.input_shape)  # type: ignore[arg-type]
    if config.weights:
        load_npz_weights(model, config.weights)
    if model.input_shape[1:] != splits.input_shape or model.output_shape[1:] != (splits.classes,):
        raise UserError(
            f"the model maps {model.input_shape[1:]} to {model.output_shape[1:]}, but "
            f"{splits.name} has images {splits.input_shape} and {splits.classes} classes: "
            "give a model for this data."
        )
    return model


def settings_of(config: Any) -> tuple[Budget, Search, FineTune]:
    """The config's sections as settings, which check themselves; 0 and "" stand for none."""
    sections = {name: dict(config[name].to_dict()) for name in ("budget", "search", "finetune")}
    limits: dict[str, Any] = {k: v or None for k, v in sections["budget"].items()}
    budget = Budget(**limits)
    search = sections["search"]
    for name in ("reward_examples", "first_look", "policy", "time_limit"):
        search[name] = search[name] or None
    tuning = sections["finetune"]
    tuning["learning_rate"] = tuning["learning_rate"] or None
    tuning["augment"] = tuning["augment"] or None
    return budget, Search(**search), FineTune(**tuning)


def _train_dense(folder: WorkDir, config: Any, model: Any, splits: Splits) -> list[dict[str, Any]]:
    """Train the model unless its weights were given; the rows of the training."""
    if config.model.path or config.model.weights:
        return []
    train = config.train
    # With every epoch done, the newest checkpoint is restored and nothing is trained.
    return finetune(
        model,
        splits.train,
        epochs=train.epochs,
        optimizer=train.optimizer,
        learning_rate=train.learning_rate,
        batch_size=train.batch_size,
        augment=train.augment or None,
        validation_data=splits.reward,
        seed=config.seed,
        checkpoint_dir=folder.directory("checkpoints", "train"),
        log_dir=folder.directory("tensorboard", "train"),
        on_epoch=lambda row: folder.log_row("train", row, "epoch"),
    )
