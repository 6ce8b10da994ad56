"""One model of the zoo: read, cut in three ways, checked and measured, in a process of its own."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from benchmarks.zoo_counts import formula_macs, profiler_knows, profiler_macs
from benchmarks.zoo_models import zoo
from benchmarks.zoo_training import trains
from tfgraphprune.cost import Projection, dense_counts, macs_cost, params_cost, resolve_limits
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning.masking import Silencer

IMAGES = 8
_NEAR = 1e-4
"""Errors above this are looked at in float64, which tells rounding from a wrong network."""

OUTPUT = "output of the model"


def measure(name: str) -> dict[str, Any]:
    """A row of the table."""
    model = zoo()[name]()
    shape = tuple(model.inputs[0].shape[1:])
    random = np.random.default_rng(0)
    # As images are, of 8 bits; networks that do not rescale get what they would be given.
    images = random.uniform(0, 255, (IMAGES, *shape)).astype("float32")
    if not any(type(layer).__name__ == "Rescaling" for layer in model._flatten_layers()):
        images = images / 127.5 - 1
    randomise(model, images)
    reading = _Clock()
    graph = LayerGraph.from_model(model)
    read = reading.seconds("read")
    row: dict[str, Any] = {
        "model": name,
        "input": list(shape),
        "layers": len(graph.nodes),
        "groups": len(graph.prunable_groups),
        **free_share(graph),
        "params": model.count_params(),
        **read,
    }
    macs, params = macs_cost(graph), params_cost(graph)
    dense = dense_counts(graph)
    row["macs"] = round(float(macs(dense)))
    row["counts_differ"] = []
    products = any(weight.weight < 0 for weight in graph.weights)
    _compare(row, "dense params", round(float(params(dense))), _params(model))
    _compare(row, "dense MACs by formula", _of_kernels(graph, dense), formula_macs(model))
    if not products and profiler_knows(model):
        _compare(row, "dense MACs by profiler", row["macs"], profiler_macs(model))
    ranking = _Clock()
    tgp.PruningPlan.from_keep_ratios(graph, 0.5, "l2")
    row |= ranking.seconds("importance")
    expected = [_outputs(model, images[:2])]
    row["errors"] = {}
    plans = _plans(graph, random)
    silencer = Silencer(graph)  # what `masked` makes, once for all plans
    for kind, plan in plans.items():
        cutting = _Clock()
        small = tgp.prune(model, plan)
        row |= cutting.seconds("cut")
        silencer.apply(plan.kept)
        got, wanted = _outputs(small, images[:2]), _outputs(silencer.model, images[:2])
        row["errors"][kind] = _error(wanted, got)
        counts = plan.counts(graph)
        _compare(row, f"{kind}: params", round(float(params(counts))), _params(small))
        by_hand = formula_macs(small)
        _compare(row, f"{kind}: MACs by formula", _of_kernels(graph, counts), by_hand)
        if kind == "half of each group":
            row["macs_after"] = round(float(macs(counts)))
            row["params_after"] = _params(small)
            row["changed"] = _error(expected[0], got)
            if not products and profiler_knows(small):
                counted = profiler_macs(small)
                _compare(row, f"{kind}: MACs by profiler", row["macs_after"], counted)
            # Before the step, so that what a step does to the outputs can't be mistaken for it.
            row["loads"] = _loads(small, images[:2]) or _reason(model)
            half = small
    row["max_error"] = max(row["errors"].values())
    if row["max_error"] > _NEAR:
        row["max_error_float64"] = _error_in_float64(model, plans, images[:2])
    row["trains"] = trains(half, model, images[:2])
    row["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return row


def randomise(model: Any, images: np.ndarray) -> None:
    """Weights as training may leave them; BatchNorm's statistics are near those of the images."""
    random = np.random.default_rng(1)
    for layer in model._flatten_layers():
        # Its own ones: a layer may have weights and layers, such as its activation.
        for variable in layer._trainable_weights + layer._non_trainable_weights:
            if not variable.dtype.is_floating:
                continue
            kind, shape = variable.name.split("/")[-1].split(":")[0], tuple(variable.shape)
            if kind in ("moving_variance", "variance"):
                value = random.uniform(0.5, 2, shape)
            elif kind == "gamma":
                value = random.uniform(0.5, 1.5, shape) * random.choice([-1, 1], shape)
            elif len(shape) <= 1:
                value = random.uniform(0.1, 0.6, shape) * random.choice([-1, 1], shape)
            else:
                receptive = shape[:-2] if kind.startswith("depthwise") else shape[:-1]
                value = random.normal(0, np.sqrt(2 / np.prod(receptive)), shape)
            variable.assign(value)
    tgp.reestimate_batchnorm(model, (images, np.zeros(len(images))))
    for layer in model._flatten_layers():
        if hasattr(layer, "moving_variance"):
            factor = random.uniform(0.7, 1.4, layer.moving_variance.shape)
            layer.moving_variance.assign(layer.moving_variance * factor + 1e-3)


