"""Latency of pruned networks on this machine: by a budget of MACs, channel multiples, latency.

    python -m benchmarks.latency --workdir=runs/latency

One thread, float32, LiteRT with XNNPACK; pruned and dense files take turns run by run. Plans are
uniform in score or, where so named, those of the agent `capacity`, with random weights: what is
measured is the device, not the accuracy. Plans for a latency are measured and corrected first, as
in a run of `compress`; the figures in the table are measured anew after that. Every cell is a
process of its own; --only names cells by patterns, --norun only writes the report.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import app

from benchmarks.cells import main, read, workdir

NETWORKS = {
    "MobileNetV2_96": ("MobileNetV2", 96), "MobileNetV2_224": ("MobileNetV2", 224),
    "resnet56": ("resnet56", 32), "ResNet50": ("ResNet50", 224),
    "EfficientNetB0": ("EfficientNetB0", 224), "DenseNet121": ("DenseNet121", 224),
}  # fmt: skip
PLANS: dict[str, tuple[dict[str, float], int]] = {
    "macs": ({"macs_ratio": 0.5}, 1),
    "multiples of 8": ({"macs_ratio": 0.5}, 8),
    "multiples of 16": ({"macs_ratio": 0.5}, 16),
    "latency 0.6": ({"latency_ratio": 0.6}, 1),
    "macs and latency": ({"macs_ratio": 0.5, "latency_ratio": 0.6}, 1),
    "macs of the former": ({}, 1),
    "latency 0.6 by capacity": ({"latency_ratio": 0.6}, 8),
    "macs and latency by capacity": ({"macs_ratio": 0.5, "latency_ratio": 0.6}, 8),
}
"""Budgets and channel multiples; 1 leaves them to the device's steps where latency is limited."""

_LOADS = 7
"""Times that both files are loaded anew: where tensors come to lie makes a difference."""


_TWICE = ("MobileNetV2_96", "MobileNetV2_224", "resnet56")
"""Networks for which MACs and latency are limited together too."""


def cells() -> list[str]:
    """Names of all cells."""
    return [
        f"{network}/{plan}" for network in NETWORKS for plan in PLANS
        if network in _TWICE or not plan.startswith(("macs and", "macs of"))
    ]  # fmt: skip


