"""The zoo: every model read, cut in three ways, checked and measured. Resumable, a process a model.

python -m benchmarks.zoo --workdir=runs/zoo --jobs=2
python -m benchmarks.zoo --check --only='models/*'      # fails if a free share has dropped
"""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from absl import app, flags

_WORKDIR = flags.DEFINE_string("workdir", "runs/zoo", "A JSON file for each model goes here.")
_ONLY = flags.DEFINE_list("only", ["*"], "Names or patterns of models.")
_JOBS = flags.DEFINE_integer("jobs", 1, "Models at a time.")
_TIMEOUT = flags.DEFINE_integer("timeout", 3600, "Seconds after which a model has failed.")
_AGAIN = flags.DEFINE_boolean("retry_failed", False, "Run again what has failed before.")
_RUN = flags.DEFINE_boolean("run", True, "Whether to run what is missing; else the table says so.")
_CHECK = flags.DEFINE_boolean("check", False, "Compare with the committed table; write nothing.")
_RESULTS = Path(__file__).parent.parent / "docs" / "results"
_NOT_RUN = "not run"
_MOST_ERROR = 1e-4
_MOST_ERROR_64 = 1e-10
_LEAST_FREE = 0.95


def main(argv: list[str]) -> None:
    """Run what is missing, and write the table."""
    del argv
    if _CHECK.value:
        with tempfile.TemporaryDirectory() as folder:
            sys.exit(_check(_rows(Path(folder))))
    rows = _rows(Path(_WORKDIR.value))
    if _ONLY.value != ["*"]:  # a part of the zoo must not replace the whole table
        print(_report(rows))
        return
    (_RESULTS / "zoo.json").write_text(json.dumps(rows, indent=1) + "\n")
    text = _report(rows)
    (_RESULTS / "zoo.md").write_text(text)
    print(text)


def _rows(folder: Path) -> list[dict[str, Any]]:
    from benchmarks.zoo_models import zoo

    folder.mkdir(parents=True, exist_ok=True)
    names = [n for n in zoo() if any(fnmatch.fnmatch(n, p) for p in _ONLY.value)]
    with ThreadPoolExecutor(_JOBS.value) as pool:
        return list(pool.map(lambda name: _row(folder, name), names))


def _row(folder: Path, name: str) -> dict[str, Any]:
    path = folder / f"{name.replace('/', '_')}.json"
    if path.exists():
        row = json.loads(path.read_text())
        if "failed" not in row or not _AGAIN.value:
            return row
    if not _RUN.value:
        return {"model": name, "failed": _NOT_RUN}
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.zoo_measure", name],
            capture_output=True, text=True, check=False, env=environment,
            cwd=Path(__file__).parent.parent, timeout=_TIMEOUT.value,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        row = {"model": name, "failed": f"not done after {_TIMEOUT.value} s"}
    else:
        if done.returncode == 0:
            row = json.loads(done.stdout.strip().splitlines()[-1])
        else:
            tail = done.stderr.strip().splitlines()[-1:] or ["killed"]
            row = {"model": name, "failed": f"{tail[0][:300]} (exit {done.returncode})"}
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(row))
    temporary.replace(path)
    print(name, row.get("failed") or f"{row['max_error']:.1e}", file=sys.stderr, flush=True)
    return row


def _check(rows: list[dict[str, Any]]) -> str | int:
    path = _RESULTS / "zoo.json"
    if not path.exists():
        return f"{path} is missing: run the zoo once without --check."
    known = {row["model"]: row for row in json.loads(path.read_text())}
    wrong = [] if rows else ["no model has such a name"]
    for row in rows:
        old = known.get(row["model"], {})
        before = old.get("free_share", 0)
        if "failed" in row:
            if "failed" not in old:
                wrong.append(f"{row['model']} failed: {row['failed']}")
        elif not old:
            wrong.append(f"{row['model']} is not in the committed table")
        elif row["free_share"] < before - 1e-9:
            wrong.append(f"{row['model']}: {row['free_share']:.4f} is free, it was {before:.4f}")
        elif _is_wrong(row):
            wrong.append(f"{row['model']}: error {row['max_error']:.1e}, {row['counts_differ']}")
    return "\n".join(wrong) if wrong else 0


def _is_wrong(row: dict[str, Any]) -> bool:
    """Whether counts differ, or outputs by more than rounding does."""
    rounding = row.get("max_error_float64", 1.0) < _MOST_ERROR_64
    return bool(row["counts_differ"]) or (row["max_error"] > _MOST_ERROR and not rounding)


def _report(rows: list[dict[str, Any]]) -> str:
    good = [row for row in rows if "failed" not in row]
    wrong = [r for r in good if _is_wrong(r)]
    rounded = [r for r in good if r["max_error"] > _MOST_ERROR and r not in wrong]
    few = [row for row in good if row["free_share"] < _LEAST_FREE]
    lines = [
        "# The zoo",
        "",
        "`python -m benchmarks.zoo --jobs=2`: a process for each model; random weights, BatchNorm",
        "statistics of random images. Free: share of convolution and dense output channels, the",
        "model's outputs left out, that may be cut. MACs: before, and with half of each group.",
        "Error: largest |pruned - masked| over three plans (half of each group, half of the MACs,",
        "random widths), in standard deviations of the output (of classifiers: the logits),",
        "float32. Read, rank and cut: CPU seconds for graph and groups, importance, and surgery,",
        "on 2 cores that other work shared; zoo.json has wall seconds too. Every pruned model was",
        "saved, loaded with equal outputs, and trained for one step; exceptions below.",
        "",
        f"{len(good)} of {len(rows)} models; {len(good) - len(wrong)} right in every check, "
        f"{len(wrong)} not.",
        "",
        "| model | input | layers | groups | free | MACs (M) | after (M) | error | read s "
        "| rank s | cut s | peak GB |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in good:
        lines.append(
            f"| {row['model']} | {row['input'][0]} | {row['layers']} | {row['groups']} "
            f"| {row['free_share']:.1%} | {row['macs'] / 1e6:,.1f} "
            f"| {row['macs_after'] / 1e6:,.1f} | {row['max_error']:.1e} "
            f"| {row['read_seconds']:.2f} | {row.get('importance_seconds', float('nan')):.2f} "
            f"| {row['cut_seconds']:.2f} | {row['peak_gb']:.1f} |"
        )
    for title, chosen, say in (
        ("Not run yet", [r for r in rows if r.get("failed") == _NOT_RUN], lambda r: "no figures"),
        ("Refused", [r for r in rows if r.get("failed", _NOT_RUN) != _NOT_RUN],
         lambda r: r["failed"]),
        ("Not right", wrong, lambda r: f"error {r['max_error']:.1e}; {r['counts_differ']}"),
        ("Not trained or loaded alike",
         [r for r in good if r["trains"] is not True or r["loads"] is not True],
         lambda r: f"trains: {r['trains']}; loads: {r['loads']}"),
        ("More than 1e-4 by rounding: float64 tells", rounded,
         lambda r: f"{r['max_error']:.1e} in float32, {r['max_error_float64']:.1e} in float64"),
        (f"Less than {_LEAST_FREE:.0%} free", few, lambda r: "; ".join(
            f"{size} channels: {reason}" for reason, size in r["frozen"].items())),
    ):  # fmt: skip
        if chosen:
            lines += ["", f"## {title}", "", *(f"- {r['model']}: {say(r)}" for r in chosen)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app.run(main)
