"""A configured experiment: data and dense model as the config says, then the pipeline."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import tf_keras as keras

from tfgraphprune.compression_result import CompressionResult, load_result
from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.identity import identity, plain
from tfgraphprune.job import Job
from tfgraphprune.keras3 import is_keras3_model, twin
from tfgraphprune.model_files import load_model
from tfgraphprune.models import load_npz_weights, network_by_name
from tfgraphprune.pipeline import run_stages
from tfgraphprune.settings import Budget, FineTune, Search
from tfgraphprune.settings.checks import whole_seed
from tfgraphprune.training.augment import check_augmentation
from tfgraphprune.training.data import Splits, load_digits, load_tfds
from tfgraphprune.training.finetune import finetune
from tfgraphprune.training.image_folders import load_image_folder
from tfgraphprune.training.recoveries.registry import followed
from tfgraphprune.workdir import WorkDir

_FIELDS = (
    "data", "model", "train", "budget", "search", "finetune", "export", "freeze",
    "channel_multiple", "seed",
)  # fmt: skip

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
    require_fields(config, _FIELDS)
    settings, seed = settings_of(config), whole_seed(config.seed)
    splits = load_splits(config.data)
    keras.utils.set_random_seed(seed)
    model = build_model(config.model, splits, allow_lambda)
    if not _is_trained(config.model):
        check_training(config.train, splits, config.train.epochs)
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
        seed=seed,
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


def require_fields(config: Any, names: Sequence[str]) -> None:
    """Refuse a config that is of another command, or not whole.

    Raises:
        UserError: fields that it lacks.
    """
    missing = [name for name in names if name not in config]
    if missing:
        raise UserError(
            f"the config must have the fields {', '.join(names)}, but lacks "
            f"{', '.join(missing)}: begin with a packaged config of this command."
        )


def check_training(train: Any, splits: Splits, epochs: int) -> None:
    """Refuse what the training of a dense network would refuse, before anything is written.

    Args:
        train: the config's section.
        splits: the data.
        epochs: of the training.

    Raises:
        UserError: a setting that can't be used.
    """
    augment = train.augment or None
    FineTune(
        epochs=epochs, optimizer=train.optimizer, learning_rate=train.learning_rate,
        batch_size=train.batch_size, augment=augment,
    )  # fmt: skip
    check_augmentation(augment, splits.train, splits.classes)


def _is_trained(config: Any) -> bool:
    return bool(config.path or config.weights)


def load_splits(config: Any) -> Splits:
    """The data set that the config names."""
    seed = whole_seed(config.get("split_seed", 0))
    if config.name == "digits":
        return load_digits(seed)
    if config.name == "folder":
        if not config.dir:
            raise UserError("config.data.dir must name the image folder where data.name is folder.")
        return load_image_folder(
            config.dir,
            config.get("image_size", 0),
            channels=config.get("channels", 3),
            reward_share=config.get("reward_share", 0.1),
            test_share=config.get("test_share", 0.2),
            seed=seed,
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
        model = twin(model) if is_keras3_model(model) else model  # which the run's files hold
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
    sections = {name: config[name].to_dict() for name in ("budget", "search", "finetune")}
    limits: dict[str, Any] = {k: v or None for k, v in sections["budget"].items()}
    budget = Budget(**limits)
    search = sections["search"]
    for name in ("reward_examples", "first_look", "policy", "time_limit"):
        search[name] = search.get(name) or None
    tuning = sections["finetune"]
    for name in ("learning_rate", "augment"):
        tuning[name] = tuning.get(name) or None
    return budget, Search(**search), FineTune(**tuning)


def _train_dense(folder: WorkDir, config: Any, model: Any, splits: Splits) -> list[dict[str, Any]]:
    """Train the model unless its weights were given; the rows of the training."""
    if _is_trained(config.model):
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
