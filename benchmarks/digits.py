"""Digits, half of the MACs: the main job for several seeds, and both recoveries on its plans.

    python benchmarks/digits.py --workdir=runs/digits_seeds --json=docs/results/digits.json

One-shot and gradual recovery start from the same dense network and the same plan, with the same
number of epochs; the better on the reward set is the default, the test figures are for the record.
"""

import json
import statistics
from pathlib import Path

from absl import app, flags

from tfgraphprune.batches import sample
from tfgraphprune.cli.config_flag import load_config
from tfgraphprune.experiment import load_splits, run, settings_of
from tfgraphprune.settings import FineTune
from tfgraphprune.shipping import accuracy
from tfgraphprune.training.recovery import recover

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", "runs/digits_seeds", "Where the runs are kept.")
flags.DEFINE_string("json", "docs/results/digits.json", "File for the figures.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.")


def measure(seed):
    config = load_config("digits")
    config.seed = seed
    result = run(config, Path(FLAGS.workdir) / f"seed{seed}")
    splits = load_splits(config.data)
    metrics = result.metrics
    row = {
        "dense": metrics["dense"]["accuracy"],
        "macs_ratio": metrics["pruned"]["macs"] / metrics["dense"]["macs"],
        "int8": metrics["tflite"]["int8"]["accuracy"],
        "int8_agreement": metrics["tflite"]["int8"]["agreement"],
        "float32_max_error": metrics["tflite"]["float32"]["max_error"],
        "search": {name: method["best_reward"] for name, method in metrics["search"].items()},
    }
    base = settings_of(config)[2]
    for recovery in ("one_shot", "gradual"):
        small = result.model
        if recovery != base.recovery:
            changed = {**vars(base), "recovery": recovery}
            small = recover(
                result.graph,
                result.plan,
                FineTune(**changed),
                splits.train,
                sample(splits.train, config.search.calibration_examples, seed),
                seed=seed,
            ).model
        row[recovery] = accuracy(small, splits.test)
        row[f"{recovery}_reward"] = accuracy(small, splits.reward)
    return row


def main(_):
    rows = {seed: measure(int(seed)) for seed in FLAGS.seeds}
    print("seed   dense  one-shot  gradual    int8  agreement  float32 error  MACs")
    for seed, r in rows.items():
        print(
            f"{seed:<5} {r['dense']:.2%}    {r['one_shot']:.2%}   {r['gradual']:.2%}  "
            f"{r['int8']:.2%}     {r['int8_agreement']:.2%}        {r['float32_max_error']:.1e}  "
            f"{r['macs_ratio']:.4f}"
        )
    for name in ("dense", "one_shot", "gradual", "one_shot_reward", "gradual_reward", "int8"):
        print(f"mean {name}: {statistics.mean(r[name] for r in rows.values()):.2%}")
    for name in ("one_shot", "gradual"):
        print(f"worst drop {name}: {max(r['dense'] - r[name] for r in rows.values()):.2%}")
    Path(FLAGS.json).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
