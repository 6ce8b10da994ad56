"""Which network measures the rewards: cut or masked, in float32 or, where it pays, bfloat16."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.filling import FAST_MULTIPLE, is_large
from tfgraphprune.search.evaluation.masked_network import MaskedNetwork
from tfgraphprune.search.evaluation.slim_layers import NotSlim
from tfgraphprune.search.evaluation.slim_network import SlimNetwork

_MOST_DETOURS = 0.25
"""Share of layers that run whole above which masking is as fast."""

_LARGEST_ERROR = 0.05
"""Root mean square difference of the outputs, in units of their deviation, for bfloat16."""

_BFLOAT16 = frozenset({"amx_bf16", "avx512_bf16"})
"""The flags of CPUs that multiply bfloat16; on all others it is slower than float32."""


def evaluation_network(
    graph: LayerGraph, calibration: Sequence[Any], precision: str, whole: bool = False
) -> MaskedNetwork | SlimNetwork:
    """The fastest network that gives the rewards; a line in the log says which and why.

    Args:
        graph: the dense model's graph.
        calibration: batches of inputs for the BatchNorm statistics.
        precision: `float32`, or `auto`: bfloat16 where the CPU computes it in hardware and there
            is no GPU, the network has 10 million MACs or more, and its outputs at half of the
            channels agree with those of float32.
        whole: whether a Keras model is wanted, which only masks leave.
    """
    slim = None if whole else _slim(graph, calibration)
    if slim is None:
        return MaskedNetwork(graph, calibration)
    unfit = not calibration or not has_bfloat16() or tf.config.list_physical_devices("GPU")
    if precision == "float32" or unfit or not is_large(graph):
        logging.info("the search evaluates cut networks in float32")
        return slim
    try:
        fast = SlimNetwork(graph, calibration, tf.bfloat16, FAST_MULTIPLE)
        error = difference(graph, slim, fast, calibration[0])
    except (NotSlim, TypeError, ValueError, tf.errors.OpError) as reason:
        logging.info("the search evaluates cut networks in float32, as %s", reason)
        return slim
    if not error <= _LARGEST_ERROR:
        logging.info(
            "the search evaluates cut networks in float32, as bfloat16 is off by %.3f", error
        )
        return slim
    logging.info("the search evaluates cut networks in bfloat16, which is off by %.3f", error)
    return fast


def has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AMX, or AVX-512's dot products).

    Args:
        cpuinfo: Linux' description of the CPU; where there is none, the answer is no.
    """
    try:
        return not _BFLOAT16.isdisjoint(cpuinfo.read_text().split())
    except OSError:
        return False


def difference(graph: LayerGraph, exact: SlimNetwork, other: SlimNetwork, x: Any) -> float:
    """How far the outputs of two networks are apart, with the first half of each group kept.

    Args:
        graph: the dense model's graph.
        exact: the reference.
        other: what is compared with it.
        x: a batch of inputs.

    Returns:
        The root mean square difference in units of the reference's deviation, of the worst output.
    """
    half = {g.name: g.size // 2 // g.step * g.step for g in graph.prunable_groups}
    kept = {g.name: range(half[g.name] or min(g.step, g.size)) for g in graph.prunable_groups}
    found = []
    for network in (exact, other):
        network.apply(kept)
        found.append([np.asarray(t, np.float64) for t in tf.nest.flatten(network.predict(x))])
    errors = [
        np.sqrt(np.mean((a - b) ** 2)) / max(a.std(), 1e-12) for a, b in zip(*found, strict=True)
    ]
    return float(np.max(errors))


def _slim(graph: LayerGraph, calibration: Sequence[Any]) -> SlimNetwork | None:
    """A slim network where that is possible and worth it."""
    try:
        network = SlimNetwork(graph, calibration)
    except NotSlim as reason:
        logging.info("the search masks channels, as %s", reason)
        return None
    if network.detours > _MOST_DETOURS:
        logging.info(
            "the search masks channels, as %.0f%% of layers would run whole", 100 * network.detours
        )
        return None
    return network
