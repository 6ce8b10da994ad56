"""Least squares first: consumers' kernels are fitted to what the dense network made."""

from __future__ import annotations

from tfgraphprune.pruning.reconstruction import reconstruct as fitted
from tfgraphprune.training.recoveries.base import Recovered, RecoveryCase


def reconstruct(case: RecoveryCase) -> Recovered:
    """Cut and correct by least squares, then fine-tune if there are epochs.

    He et al., "AMC: AutoML for Model Compression", ECCV 2018; see `pruning.reconstruction`.
    BatchNorm keeps the statistics that the kernels were fitted to.
    """
    return case.train(fitted(case.graph.model, case.plan, case.calibration, seed=case.seed))
