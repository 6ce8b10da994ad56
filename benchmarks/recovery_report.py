"""The tables and the curve of benchmarks/recovery.py."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.recovery_protocol import (
    CURVE,
    DENSE_EPOCHS,
    FAMILIES,
    FAMILY_EPOCHS,
    LONG,
    LOW,
    PLANS,
    RECOVERIES,
    SEEDS,
)

Rows = Mapping[str, Any]

READING = """\
## What the tables say

- Half of ResNet-20, after 5 epochs, two seeds: cutting at once and learning from the dense network
  loses 1.06 points on average, with averaged weights 1.12, after least squares 1.16, without that
  teacher 1.97; with uniform widths in the place of SAC's plan 2.04, 2.15, 2.32 and 3.12. So the
  plan is worth 0.9 to 1.4 points, and the teacher 0.8 to 1.1, in each of the pairs; averaging and
  least squares before the training are worth nothing after a few epochs. Where there is no time to
  train, least squares give back most of what was lost (the last table but one).
- *refill* chooses the channels by the single weights that survive tfmot's pruning, for as wide a
  network: 1.91 below on SAC's widths and 3.40 on uniform ones, for 1.6 times the compute of cutting
  at once by norms.
- Channels that go one after another by tfmot's schedule (*gradual*) end 1.22 below on SAC's widths
  and 2.11 on uniform ones, nearly as close as cutting at once, for twice the compute, as the
  network keeps its whole shape until the end. Soft filter pruning is 1.54 below on SAC's widths and
  2.60 on uniform ones, with two of the five epochs after the cut. Both were 2 to 21 points lower in
  earlier versions, by faults that these tables showed: statistics of BatchNorm that were estimated
  again on 512 images after the training, and zeroed filters whose gradients BatchNorm made 300
  times too large.
- Random weights have not come far after as many epochs (9.54 and 10.67 below), nor after as much
  compute (6.16 and 7.28), with the dense network as teacher, which the paper does not have. Papers
  train for hundreds of epochs; these rows say what a few of them are worth.
- More epochs close the gap, from 1.84 points after one to 0.50 after 20 (one seed).
- At 0.3 of the MACs, after 10 epochs, cutting at once by SAC's plan is 0.99 points above uniform
  widths (85.66% and 84.67%); by an earlier plan of the same seed, whose reward was 0.378 rather
  than 0.342, it was 1.47 above them (86.14%): 1.23 on average. With averaged weights this plan is
  1.10 above uniform widths that were trained without, after least squares 0.39; random weights stay
  4.00 below them. One seed each.
- Half of ResNet-56, by the shipped policy's plan without any search, is 0.28 points below the
  dense network after three epochs (89.65% and 89.93%; the paper claims +0.10 after 200).
- Network families, which were trained for 5 epochs only: after two more on half of the MACs they
  are 2.6 to 7.1 points below dense networks that were trained for these two. The shipped policy's
  plans, made without a search, are above uniform widths by 0.2 to 0.7 on MobileNets and
  ShuffleNets, and 0.7 below on VGG: with one seed each, no more than a tendency.