def compute(name: str) -> dict[str, Any]:
    """A cell's figures."""
    import numpy as np
    import tf_keras as keras

    import tfgraphprune as tgp
    from tfgraphprune.cost import resolve_limits
    from tfgraphprune.cost.projection import Projection
    from tfgraphprune.latency_model import settle
    from tfgraphprune.models import network_by_name
    from tfgraphprune.search.rivals.capacity import capacity_counts
    from tfgraphprune.tflite.clocks import clocks
    from tfgraphprune.tflite.latency import latency_ratio

    network, plan = name.split("/")
    kind, size = NETWORKS[network]
    keras.utils.set_random_seed(0)
    if hasattr(keras.applications, kind):
        model = getattr(keras.applications, kind)(input_shape=(size, size, 3), weights=None)
    else:
        model = network_by_name(kind, 10, (size, size, 3))
    limits_given, multiple = PLANS[plan]
    if not limits_given:
        former = read(f"{network}/macs and latency")
        if former is None:
            raise tgp.UserError(
                f"{name!r} needs the cell {network}/macs and latency: run it first."
            )
        limits_given = {"macs_ratio": former["macs"]}
    graph = tgp.LayerGraph.from_model(model, channel_multiple=multiple)
    table = str(workdir() / "latency.json")
    budget = tgp.Budget(**limits_given, latency_table=table)  # type: ignore[arg-type]
    started = time.perf_counter()
    latency = None
    if budget.limits_latency:  # the device's steps are in the fit, whichever the plan keeps to
        latency = tgp.measure_latency(tgp.LayerGraph.from_model(model), budget)
    measuring = time.perf_counter() - started
    graph = latency.stepped(graph) if latency else graph
    cost, dense = (latency.cost, latency.dense_ms) if latency else (None, None)
    limits = resolve_limits(budget, graph, latency=cost, dense_ms=dense)
    try:
        projection = Projection.of(graph, limits)
    except tgp.UserError as error:
        return {"refused": str(error)}
    scores = np.zeros(len(graph.prunable_groups))
    if plan.endswith("capacity"):
        counts = capacity_counts(graph, projection)
        scores = projection.scores_of(counts, 0.0, scores, exact=True)
    counts, _ = projection.project(scores)
    kept = dict(zip([g.name for g in graph.prunable_groups], map(int, counts), strict=True))
    pruning = tgp.PruningPlan.from_counts(graph, kept)
    first = None
    if latency:
        first = float(latency.cost(counts)) / latency.dense_ms
        pruning, _ = settle(graph, pruning, budget, limits, tgp.Search())
    small = tgp.prune(model, pruning)
    folder = workdir() / "files"
    folder.mkdir(parents=True, exist_ok=True)
    paths, seconds = {}, 0.0
    for key, each in (("dense", model), ("pruned", small)):
        paths[key] = folder / f"{name.replace('/', '_')}_{key}.tflite"
        seconds = tgp.export_tflite(each, paths[key], overwrite=True).seconds
    clock = clocks(budget).networks
    found = [clock(paths) for _ in range(_LOADS)]
    ratios = [latency_ratio(each["pruned"], each["dense"]) for each in found]
    return {
        "macs": tgp.count_macs(small) / tgp.count_macs(model),
        "latency": float(np.median(ratios)),
        "ratios": ratios,
        "dense_ms": float(np.median([each["dense"].median_ms for each in found])),
        "estimate": first,
        "error": latency.error if latency else None,
        "steps": dict(latency.steps) if latency else None,
        "measuring_seconds": measuring,
        "export_seconds": seconds,
    }


def write(rows: Mapping[str, Any], folder: Path) -> str:
    """Write latency.md and latency.json; returns the text."""
    lines = [
        "# Latency: x86 host, no phone", "",
        "Made by `python -m benchmarks.latency` (see there). One thread, float32, XNNPACK; ratios",
        "of pruned to dense, medians of runs that took turns. Efficiency: MACs saved against time",
        "saved, above 1 where time falls by more than MACs. Estimate: what the latency model said",
        "of the plan; error: its largest on a measured network that was left out of the fit. Where",
        "the same dense network takes longer than in other rows, other work ran beside it.", "",
        "| network | plan | MACs | latency | latency / MACs | efficiency | estimate | error | "
        "dense ms | measuring s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, row in rows.items():
        network, plan = name.split("/")
        if row is None:
            lines.append(f"| {network} | {plan} | not run | | | | | | | |")
            continue
        if "refused" in row:
            lines.append(f"| {network} | {plan} | can't be met | | | | | | | |")
            continue
        saved = (1 - row["latency"]) / max(1e-9, 1 - row["macs"])
        estimate = "" if row["estimate"] is None else f"{row['estimate']:.3f}"
        error = "" if row["error"] is None else f"{row['error']:.1%}"
        lines.append(
            f"| {network} | {plan} | {row['macs']:.3f} | {row['latency']:.3f} | "
            f"{row['latency'] / row['macs']:.2f} | {saved:.2f} | {estimate} | {error} | "
            f"{row['dense_ms']:.2f} | {row['measuring_seconds']:.0f} |"
        )
    missing = [name for name, row in rows.items() if row is None]
    if missing:
        lines += ["", "Cells that were not run: " + ", ".join(missing)]
    text = "\n".join([*lines, ""])
    (folder / "latency.md").write_text(text)
    (folder / "latency.json").write_text(json.dumps(rows, indent=1) + "\n")
    return text


if __name__ == "__main__":
    app.run(lambda argv: main("benchmarks.latency", cells(), compute, write))
