"""What the steps with tfmot share: their result, the copy they work on, the process they run in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib import import_module
from inspect import signature
from typing import Any

from tfgraphprune.batches import Data, check
from tfgraphprune.errors import UserError
from tfgraphprune.keras3 import copy_weights, is_keras3_model, twin
from tfgraphprune.legacy_keras import serves_tf_keras
from tfgraphprune.outputs import check_classifier
from tfgraphprune.pruning.masking import copy_model
from tfgraphprune.pruning.tasks import compile_alike
from tfgraphprune.training.checks import check_settings
from tfgraphprune.training.finetune import finetune
from tfgraphprune.training.fit import Row
from tfgraphprune.training.objectives import check_losses_stay, has_own_step, is_compiled
from tfgraphprune.training.precision import check_float32
from tfgraphprune.worker import run_in_worker


@dataclass(frozen=True, eq=False)
class Optimized:
    """What `sparsify`, `cluster` and `quantize_aware` hand back.

    Attributes:
        model: the trained copy of the model that was given.
        reached: a figure for each layer that was worked on: the share of zeros in its kernel, the
            number of different values in it, or its bits.
        left_out: why, for each layer that has a kernel or would compute in 8 bits and was not
            worked on.
        history: a row for each epoch of the training.
    """

    model: Any
    reached: Mapping[str, float]
    left_out: Mapping[str, str]
    history: Sequence[Row]


def check_training(
    model: Any, train_data: Data, training: Mapping[str, Any], averages: bool = False
) -> None:
    """Refuse what the training would refuse later.

    Args:
        model: a classifier, or compiled with its losses.
        train_data: what to train on.
        training: further arguments of `finetune`, `optimizer` and `learning_rate` among them.
        averages: whether means of weights keep what the step is for.

    Raises:
        UserError: something that can't be used.
    """
    known = list(signature(finetune).parameters)[2:]
    for name in training:
        if name not in known:
            raise UserError(f"there is no setting {name!r}: further ones are {', '.join(known)}.")
    check(train_data, "train_data")
    if training.get("precision", "float32") != "float32":
        raise UserError(
            f"tfmot's wrappers compute in float32, so precision can't be "
            f"{training['precision']!r}: leave it out."
        )
    check_float32(model, "a training with tfmot")
    if training.get("averaging") and not averages:
        raise UserError(
            "averaging would undo what the training keeps in the weights: leave it out here."
        )
    if is_keras3_model(model) or not serves_tf_keras():
        check_losses_stay(model, "a training with tfmot beside Keras 3")
    elif is_compiled(model):
        if has_own_step(model):
            raise UserError(
                f"tfmot's wrappers can't use the train_step of {type(model).__name__}: give its "
                "network, compiled with a loss."
            )
        check_settings(
            model, "float32", training.get("label_smoothing", 0.0), training["optimizer"],
            training["learning_rate"], training.get("weight_decay"), training.get("augment"),
        )  # fmt: skip
        own = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        if training["optimizer"] is None and getattr(own, "use_ema", False) and not averages:
            raise UserError(
                f"the optimizer of {model.name!r} averages weights (use_ema), which would undo "
                "what the training keeps in them: name another optimizer here."
            )
        return
    check_classifier(model, training.get("teacher"))


def default_rate(model: Any, optimizer: str | None, rates: Mapping[str, float]) -> float | None:
    """The peak learning rate of our optimizer, or `None` where a compiled model's own is used.

    Args:
        model: what the step works on.
        optimizer: the name that was given, if any.
        rates: of the step, by name.
    """
    keeps_compile = is_compiled(model) and serves_tf_keras() and not is_keras3_model(model)
    return None if optimizer is None and keeps_compile else rates.get(optimizer or "sgd")


def run_stage(function: str, model: Any, train_data: Data, settings: dict[str, Any]) -> Optimized:
    """Run a step on a copy of the model: in a worker where `tf.keras` is Keras 3 in this process.

    Args:
        function: `module:name` of what trains a plain model of tf_keras and may change it.
        model: of tf_keras or Keras 3; it is not changed.
        train_data: checked.
        settings: further arguments of the function, `teacher` and `on_epoch` among them.

    Returns:
        The function's result; its model is of the Keras of the model that was given.

    Raises:
        UserError: a model that can't be used.
    """
    copy = copy_model(model)
    compile_alike(copy, model)
    plain = twin(copy) if is_keras3_model(copy) else copy
    if is_keras3_model(settings.get("teacher")):
        settings = {**settings, "teacher": twin(settings["teacher"])}
    module, _, name = function.partition(":")
    if serves_tf_keras():
        result = getattr(import_module(module), name)(plain, train_data, **settings)
    else:
        arguments = dict(settings)
        on_epoch = arguments.pop("on_epoch", None)
        result = run_in_worker(
            function,
            {"model": plain, "train_data": train_data, **arguments},
            {"on_epoch": on_epoch} if on_epoch else None,
            step=name,
        )
    if not is_keras3_model(copy):
        compile_alike(result.model, model)
        return result
    copy_weights(result.model, copy)
    return replace(result, model=copy)


def skipped(names: Sequence[str], patterns: Sequence[str]) -> dict[str, str]:
    """Reasons of the layers that the user leaves out.

    Args:
        names: of the layers.
        patterns: names, or shell patterns such as `stem*`.

    Raises:
        UserError: a pattern matches no layer.
    """
    if isinstance(patterns, str):
        raise UserError(f"skip must be a list of layer names or patterns: write [{patterns!r}].")
    reasons: dict[str, str] = {}
    for pattern in patterns:
        matching = [name for name in names if fnmatchcase(name, pattern)]
        if not matching:
            raise UserError(
                f"skip names {pattern!r}, but no layer matches it: layers of this model are "
                f"{', '.join(names[:8])} ..."
            )
        reasons |= dict.fromkeys(matching, f"left out by the user ({pattern})")
    return reasons