class _Clock:
    """Wall and CPU time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def seconds(self, what: str) -> dict[str, float]:
        """Both, as entries of a row."""
        return {
            f"{what}_seconds": time.process_time() - self._cpu,
            f"{what}_wall_seconds": time.perf_counter() - self._wall,
        }


def _plans(graph: LayerGraph, random: np.random.Generator) -> dict[str, tgp.PruningPlan]:
    def drawn(share: Any) -> tgp.PruningPlan:
        kept = {
            g.name: random.permutation(g.size)[: max(1, round(share() * g.size))].tolist()
            for g in graph.prunable_groups
        }
        return tgp.PruningPlan.from_indices(graph, kept)

    if not graph.prunable_groups:
        return {"half of each group": drawn(lambda: 0.5)}
    limits = resolve_limits(tgp.Budget(macs_ratio=0.5), graph)
    projection = Projection.of(graph, limits, 0.05)
    counts, _ = projection.project(np.zeros(len(graph.prunable_groups)))
    named = dict(zip([g.name for g in graph.prunable_groups], counts.tolist(), strict=True))
    return {
        "half of each group": drawn(lambda: 0.5),
        "half of the MACs": tgp.PruningPlan.from_counts(graph, named),
        "random widths": drawn(lambda: random.uniform(0.1, 1)),
    }


def free_share(graph: LayerGraph) -> dict[str, Any]:
    """The share of convolution and dense output channels that may be cut, and why others not."""
    free = total = 0
    reasons: dict[str, int] = {}
    for group in graph.channel_groups:
        for axis in group.axes:
            if axis.role != "out" or axis.weight < 0 or len(graph.variable(axis).shape) < 2:
                continue
            if group.reason == OUTPUT:
                continue
            size = int(axis.positions.size)
            total += size
            free += size * group.prunable
            if not group.prunable:
                reasons[group.reason] = reasons.get(group.reason, 0) + size
    return {"free_share": free / total if total else 0.0, "frozen": reasons}


def _outputs(model: Any, x: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(t) for t in tf.nest.flatten(model(x, training=False))]


def _error(wanted: list[np.ndarray], got: list[np.ndarray]) -> float:
    """The largest difference, in standard deviations of the output."""
    assert [a.shape for a in wanted] == [b.shape for b in got]
    assert all(np.isfinite(a).all() for a in [*wanted, *got])
    return max(
        float(np.abs(a - b).max() / (a.std() + 1e-12)) for a, b in zip(wanted, got, strict=True)
    )


def _error_in_float64(model: Any, plans: dict[str, tgp.PruningPlan], x: np.ndarray) -> float:
    """The largest error over the plans of the same model in double precision."""

    def wide(layer: Any) -> Any:
        return type(layer).from_config({**layer.get_config(), "dtype": "float64"})

    keras.backend.set_floatx("float64")
    copy = keras.models.clone_model(model, clone_function=wide)
    copy.set_weights(model.get_weights())
    graph, errors = LayerGraph.from_model(copy), []
    for plan in plans.values():
        same = tgp.PruningPlan.from_indices(graph, plan.kept)
        models = tgp.masked(copy, same), tgp.prune(copy, same)
        errors.append(_error(*(_outputs(m, x.astype("float64")) for m in models)))
    return max(errors)


def _params(model: Any) -> int:
    return int(sum(np.prod(weight.shape) for weight in model.weights))


def _of_kernels(graph: LayerGraph, counts: np.ndarray) -> int:
    """MACs by the library without the products of activations, which a formula can't see."""
    values = macs_cost(graph).by_weight(counts)
    pairs = zip(graph.weights, values, strict=True)
    return round(sum(float(value) for weight, value in pairs if weight.weight >= 0))


def _compare(row: dict[str, Any], what: str, ours: int, theirs: int) -> None:
    if ours != theirs:
        row["counts_differ"].append(f"{what}: {ours} against {theirs}")


def _loads(model: Any, x: np.ndarray) -> bool:
    """The file gives the same model; a task is saved as the network in it."""
    plain = keras.Model(model._nested_inputs, model._nested_outputs, name=model.name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        plain.save(path)
        try:
            loaded = keras.models.load_model(path, compile=False)
        except Exception:
            return False
    return all(
        np.array_equal(a, b) for a, b in zip(_outputs(model, x), _outputs(loaded, x), strict=True)
    )


def _reason(dense: Any) -> bool | str:
    """Why a pruned model can't be loaded: where the dense one can't be either, that."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        dense.save(path)
        try:
            keras.models.load_model(path, compile=False)
        except Exception as error:
            return f"tf_keras can't load the dense model either ({type(error).__name__}: {error})"
    return False


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
