"""Search methods on CIFAR-10: the agents, their rivals, ablations, policies that travel.

    python -m benchmarks.search --data_dir=FOLDER --weights=FOLDER --workdir=runs/search

Every cell is a process of its own whose figures are kept in the workdir, so the program resumes;
--only names cells by patterns, --norun only writes the report of what is there,
--known=docs/results/search.json takes over what was run for that report. Cells that were
not run are listed as such. Seeds 0, 1 and 2, 1,000 reward images from train[45000:], 500
calibration images.
"""

from __future__ import annotations

from typing import Any

from absl import app, flags

from benchmarks.cells import main, workdir
from benchmarks.search_protocol import cells
from benchmarks.search_report import write

_DATA = flags.DEFINE_string("data_dir", None, "Folder of TensorFlow Datasets.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Folder with the dense networks' weights.")


def compute(name: str) -> dict[str, Any]:
    """A cell's figures."""
    from benchmarks.search_cells import Cells

    kind, arguments = cells()[name]
    made = Cells(_DATA.value, _WEIGHTS.value, str(workdir()))
    policy = (arguments.get("options") or {}).get("policy")
    if policy:
        arguments = {**arguments, "options": {"policy": made.policy_path(policy)}}
    return getattr(made, kind)(**arguments)


if __name__ == "__main__":
    app.run(lambda argv: main("benchmarks.search", list(cells()), compute, write))
