"""The recoveries by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.keras3 import is_keras3_model
from tfgraphprune.legacy_keras import serves_tf_keras
from tfgraphprune.pruning.tasks import adds_losses, fresh_optimizer
from tfgraphprune.settings import FineTune
from tfgraphprune.settings.finetune import BY_TFMOT
from tfgraphprune.training.checks import check_settings
from tfgraphprune.training.objectives import check_losses_stay, has_own_step, is_compiled
from tfgraphprune.training.precision import check_float32
from tfgraphprune.training.recoveries.base import FitFn, Recovery
from tfgraphprune.training.recoveries.gradual import gradual, unmasked
from tfgraphprune.training.recoveries.one_shot import one_shot
from tfgraphprune.training.recoveries.reconstruct import reconstruct
from tfgraphprune.training.recoveries.refill import refill
from tfgraphprune.training.recoveries.scratch import scratch_b, scratch_e
from tfgraphprune.training.recoveries.soft import soft

RECOVERIES: Mapping[str, Recovery] = {
    "one_shot": one_shot,
    "gradual": gradual,
    "soft": soft,
    "reconstruct": reconstruct,
    "refill": refill,
    "scratch_e": scratch_e,
    "scratch_b": scratch_b,
}

_OWN_LOOP = ("gradual", "soft", "refill")
"""Recoveries that steer the training of the whole network themselves."""


def check_recovery(settings: FineTune, model: Any, fit_fn: FitFn | None) -> None:
    """Refuse what a recovery would have to pass over, before long work starts.

    Raises:
        UserError: the recovery trains the network before it is cut, but not by the function, the
            training step or the losses that the user has for that; a loss on features that such
            a function or step would not have; losses that a smaller model would lack; or an
            optimizer that can't be made anew.
    """
    if is_compiled(model):  # so is what is left of it
        fresh_optimizer(model, model)
    own_step = has_own_step(model) and not is_keras3_model(model)
    own = "fit_fn" if fit_fn is not None else f"the train_step of {type(model).__name__}"
    if fit_fn is None and settings.epochs:
        if adds_losses(model):
            raise UserError(
                f"the losses that were added to {model.name!r} by add_loss can't go along to a "
                "smaller model: give a fit_fn that adds them, or make them in a layer."
            )
        check_settings(
            model, settings.precision, settings.label_smoothing, settings.optimizer,
            settings.learning_rate, settings.weight_decay, settings.augment,
        )  # fmt: skip
    if settings.feature_weight and (fit_fn is not None or own_step):
        raise UserError(
            f"feature_weight can't be added to {own}: set it to 0, or add such a loss there."
        )
    if settings.recovery not in _OWN_LOOP:
        return
    if fit_fn is not None or own_step:
        raise UserError(
            f"recovery={settings.recovery!r} steers the training of the whole network itself, so "
            f"it can't use {own}: use another recovery."
        )
    if settings.recovery in BY_TFMOT and settings.epochs:
        check_float32(model, f"recovery={settings.recovery!r}")
    if not serves_tf_keras() and settings.recovery in BY_TFMOT and settings.epochs:
        check_losses_stay(model, f"recovery={settings.recovery!r} beside Keras 3")


def followed(graph: LayerGraph, recovery: str) -> LayerGraph:
    """The graph with the groups frozen that a recovery can't shrink, with the reason."""
    return graph.freezing(unmasked(graph)) if recovery == "gradual" else graph
