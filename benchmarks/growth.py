"""How reading and cutting grow with the number of layers, in the zoo's own table.

python -m benchmarks.growth
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import numpy as np
from absl import app

_RESULTS = Path(__file__).parent.parent / "docs" / "results"
_FAMILY = "applications/ResNetRS"


def main(argv: list[str]) -> None:
    """Print a table of the ResNet-RS family, and plot all of `tf_keras.applications`."""
    del argv
    rows = json.loads((_RESULTS / "zoo.json").read_text())
    rows = [r for r in rows if r["model"].startswith("applications/") and "failed" not in r]
    family = [row for row in rows if row["model"].startswith(_FAMILY)]
    print("| model | layer calls | read s | cut s | ms a layer |\n|---|---|---|---|---|")
    for row in sorted(family, key=lambda row: row["layers"]):
        whole = row["read_seconds"] + row["cut_seconds"]
        print(
            f"| {row['model'].split('/')[1]} | {row['layers']} | {row['read_seconds']:.2f} "
            f"| {row['cut_seconds']:.2f} | {1000 * whole / row['layers']:.1f} |"
        )
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for rows_of, marker, alpha, say in (
        ([r for r in rows if r not in family], "o", 0.4, "other applications"),
        (family, "s", 1.0, "ResNet-RS 50 to 420"),
    ):
        layers = np.array([row["layers"] for row in rows_of])
        for what, colour in (("read", "tab:blue"), ("cut", "tab:orange")):
            seconds = [row[f"{what}_seconds"] for row in rows_of]
            axes.scatter(
                layers, seconds, 18, colour, marker=marker, alpha=alpha, label=f"{what}: {say}"
            )
    axes.set(xlabel="layer calls", ylabel="CPU seconds", xscale="log", yscale="log")
    axes.plot([100, 2000], [0.6, 12], "k:", linewidth=1, label="linear growth")
    axes.legend(fontsize=8)
    figure.savefig(_RESULTS / "growth.svg")
    pyplot.close(figure)


if __name__ == "__main__":
    app.run(main)
