"""The last steps of a run: TFLite files of both models, checked and timed, and all the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.batches import Data, as_dataset, length, sparse_labels
from tfgraphprune.cost.counting import count_macs, count_params
from tfgraphprune.cost.model_cost import (
    dense_counts,
    file_bytes_cost,
    layer_costs,
    macs_cost,
    params_cost,
)
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.outputs import scores_classes
from tfgraphprune.search.evaluation.evaluator import Metric, Reward
from tfgraphprune.tflite import (
    CALIBRATED,
    export_tflite,
    host_latency,
    latency_ratio,
    verify_tflite,
)
from tfgraphprune.tflite.metadata import ALIGNMENT

QUANTIZATIONS = ("float32", "int8")


def accuracy(model: Any, data: Data, batch_size: int = 128) -> float:
    """The share of examples whose largest output is the label's."""
    right = total = 0
    for x, y, *_ in as_dataset(data, batch_size):
        outputs = np.asarray(model(x, training=False))
        right += int((outputs.argmax(-1) == sparse_labels(np.asarray(y))).sum())
        total += len(outputs)
    return right / total


def measured(model: Any, data: Data, metric: Metric, batch_size: int = 128) -> float:
    """A metric of a model's outputs on all of the data."""
    found = []
    for x, y, *_ in as_dataset(data, batch_size):
        found.append(tf.nest.map_structure(np.asarray, (y, model(x, training=False))))
    labels, outputs = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *found)
    return float(metric(labels, outputs))


def file_overhead(graph: LayerGraph, folder: Path) -> tuple[float, int]:
    """What a budget in bytes needs of the dense model's TFLite file.

    Returns:
        Its bytes that are not kernels, and all of its bytes. Fewer channels may need more padding
        up to where the next weight starts: the most that this can take is part of the former.
    """
    report = export_tflite(graph.model, folder / "overhead.tflite", overwrite=True)
    report.path.unlink()
    padding = (ALIGNMENT - 1) * len(graph.model.weights)
    kernels = float(file_bytes_cost(graph, 0.0)(dense_counts(graph)))
    return padding + report.bytes - kernels, report.bytes


def export_and_measure(
    dense: Any,
    pruned: Any,
    folder: Path,
    representative_data: Data,
    test_data: Data,
    quantizations: Sequence[str] = QUANTIZATIONS,
    *,
    metric: Metric | None = None,
    reward: Reward | None = None,
) -> dict[str, Any]:
    """Export, verify over the whole test set, and time.

    Args:
        dense: the model before pruning.
        pruned: the model after recovery.
        folder: receives `model_{quantization}.tflite` and `dense_float32.tflite`.
        representative_data: training images, all for the int8 ranges; arrays.
        test_data: what accuracies and errors are measured on.
        quantizations: the kinds of file of the pruned model; `float32` is always among them.
        metric: of labels and outputs, is a `score` of the models and files.
        reward: a function of a model in its place, is a `score` of the models.

    Returns:
        The metrics `dense`, `pruned`, `tflite` and `latency_ratio` of a `RunRecord`.
    """
    figures: dict[str, Any] = {}
    files = {"dense": folder / "dense_float32.tflite", "pruned": folder / "model_float32.tflite"}
    export_tflite(dense, files["dense"], overwrite=True)
    tflite = {}
    for kind in dict.fromkeys(("float32", *quantizations)):
        path = folder / f"model_{kind}.tflite"
        report = export_tflite(
            pruned,
            path,
            quantization=kind,
            representative_data=representative_data if kind in CALIBRATED else None,
            representative_examples=length(representative_data[0]),
            overwrite=True,
        )
        check = verify_tflite(path, pruned, test_data, metric=metric)
        tflite[kind] = {
            "accuracy": check.accuracy_tflite,
            "agreement": check.agreement,
            "max_error": check.max_error,
            "mean_error": check.mean_error,
            "bytes": report.bytes,
            **({} if check.score_tflite is None else {"score": check.score_tflite}),
        }
    latency = host_latency(files)
    for name, model in (("dense", dense), ("pruned", pruned)):
        figures[name] = {
            **_quality(model, test_data, metric, reward),
            "macs": count_macs(model),
            "params": count_params(model),
            "file_bytes": files[name].stat().st_size,
            "latency_ms": latency[name].median_ms,
        }
    ratio = latency_ratio(latency["pruned"], latency["dense"])
    return {**figures, "tflite": tflite, "latency_ratio": ratio}


def _quality(
    model: Any, data: Data, metric: Metric | None, reward: Reward | None
) -> dict[str, float]:
    found = {"accuracy": accuracy(model, data)} if scores_classes(model) else {}
    if metric is not None:
        found["score"] = measured(model, data, metric)
    elif reward is not None:
        found["score"] = float(reward(model))
    return found


def graph_record(graph: LayerGraph) -> dict[str, Any]:
    """The layer graph as plain values, with the MACs and parameters of each layer call."""
    record = graph.to_dict()
    macs, params = (layer_costs(graph, cost(graph)) for cost in (macs_cost, params_cost))
    seen: set[str] = set()
    for node, row in zip(graph.nodes, record["nodes"], strict=True):
        name = "/".join(node.path)
        first = name not in seen
        seen.add(name)
        row["macs"] = round(macs.get(name, 0)) if first else 0
        row["params"] = round(params.get(name, 0)) if first else 0
    return record
