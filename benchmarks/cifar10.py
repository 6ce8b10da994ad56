"""CIFAR-10, ResNet-20, half of the MACs: SAC against uniform and random after equal fine-tuning.

    python benchmarks/cifar10.py --data_dir=FOLDER --weights=resnet20_cifar10_adapted.npz \
        --workdir=runs/cifar10 --json=docs/results/cifar10.json

Each seed is one run of `tfgraphprune compress`; rivals' plans are then cut and fine-tuned like
SAC's, with the same seeds. Cells that are done are kept in the workdir, so the program resumes.
"""

import json
import statistics
from pathlib import Path

from absl import app, flags

import tfgraphprune as tgp
from tfgraphprune.cli.config_flag import load_config

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Folder of TensorFlow Datasets.", required=True)
flags.DEFINE_string("weights", None, "Weights of the dense ResNet-20.", required=True)
flags.DEFINE_string("workdir", "runs/cifar10", "Where runs and finished cells are kept.")
flags.DEFINE_string("json", "docs/results/cifar10.json", "File for the figures.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of SAC and of the fine-tuning.")

RIVAL_SEED = 0
"""Random search runs under this seed only; its best plan is fine-tuned under it too."""


def compress(seed):
    from tfgraphprune.experiment import run

    config = _config(seed)
    config.search.rivals = ("uniform", "random") if seed == RIVAL_SEED else ("uniform",)
    return run(config, Path(FLAGS.workdir) / f"sac_seed{seed}")


def rival(name, counts, seed):
    """Cut by a rival's plan and fine-tune as the pipeline does; test accuracy."""
    from tfgraphprune.batches import sample
    from tfgraphprune.experiment import build_model, load_splits, settings_of
    from tfgraphprune.pruning.criteria import l2
    from tfgraphprune.pruning.plan import most_important
    from tfgraphprune.shipping import accuracy
    from tfgraphprune.training.recovery import recover

    config = _config(seed)
    splits = load_splits(config.data)
    model = build_model(config.model, splits)
    graph = tgp.LayerGraph.from_model(model)
    importance = l2(graph)
    groups = graph.prunable_groups
    kept = {
        g.name: most_important(importance[g.name], n) for g, n in zip(groups, counts, strict=True)
    }
    plan = tgp.PruningPlan.from_indices(graph, kept)
    small = recover(
        graph,
        plan,
        settings_of(config)[2],
        splits.train,
        sample(splits.train, config.search.calibration_examples, seed),
        seed=seed,
        checkpoint_dir=Path(FLAGS.workdir) / "rivals" / f"{name}_seed{seed}",
    ).model
    ratio = tgp.count_macs(small) / tgp.count_macs(model)
    return {"test": accuracy(small, splits.test), "macs_ratio": ratio}


def cell(name, work):
    """The stored figures of a finished cell, or those that `work()` gives, stored."""
    path = Path(FLAGS.workdir) / "cells" / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text())
    figures = work()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1))
    print(f"{name}: {figures}", flush=True)
    return figures


def main(_):
    seeds = [int(seed) for seed in FLAGS.seeds]
    table = {}
    best = {}
    for seed in seeds:
        metrics, plans = cell(f"sac_{seed}", lambda seed=seed: _sac(seed))
        table[f"sac seed {seed}"] = metrics
        best.update(plans)
    for seed in seeds:
        table[f"uniform seed {seed}"] = cell(
            f"uniform_{seed}", lambda seed=seed: rival("uniform", best["uniform"], seed)
        )
    table[f"random seed {RIVAL_SEED}"] = cell(
        f"random_{RIVAL_SEED}", lambda: rival("random", best["random"], RIVAL_SEED)
    )
    _print(table, seeds)
    Path(FLAGS.json).write_text(json.dumps(table, indent=1) + "\n")


def _sac(seed):
    result = compress(seed)
    plans = {}
    for row in result.history["search"]:
        if row["method"] != "sac" and row["reward"] == row["best_reward"]:
            plans[row["method"]] = row["counts"]
    metrics = result.metrics
    figures = {
        "test": metrics["pruned"]["accuracy"],
        "macs_ratio": metrics["pruned"]["macs"] / metrics["dense"]["macs"],
        **metrics,
    }
    return figures, plans


def _config(seed):
    config = load_config("cifar10")
    config.seed = seed
    config.data.dir = FLAGS.data_dir
    config.data.download = False
    config.model.weights = FLAGS.weights
    return config


def _print(table, seeds):
    dense = table[f"sac seed {seeds[0]}"]["dense"]["accuracy"]
    print(f"dense {dense:.2%}")
    for name, row in table.items():
        extra = ""
        if "tflite" in row:
            extra = "  " + "  ".join(
                f"{kind} {check['accuracy']:.2%} (agrees {check['agreement']:.2%}, "
                f"max error {check['max_error']:.1e})"
                for kind, check in row["tflite"].items()
            )
        print(f"{name:<16} {row['test']:.2%}  MACs {row['macs_ratio']:.4f}{extra}")
    for name in ("sac", "uniform"):
        mean = statistics.mean(table[f"{name} seed {seed}"]["test"] for seed in seeds)
        print(f"mean {name} {mean:.2%}")


if __name__ == "__main__":
    app.run(main)
