"""Pruned == masked on 1,000 random architectures, and how often each kind of layer occurs.

    python benchmarks/random_networks.py --workdir=runs/random_networks

The architectures are those of tests/random_networks.py, one for each seed. Seeds run in processes
of their own, a shard at a time; seeds that are done are kept in the workdir, so the program
resumes (remove the workdir after the library has changed). One seed again, with its layers:

    python benchmarks/random_networks.py --reproduce=123
"""

import collections
import json
import os
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from absl import app, flags

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

FLAGS = flags.FLAGS
flags.DEFINE_integer("models", 1000, "Number of architectures.", lower_bound=1)
flags.DEFINE_integer("first_seed", 0, "Seed of the first one.")
flags.DEFINE_integer("shard", 50, "Architectures for each process.", lower_bound=1)
flags.DEFINE_integer("jobs", 2, "Processes at a time.", lower_bound=1)
flags.DEFINE_string("workdir", "runs/random_networks", "Where finished seeds are kept.")
flags.DEFINE_string("results", "docs/results/random_networks", "Written with .md and .json.")
flags.DEFINE_integer("reproduce", None, "Only check this seed, and show its layers.")
flags.DEFINE_list("only", [], "Only check these seeds, into --into.")
flags.DEFINE_string("into", None, "File of rows, one a line, for --only.")

SHARE = 0.05
"""Every kind must occur in at least this share of the models."""


def row_of(seed):
    """What one seed shows, as plain values; an exception is an error like any other."""
    from tests import random_networks

    row = {"seed": seed, "built": False, "errors": []}
    try:
        network = random_networks.network_of(seed)
        row |= {"built": True, "kinds": {kind: False for kind, _ in network.seen}}
        outcome = random_networks.check(network)
        row |= vars(outcome)
    except Exception as error:
        lines = traceback.format_exc().strip().splitlines()
        row["errors"].append(f"raised {type(error).__name__}: {error}"[:600])
        row["traceback"] = lines[-25:]
    return row


def check_seeds(seeds, path):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tfgraphprune  # before anything that imports TensorFlow  # noqa: F401

    for seed in seeds:
        with path.open("a") as file:
            file.write(json.dumps(row_of(seed)) + "\n")


def rows_in(path):
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["seed"]: row for row in map(json.loads, lines)}


def run_shard(seeds):
    """Rows of some seeds; a process that dies is a failure of the seed that it was at."""
    path = Path(FLAGS.workdir) / f"{seeds[0]:06d}.jsonl"
    while missing := [seed for seed in seeds if seed not in rows_in(path)]:
        command = [sys.executable, __file__, f"--only={','.join(map(str, missing))}"]
        process = subprocess.run([*command, f"--into={path}"], capture_output=True, text=True)
        left = [seed for seed in missing if seed not in rows_in(path)]
        if left:
            error = f"process ended with {process.returncode}: {process.stderr[-600:]}"
            with path.open("a") as file:
                row = {"seed": left[0], "built": False, "errors": [error]}
                file.write(json.dumps(row) + "\n")
    rows = rows_in(path)
    failed = [seed for seed in seeds if rows[seed]["errors"]]
    print(f"seeds {seeds[0]} to {seeds[-1]}: failed {failed or 'none'}", flush=True)
    return [rows[seed] for seed in seeds]


def summary_of(rows):
    from tests.random_networks import CUT
    from tests.random_steps import KINDS

    occurs, cut = collections.Counter(), collections.Counter()
    for row in rows:
        occurs.update(row.get("kinds", {}).keys())
        cut.update(kind for kind, near in row.get("kinds", {}).items() if near)
    checked = [row for row in rows if "outputs" in row]
    raised = [row for row in rows if "outputs" not in row]
    return {
        "models": len(rows),
        "mismatches": sum(bool(row["errors"]) for row in checked),
        "raised": len(raised),
        "outputs": sum(row["outputs"] for row in checked),
        "dead_outputs": sum(row["dead"] for row in checked),
        "mean_cut": sum(row["cut"] for row in checked) / max(1, len(checked)),
        "cut_too_little": sum(row["cut"] < CUT for row in checked),
        "macs_unknown": sum(not row["macs"] for row in checked),
        "kinds": {kind: {"models": occurs[kind], "cut": cut[kind]} for kind in KINDS},
        "failures": [
            {"seed": row["seed"], "errors": row["errors"], "traceback": row.get("traceback", [])}
            for row in rows
            if row["errors"]
        ],
    }


