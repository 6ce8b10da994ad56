"""Cells of a benchmark: each a process of its own, whose figures are kept, so that it resumes."""

from __future__ import annotations

import fnmatch
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from absl import flags

_WORKDIR = flags.DEFINE_string("workdir", "runs/benchmark", "Cells and what they leave go here.")
_ONLY = flags.DEFINE_list("only", ["*"], "Names or patterns of cells.")
_JOBS = flags.DEFINE_integer("jobs", 1, "Cells at a time, each on as many threads as are left.")
_RUN = flags.DEFINE_boolean("run", True, "Whether to run what is missing.")
_KNOWN = flags.DEFINE_string("known", None, "JSON of a report, whose cells need not be run again.")
_CELL = flags.DEFINE_string("cell", None, "Compute this cell alone, into --into.")
_INTO = flags.DEFINE_string("into", None, "File for --cell.")


def main(
    module: str,
    names: Iterable[str],
    compute: Callable[[str], dict[str, Any]],
    write: Callable[[Mapping[str, Any], Path], str],
) -> None:
    """Run what is missing of the cells that --only names, then write the report of what is there.

    Args:
        module: of the benchmark, to be run by `python -m`.
        names: of all cells.
        compute: a cell's figures.
        write: writes the report of all cells into a folder, `None` for those that were not run,
            and returns its text.
    """
    if _CELL.value:
        path = Path(_INTO.value)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(compute(_CELL.value)))
        temporary.replace(path)
        return
    chosen = [n for n in names if any(fnmatch.fnmatch(n, pattern) for pattern in _ONLY.value)]
    if _RUN.value:
        with ThreadPoolExecutor(_JOBS.value) as pool:
            list(pool.map(lambda name: _run(module, name), chosen))
    rows = {name: read(name) for name in names}
    print(write(rows, Path(__file__).parent.parent / "docs" / "results"))


def workdir() -> Path:
    """Where cells may leave files for others."""
    return Path(_WORKDIR.value)


def read(name: str) -> dict[str, Any] | None:
    """A cell's figures, if it was run, here or for the report that --known names."""
    path = _path(name)
    if path.exists():
        return json.loads(path.read_text())
    return _known(_KNOWN.value).get(name) if _KNOWN.value else None


@functools.cache
def _known(path: str) -> dict[str, Any]:
    return json.loads(Path(path).read_text())


def _path(name: str) -> Path:
    return Path(_WORKDIR.value) / "cells" / f"{name.replace('/', '__').replace(':', '_')}.json"


def _run(module: str, name: str) -> None:
    if read(name) is not None:
        return
    path = _path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    threads = str(max(1, (os.cpu_count() or 1) // _JOBS.value))
    environment = {
        **os.environ, "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads,
    }  # fmt: skip
    given = [a for a in sys.argv[1:] if not a.startswith(("--only", "--jobs", "--run", "--norun"))]
    done = subprocess.run(
        [sys.executable, "-m", module, f"--cell={name}", f"--into={path}", *given],
        capture_output=True, text=True, check=False, env=environment,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    last = done.stderr.strip().splitlines()[-1:] or [""]
    print(name, "done" if path.exists() else f"failed: {last[0][:300]}", flush=True)
