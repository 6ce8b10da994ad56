"""Reading and cutting beside Torch-Pruning: ResNet-50 and DenseNet-121 at 224, runs alternated.

    python -m benchmarks.peers --environment=runs/torch

The environment is made with `torch==2.13.0` and `torch-pruning` if it is not there. CPU seconds;
Torch-Pruning runs on one thread, and of ours only TensorFlow's own start of layers is threaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

_ENVIRONMENT = flags.DEFINE_string("environment", "runs/torch", "Folder of PyTorch's environment.")
_RUNS = flags.DEFINE_integer("runs", 5, "Runs of each.")
_RESULTS = Path(__file__).parent.parent / "docs" / "results"
MODELS = ("ResNet50", "DenseNet121")


def main(argv: list[str]) -> None:
    """Alternate, print a table, write JSON."""
    if len(argv) > 1:  # a run of ours, in a process of its own
        print(json.dumps(_ours(argv[1])))
        return
    python = _python(Path(_ENVIRONMENT.value))
    here = Path(__file__).parent
    rows = []
    for name in MODELS:
        ours, theirs = [], []
        for _ in range(_RUNS.value):
            ours.append(_run([sys.executable, "-m", "benchmarks.peers", name]))
            theirs.append(_run([str(python), str(here / "torch_models.py"), name]))
        rows.append({"model": name, "ours": _median(ours), "torch_pruning": _median(theirs)})
    (_RESULTS / "peers.json").write_text(json.dumps(rows, indent=1) + "\n")
    text = _table(rows)
    (_RESULTS / "peers.md").write_text(text)
    print(text)


def _ours(name: str) -> dict[str, Any]:
    import tf_keras as keras

    import tfgraphprune as tgp

    model = getattr(keras.applications, name)(weights=None)
    tgp.LayerGraph.from_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
    started = time.process_time()
    graph = tgp.LayerGraph.from_model(model)
    read = time.process_time() - started
    started = time.process_time()
    plan = tgp.PruningPlan.from_keep_ratios(graph, 0.5, "l2")
    importance = time.process_time() - started
    started = time.process_time()
    tgp.prune(model, plan)
    cut = time.process_time() - started
    return {"model": name, "graph": read, "importance": importance, "cut": cut}


def _run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def _python(environment: Path) -> Path:
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        needed = ["torch==2.13.0", "torch-pruning==1.6.1", "numpy", "tqdm"]
        subprocess.run(
            [str(python), "-m", "pip", "install", "-q", "--no-deps", "torch-pruning==1.6.1"],
            check=True,
        )
        subprocess.run([str(python), "-m", "pip", "install", "-q", *needed], check=True)
    return python


def _median(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {
        name: float(np.median([row[name] for row in rows])) for name in rows[0] if name != "model"
    }


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# Beside Torch-Pruning",
        "",
        "`python -m benchmarks.peers`: ResNet-50 and DenseNet-121 at 224x224, half of the",
        "channels by L2 norm; medians of alternated runs, CPU seconds. Torch-Pruning 1.6.1 with",
        "PyTorch 2.13.0 builds a dependency graph, makes a pruner (which builds it again) and cuts",
        "in place; tfgraphprune reads the graph with its groups, ranks, and builds a new model.",
        "",
        "| model | ours: read + groups | importance | cut | all | Torch-Pruning: graph | pruner "
        "| importance + cut | all |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        mine, its = row["ours"], row["torch_pruning"]
        lines.append(
            f"| {row['model']} | {mine['graph']:.2f} | {mine['importance']:.2f} "
            f"| {mine['cut']:.2f} | {sum(mine.values()):.2f} | {its['graph']:.2f} "
            f"| {its['pruner']:.2f} | {its['cut']:.2f} | {sum(its.values()):.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app.run(main)
