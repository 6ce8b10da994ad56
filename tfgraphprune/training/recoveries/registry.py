"""The recoveries by name."""

from __future__ import annotations

from collections.abc import Mapping

from tfgraphprune.errors import UserError
from tfgraphprune.settings import FineTune
from tfgraphprune.training.recoveries.base import FitFn, Recovery
from tfgraphprune.training.recoveries.gradual import gradual
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


def check_recovery(settings: FineTune, fit_fn: FitFn | None) -> None:
    """Refuse a training function that a recovery would have to pass over.

    Raises:
        UserError: the recovery trains the network before it is cut.
    """
    if fit_fn is not None and settings.recovery in _OWN_LOOP:
        raise UserError(
            f"recovery={settings.recovery!r} steers the training of the whole network itself, so "
            "it can't use fit_fn: use another recovery, or leave fit_fn out."
        )
