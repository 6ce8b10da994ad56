"""How reading and cutting grow with the number of layers: the ResNet-RS family.

python -m benchmarks.growth
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import matplotlib
import tf_keras as keras
from absl import app, flags

import tfgraphprune as tgp

_INPUT = flags.DEFINE_integer("input", 64, "Height and width of the input.")
_RESULTS = Path(__file__).parent.parent / "docs" / "results"
DEPTHS = (50, 101, 152, 200, 270, 350, 420)


def main(argv: list[str]) -> None:
    """Measure, print a table, write JSON and a plot."""
    del argv
    rows = [_row(depth) for depth in DEPTHS]
    print("| layers | read s | plan and cut s | all, ms a layer |\n|---|---|---|---|")
    for row in rows:
        whole = row["read_seconds"] + row["cut_seconds"]
        print(
            f"| {row['layers']} | {row['read_seconds']:.2f} | {row['cut_seconds']:.2f} "
            f"| {1000 * whole / row['layers']:.2f} |"
        )
    (_RESULTS / "growth.json").write_text(json.dumps(rows, indent=1) + "\n")
    _plot(rows, _RESULTS / "growth.svg")


def _row(depth: int) -> dict[str, Any]:
    keras.backend.clear_session()
    build = getattr(keras.applications, f"ResNetRS{depth}")
    model = build(weights=None, input_shape=(_INPUT.value, _INPUT.value, 3))
    read = []
    for _ in range(3):
        started = time.process_time()
        graph = tgp.LayerGraph.from_model(model)
        read.append(time.process_time() - started)
    started = time.process_time()
    tgp.prune(model, tgp.PruningPlan.from_keep_ratios(graph, 0.5, "l2"))
    return {
        "model": f"ResNetRS{depth}",
        "layers": len(graph.nodes),
        "read_seconds": sorted(read)[1],
        "cut_seconds": time.process_time() - started,
    }


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    layers = [row["layers"] for row in rows]
    figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
    axes.plot(layers, [r["read_seconds"] for r in rows], "o-", label="read and group")
    axes.plot(layers, [r["cut_seconds"] for r in rows], "s-", label="importance, plan and cut")
    axes.set(
        xlabel="layer calls", ylabel="CPU seconds", title="ResNet-RS 50 to 420", xlim=0, ylim=0
    )
    axes.legend()
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    app.run(main)
