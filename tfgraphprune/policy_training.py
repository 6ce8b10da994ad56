"""Training of a policy on many networks at once, so that it serves networks it has not seen."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tf_keras as keras

import tfgraphprune
from tfgraphprune.batches import sample
from tfgraphprune.cost.projection import Projection, resolve_limits
from tfgraphprune.embedding.sensitivity import output_changes
from tfgraphprune.errors import UserError
from tfgraphprune.experiment import check_training, load_splits, require_fields
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.identity import identity, plain
from tfgraphprune.model_files import load_model
from tfgraphprune.models import network_by_name
from tfgraphprune.search.evaluation.evaluator import RewardEvaluator
from tfgraphprune.search.loop import rounds_of
from tfgraphprune.search.plan_problem import SENSITIVITY_EXAMPLES, PlanProblem
from tfgraphprune.search.policy import Policy, load_policy
from tfgraphprune.search.registry import require
from tfgraphprune.search.searcher import settings_from
from tfgraphprune.settings import Budget
from tfgraphprune.shipping import accuracy
from tfgraphprune.stages import save_model
from tfgraphprune.training.data import Splits
from tfgraphprune.training.finetune import finetune
from tfgraphprune.workdir import WorkDir

_FIELDS = ("data", "networks", "macs_ratios", "params_ratios", "train", "search", "seed")


def train_policy(config: Any, workdir: str | os.PathLike, overwrite: bool = False) -> Policy:
    """Train the dense networks that a config lists, then one policy for all of them.

    Every network is a search problem at every budget; the policy's weights are kept apart from
    all of them. Networks that are files of trained models are taken as they are. Resumes in
    `workdir`, where the policy is saved in the end: `policy.json`, with the networks that it has
    seen, and `policy.npz`.

    Args:
        config: an `ml_collections.ConfigDict` like `configs/universal_policy.py`.
        workdir: folder of the run.
        overwrite: start again, deleting the files of the run in the folder.

    Raises:
        UserError: anything in the config that can't be used, before training starts.
        MissingExtraError: TF-Agents is not installed.
    """
    require("sac")
    require_fields(config, _FIELDS)
    budgets = [Budget(macs_ratio=ratio) for ratio in config.macs_ratios]
    budgets += [Budget(params_ratio=ratio) for ratio in config.params_ratios]
    networks = [_parsed(text, config.data) for text in config.networks]
    used = dict.fromkeys(data for _, data in networks)
    splits = {name: load_splits(config.data[name]) for name in used}
    models = [_network(name, splits[data], config.seed) for name, data in networks]
    parts = [part for name in sorted(splits) for part in (splits[name].train, splits[name].reward)]
    settings = {"config": plain(config.to_dict()), "policy": True}
    graphs = [LayerGraph.from_model(model) for model in models]
    _check(config, graphs, budgets)
    for name, data in networks:
        if not _is_file(name):
            check_training(config.train, splits[data], epochs=1)
    fingerprints = [graph.fingerprint for graph in graphs]
    key = identity(models[0], fingerprints[0], parts, settings)
    others = zip(models[1:], fingerprints[1:], strict=True)
    key["model"] = " ".join([key["model"], *(identity(*o, [], {})["model"] for o in others)])
    files = [f"dense_{number}.keras" for number in range(len(models))]
    trained = [f for f, (name, _) in zip(files, networks, strict=True) if not _is_file(name)]
    outputs = ("policy.json", "policy.npz", *trained)
    with WorkDir.open(workdir, key, outputs, overwrite) as run:
        if run.finished:
            return load_policy(run.folder)
        problems, names = [], []
        for number, (model, (name, source)) in enumerate(zip(models, networks, strict=True)):
            part = splits[source]
            if not _is_file(name):
                _train(run, config, number, model, part, files[number])
            reached = accuracy(model, part.reward)
            problems += _problems(config, model, part, budgets)
            names += [f"{name}@{source}, dense {reached:.3f}, {_said(b)}" for b in budgets]
        policy = _searched(run, config, problems, names)
        _save(run, policy)
        run.finish()
        return policy


def _check(config: Any, graphs: Sequence[LayerGraph], budgets: Sequence[Budget]) -> None:
    """Refuse before the networks are trained what the search would refuse."""
    from tfgraphprune.search.agents.sac_learner import SacSettings  # needs TF-Agents

    search, problems = config.search, len(graphs) * len(budgets)
    rounds_of(problems, search.rounds * problems)
    settings_from(SacSettings, search.options.to_dict())
    for graph in graphs:
        for budget in budgets:
            Projection.of(graph, resolve_limits(budget, graph), search.min_keep)


def _parsed(text: str, known: Mapping[str, Any]) -> tuple[str, str]:
    name, _, data = text.rpartition("@")
    if data not in known:
        raise UserError(
            f"each of networks is written NAME@DATA with one of the data {', '.join(known)}, "
            f"not {text!r}."
        )
    return name, data


def _is_file(name: str) -> bool:
    return name.endswith(".keras")


def _network(name: str, splits: Splits, seed: int) -> Any:
    """A trained network from its file, or a new one by its name."""
    if not _is_file(name):
        keras.utils.set_random_seed(seed)
        return network_by_name(name, splits.classes, splits.input_shape)  # type: ignore[arg-type]
    return load_model(name)


def _said(budget: Budget) -> str:
    return ", ".join(f"{name} {value}" for name, value in budget.limits.items())


def _train(run: WorkDir, config: Any, number: int, model: Any, splits: Splits, file: str) -> None:
    """Train a dense network, or load what was trained."""
    if run.done(f"dense_{number}"):
        model.set_weights(keras.models.load_model(run.folder / file, compile=False).get_weights())
        return
    train = config.train
    examples = min(train.examples, len(splits.train[0]))
    finetune(
        model,
        sample(splits.train, examples, config.seed),
        epochs=max(1, round(train.steps * train.batch_size / examples)),
        optimizer=train.optimizer,
        learning_rate=train.learning_rate,
        batch_size=train.batch_size,
        augment=train.augment or None,
        validation_data=splits.reward,
        seed=config.seed,
        checkpoint_dir=run.directory("checkpoints", f"dense_{number}"),
        on_epoch=lambda row: run.log_row(f"dense {number}", row, "epoch"),
    )
    save_model(run, file, model)
    run.mark(f"dense_{number}")


def _problems(
    config: Any, model: Any, splits: Splits, budgets: Sequence[Budget]
) -> list[PlanProblem]:
    graph = LayerGraph.from_model(model)
    search = config.search
    calibration = sample(splits.train, search.calibration_examples, config.seed)
    reward = sample(splits.reward, search.reward_examples, config.seed)
    evaluator = RewardEvaluator(graph, calibration, reward)
    some = calibration[0][:SENSITIVITY_EXAMPLES]
    changes = output_changes(graph, some, evaluator.importance)
    return [
        PlanProblem.of(
            graph,
            resolve_limits(budget, graph),
            evaluator,
            calibration,
            min_keep=search.min_keep,
            changes=changes,
        )
        for budget in budgets
    ]


def _searched(
    run: WorkDir,
    config: Any,
    problems: Sequence[PlanProblem],
    names: Sequence[str],
) -> Policy:
    from tfgraphprune.search.joint import run_joint  # needs TF-Agents

    search = config.search
    found = run_joint(
        problems,
        names,
        evaluations=search.rounds * len(problems),
        seed=config.seed,
        options=search.options.to_dict(),
        checkpoint_dir=run.directory("checkpoints", "policy"),
        on_evaluation=lambda row: run.log_row(f"policy {row['problem']}", row, "evaluation"),
    )
    rewards = {
        name: {
            "uniform": history.rows[0]["reward"],
            "best": history.best_reward,
            "policy": history.rows[-1]["reward"],
        }
        for name, history in zip(names, found.histories, strict=True)
    }
    record = {
        "trained_on": rewards,
        "seed": config.seed,
        "search": plain(search.to_dict()),
        "version": tfgraphprune.__version__,
    }
    return replace(found.policy, record=record)


def _save(run: WorkDir, policy: Policy) -> None:
    with tempfile.TemporaryDirectory() as folder:
        policy.save(folder)
        for path in sorted(Path(folder).iterdir()):
            run.write(path.name, path.read_bytes())