"""


def write(rows: Rows, folder: Path) -> str:
    """Write recovery.md, recovery.json and recovery.svg; returns the text."""
    lines = [
        "# Recovery on CIFAR-10",
        "",
        "Made by `python -m benchmarks.recovery` (see there for the protocol). Test accuracy in",
        "percent, mean over the seeds that were run of those named beforehand (0, 1), with each;",
        "*drop* is against the dense network trained for as many epochs more on the same images.",
        "Compute: forward and backward passes in epochs of the dense network, teachers left out.",
        "Images are JPEG copies; batch 128, SGD, crops and flips; x86 CPUs with 2 cores. In",
        "mixed_bfloat16, but for MobileNets, ShuffleNets, *gradual* and *refill* (tfmot's",
        "wrappers know no other). Seconds are those of one core, with another cell beside it, and",
        "tests now and then; none where the run was halted in between. SAC's plans are in `plans/`",
        "(rewards 0.682 and 0.679 at 50%, 0.342 at 30%); † marks rows with a plan of an earlier",
        "version, which is lost (of reward 0.690). *refill* broke ties by index in rows of seed 0,",
        "and by the plan now. The dense weights are public ones, trained on: cifar10.md.",
        "",
    ]
    lines += _table(
        rows, "ResNet-20 at 50% of MACs, 5 epochs", 5, 0.5,
        [(name, plan) for name in RECOVERIES for plan in PLANS],
    )  # fmt: skip
    lines += _table(rows, "ResNet-20 at 50% of MACs, 10 epochs", 10, 0.5, [("one_shot", "sac")])
    lines += _table(rows, "ResNet-20 at 30% of MACs, 10 epochs", 10, 0.3, LOW)
    lines += _curve_table(rows) + _families(rows) + _least_squares(rows) + _int8(rows)
    lines += [*READING.splitlines(), ""]
    missing = [name for name, row in rows.items() if row is None]
    if missing:
        lines += ["## Cells that were not run", "", ", ".join(missing), ""]
    text = "\n".join(lines)
    (folder / "recovery.md").write_text(text)
    (folder / "recovery.json").write_text(json.dumps(rows, indent=1) + "\n")
    _figure(rows).savefig(folder / "recovery.svg", metadata={"Date": None})
    return text


def _table(
    rows: Rows, title: str, epochs: int, ratio: float, pairs: Sequence[tuple[str, str]]
) -> list[str]:
    lines = [
        f"## {title}", "",
        "| recovery | plan | test | drop | MACs | epochs | compute | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, plan in pairs:
        found, drops = [], []
        for seed in SEEDS:
            row = rows.get(f"resnet20/{ratio}/{epochs}/{name}/{plan}/{seed}")
            dense = rows.get(f"dense/resnet20/{epochs}/{seed}")
            if row:
                found.append(row)
                drops += [dense["test"] - row["test"]] if dense else []
        if not found:
            lines.append(f"| {name} | {plan} | not run | | | | | |")
            continue
        mean = {
            key: statistics.fmean(row[key] for row in found)
            for key in ("macs", "epochs", "compute")
        }
        seconds = [row["seconds"] for row in found if row["seconds"] is not None]
        earlier = plan == "sac" and not all(row.get("plan") for row in found)
        lines.append(
            f"| {name} | {plan}{' †' * earlier} | {_each([row['test'] for row in found])} | "
            f"{_each(drops) if drops else '-'} | {mean['macs']:.1%} | {mean['epochs']:.0f} | "
            f"{mean['compute']:.1f} | {f'{statistics.fmean(seconds):.0f}' if seconds else '-'} |"
        )
    dense = [rows.get(f"dense/resnet20/{epochs}/{seed}") for seed in SEEDS]
    tests = [row["test"] for row in dense if row]
    lines.append(f"| dense, on | | {_each(tests) if tests else 'not run'} | | | | | |")
    return [*lines, ""]


def _each(values: Sequence[float]) -> str:
    """A mean in percent, and the values it is of."""
    mean = f"{100 * statistics.fmean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ({', '.join(f'{100 * v:.2f}' for v in values)})"


def _points(rows: Rows) -> list[tuple[int, float, float]]:
    found = []
    for epochs in CURVE:
        row = rows.get(f"resnet20/0.5/{epochs}/one_shot/sac/0")
        dense = rows.get(f"dense/resnet20/{epochs}/0")
        if row and dense:
            found.append((epochs, row["test"], dense["test"]))
    return found


def _curve_table(rows: Rows) -> list[str]:
    lines = [
        "## ResNet-20 at 50% of MACs: drop against epochs", "",
        "One-shot, SAC's plan, seed 0.", "",
        "| epochs | pruned | dense, on | drop |", "|---|---|---|---|",
    ]  # fmt: skip
    for epochs, test, dense in _points(rows):
        earlier = "" if rows[f"resnet20/0.5/{epochs}/one_shot/sac/0"].get("plan") else " †"
        lines.append(
            f"| {epochs}{earlier} | {test:.2%} | {dense:.2%} | {100 * (dense - test):.2f} |"
        )
    return [*lines, "", "![curve](recovery.svg)", ""]


def _families(rows: Rows) -> list[str]:
    lines = [
        "## Network families, half of the MACs", "",
        "Widths are small as 2 cores demand; dense networks were trained for few epochs. Plans of",
        "the shipped policy, without a search, beside uniform widths; one-shot.", "",
        "| network | dense epochs | epochs | policy | uniform | dense, on |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for network in (*FAMILIES, "resnet56"):
        dense, tuned = (DENSE_EPOCHS, FAMILY_EPOCHS) if network in FAMILIES else ("public", LONG)
        names = (
            f"{network}/0.5/{tuned}/one_shot/pretrained/0",
            f"{network}/0.5/{tuned}/one_shot/uniform/0",
            f"dense/{network}/{tuned}/0",
        )
        figures = [
            f"{rows[n]['test']:.2%}" if rows.get(n) else "not run" if n in rows else "-"
            for n in names
        ]
        lines.append(f"| {network} | {dense} | {tuned} | {' | '.join(figures)} |")
    return [*lines, ""]


def _least_squares(rows: Rows) -> list[str]:
    lines = [
        "## Least squares alone, ResNet-20, uniform widths, accuracy on the reward images", "",
        "| MACs | dense | cut | re-estimated | reconstructed | of the loss recovered | seconds |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for ratio in (0.7, 0.5):
        row = rows.get(f"least_squares/{ratio}")
        if row is None:
            lines.append(f"| {ratio:.0%} | not run | | | | | |")
            continue
        share = (row["reconstructed"] - row["reestimated"]) / (row["dense"] - row["reestimated"])
        names = ("dense", "cut", "reestimated", "reconstructed")
        figures = " | ".join(f"{row[name]:.2%}" for name in names)
        lines.append(f"| {ratio:.0%} | {figures} | {share:.0%} | {row['seconds']:.0f} |")
    return [*lines, ""]


def _int8(rows: Rows) -> list[str]:
    lines = [
        "## int8 of the dense networks, one epoch of quantization-aware training", "",
        "| network | float32 | int8 after training | int8, quantization-aware |",
        "|---|---|---|---|",
    ]  # fmt: skip
    for network in ("resnet20", "mobilenet_v2:0.25"):
        row = rows.get(f"int8/{network}")
        figures = (
            " | ".join(f"{row[n]:.2%}" for n in ("test", "int8", "aware")) if row else "not run | |"
        )
        lines.append(f"| {network} | {figures} |")
    return [*lines, ""]


def _figure(rows: Rows) -> Figure:
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    points = _points(rows)
    if points:
        epochs, pruned, dense = zip(*points, strict=True)
        axes.plot(epochs, [100 * v for v in dense], "o-", label="dense, trained on")
        axes.plot(epochs, [100 * v for v in pruned], "s-", label="half of the MACs")
        axes.legend()
    axes.set(xlabel="epochs", ylabel="test accuracy (%)", title="ResNet-20, CIFAR-10")
    axes.grid(alpha=0.3)
    return figure
