"""Recoveries on CIFAR-10: how much accuracy comes back for how much training.

    python -m benchmarks.recovery --data_dir=FOLDER --weights=FOLDER --workdir=runs/recovery

Every cell is a process of its own whose figures are kept in the workdir, so the program resumes;
--only names cells by patterns, --norun only writes the report of what is there,
--known=docs/results/recovery.json takes over what was run for that report. Cells that were
not run are listed as such. Plans are SAC's of 200 evaluations, uniform widths, or those of the
shipped policy without a search; the test set is looked at once a cell.
"""

from __future__ import annotations

from typing import Any

from absl import app, flags

from benchmarks.cells import main, workdir
from benchmarks.recovery_protocol import cells
from benchmarks.recovery_report import write

_DATA = flags.DEFINE_string("data_dir", None, "Folder of TensorFlow Datasets.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Folder with the dense networks' weights.")


def compute(name: str) -> dict[str, Any]:
    """A cell's figures."""
    from benchmarks.recovery_cells import Cells

    kind, arguments = cells()[name]
    return getattr(Cells(_DATA.value, _WEIGHTS.value, workdir()), kind)(**arguments)


if __name__ == "__main__":
    app.run(lambda argv: main("benchmarks.recovery", list(cells()), compute, write))
