"""Search methods on CIFAR-10: the agents, their rivals, ablations, policies that travel.

    python -m benchmarks.search --data_dir=FOLDER --weights=FOLDER --workdir=runs/search

Every cell is a process of its own whose figures are kept in the workdir, so the program resumes;
--only names cells by patterns, --run=false only writes the report of what is there. Cells that
were not run are listed as such. Seeds 0, 1 and 2, 1,000 reward images from train[45000:], 500
calibration images.
"""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from absl import app, flags

from benchmarks.search_protocol import cells

_DATA = flags.DEFINE_string("data_dir", None, "Folder of TensorFlow Datasets.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Folder with the dense networks' weights.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/search", "Cells, policies and networks go here.")
_ONLY = flags.DEFINE_list("only", ["*"], "Names or patterns of cells.")
_JOBS = flags.DEFINE_integer("jobs", 1, "Cells at a time, each on as many threads as are left.")
_RUN = flags.DEFINE_boolean("run", True, "Whether to run what is missing.")
_CELL = flags.DEFINE_string("cell", None, "Compute this cell alone, into --into.")
_INTO = flags.DEFINE_string("into", None, "File for --cell.")


def main(argv: list[str]) -> None:
    del argv
    if _CELL.value:
        _compute(_CELL.value, Path(_INTO.value))
        return
    from benchmarks.search_report import write

    names = [n for n in cells() if any(fnmatch.fnmatch(n, pattern) for pattern in _ONLY.value)]
    if _RUN.value:
        with ThreadPoolExecutor(_JOBS.value) as pool:
            list(pool.map(_run, names))
    rows = {}
    for name in cells():
        path = _path(name)
        rows[name] = json.loads(path.read_text()) if path.exists() else None
    print(write(rows, Path(__file__).parent.parent / "docs" / "results"))


def _path(name: str) -> Path:
    return Path(_WORKDIR.value) / "cells" / f"{name.replace('/', '__').replace(':', '_')}.json"


def _run(name: str) -> None:
    path = _path(name)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    threads = str(max(1, (os.cpu_count() or 1) // _JOBS.value))
    environment = {
        **os.environ, "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads,
    }  # fmt: skip
    command = [
        sys.executable, "-m", "benchmarks.search", f"--cell={name}", f"--into={path}",
        f"--data_dir={_DATA.value}", f"--weights={_WEIGHTS.value}", f"--workdir={_WORKDIR.value}",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    last = done.stderr.strip().splitlines()[-1:] or [""]
    print(name, "done" if path.exists() else f"failed: {last[0][:300]}", flush=True)


def _compute(name: str, path: Path) -> None:
    from benchmarks.search_cells import Cells

    kind, arguments = cells()[name]
    made = Cells(_DATA.value, _WEIGHTS.value, _WORKDIR.value)
    policy = (arguments.get("options") or {}).get("policy")
    if policy:
        arguments = {**arguments, "options": {"policy": made.policy_path(policy)}}
    figures = getattr(made, kind)(**arguments)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(figures))
    temporary.replace(path)


if __name__ == "__main__":
    app.run(main)