def page_of(summary):
    n = summary["models"]
    lines = [
        "# Random networks: pruned against masked",
        "",
        "```",
        f"python benchmarks/random_networks.py --models={n}",
        "```",
        "",
        f"{n} random architectures, random weights, random plans that cut "
        f"{summary['mean_cut']:.0%} of the prunable channels on average. Every output of the "
        "pruned model must equal the masked model's to 1e-4 standard deviations, and parameters "
        "and MACs counted on it must be those that the cost functions predict.",
        "",
        "| | |",
        "|---|---|",
        f"| mismatches | {summary['mismatches']} |",
        f"| exceptions | {summary['raised']} |",
        f"| outputs left out, as they are constant | {summary['dead_outputs']} of "
        f"{summary['outputs']} |",
        f"| models of which less than 30% could be cut | {summary['cut_too_little']} |",
        f"| models whose MACs are unknown | {summary['macs_unknown']} |",
        f"| rarest kind occurs in | {min(k['models'] for k in summary['kinds'].values()) / n:.1%} "
        "of the models |",
        "",
        "`cut` is the share of a kind's models in which some channel next to the layer is cut, in "
        "a tensor that it reads or makes or in its weights; the others are frozen there, or were "
        "kept by chance.",
        "",
        "| kind | models | cut |",
        "|---|---|---|",
    ]
    for kind, count in summary["kinds"].items():
        share = count["cut"] / count["models"] if count["models"] else 0.0
        lines.append(f"| {kind} | {count['models'] / n:.1%} | {share:.0%} |")
    if summary["failures"]:
        lines += ["", "Failing seeds:", ""]
        lines += [f"- {f['seed']}: {' '.join(f['errors'][0].split())}" for f in summary["failures"]]
    return "\n".join(lines) + "\n"


def reproduce(seed):
    import tfgraphprune as tgp
    from tests import random_networks

    network = random_networks.network_of(seed)
    graph = tgp.LayerGraph.from_model(network.model)
    for node in graph.nodes:
        print(node.name, node.type, *node.inputs, node.shape, *node.groups, sep="  ")
    print(graph)
    print(json.dumps(vars(random_networks.check(network)), indent=1))


def main(_):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if FLAGS.reproduce is not None:
        return reproduce(FLAGS.reproduce)
    if FLAGS.only:
        return check_seeds(map(int, FLAGS.only), Path(FLAGS.into))
    Path(FLAGS.workdir).mkdir(parents=True, exist_ok=True)
    seeds = list(range(FLAGS.first_seed, FLAGS.first_seed + FLAGS.models))
    shards = [seeds[i : i + FLAGS.shard] for i in range(0, len(seeds), FLAGS.shard)]
    with ThreadPoolExecutor(FLAGS.jobs) as pool:
        rows = [row for part in pool.map(run_shard, shards) for row in part]
    summary = summary_of(rows)
    page = page_of(summary)
    print(page)
    rare = [k for k, c in summary["kinds"].items() if c["models"] < SHARE * len(rows)]
    print(f"kinds in fewer than {SHARE:.0%} of the models: {', '.join(rare) or 'none'}")
    results = Path(FLAGS.results)
    results.parent.mkdir(parents=True, exist_ok=True)
    results.with_suffix(".md").write_text(page)
    results.with_suffix(".json").write_text(json.dumps(summary, indent=1) + "\n")
    return int(bool(summary["failures"]))


if __name__ == "__main__":
    app.run(main)
