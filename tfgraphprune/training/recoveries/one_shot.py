"""Cut, then fine-tune: what most papers do."""

from __future__ import annotations

from tfgraphprune.training.recoveries.base import Recovered, RecoveryCase


def one_shot(case: RecoveryCase) -> Recovered:
    """Cut at once, then train what is left, as GNN-RL (ICML 2022) and AMC (ECCV 2018) do.

    SGD with momentum, a warm-up and a cosine; weight decay that skips BatchNorm and biases.
    """
    return case.train(case.cut())
