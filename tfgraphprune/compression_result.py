"""What `compress` hands back, and how it is saved and loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.model_files import load_model
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.report.page import Report
from tfgraphprune.results import RunRecord

SAVED = ("dense.keras", "model.keras", "plan.json", "record.json", "report.html")
"""Names of the files that a result can be loaded from, and of its report."""


@dataclass(frozen=True, eq=False)
class CompressionResult:
    """What `compress` hands back.

    Attributes:
        model: the pruned, plain tf_keras model.
        dense: the model that went in.
        plan: which channels were kept.
        record: every figure of the run.
        folder: where the files of the run are; `None` after a run without a workdir.
        tflite: contents of the TFLite files by quantization.
    """

    model: Any
    dense: Any
    plan: PruningPlan
    record: RunRecord
    folder: Path | None = None
    tflite: Mapping[str, bytes] = field(default_factory=dict)

    @cached_property
    def graph(self) -> LayerGraph:
        """The dense model's layer graph."""
        return LayerGraph.from_model(self.dense)

    @property
    def metrics(self) -> dict[str, Any]:
        """Figures of the dense and the pruned model, the TFLite files and the search."""
        return dict(self.record.metrics)

    @property
    def history(self) -> dict[str, Any]:
        """Rows of the search and of the training."""
        return dict(self.record.history)

    @property
    def report(self) -> Report:
        """The report: `report.save("report.html")`, `report.figures()`, `report.summary()`."""
        return Report(self.record)

    def summary(self) -> str:
        """The table that the command prints."""
        return self.report.summary()

    def save(self, folder: str | os.PathLike, overwrite: bool = False) -> None:
        """Write models, plan, record and report into a folder that `load_result` reads.

        Raises:
            UserError: the folder holds a file of this name and `overwrite` is false.
        """
        target = Path(folder)
        taken = [name for name in SAVED if (target / name).exists()]
        if taken and not overwrite:
            raise UserError(
                f"{target} already holds {taken[0]}: pass overwrite=True to replace it."
            )
        target.mkdir(parents=True, exist_ok=True)
        self.dense.save(target / "dense.keras")
        self.model.save(target / "model.keras")
        self.plan.save(target / "plan.json", overwrite=True)
        (target / "record.json").write_text(self.record.to_json())
        self.report.save(target / "report.html", overwrite=True)
        for kind, content in self.tflite.items():
            (target / f"model_{kind}.tflite").write_bytes(content)


def load_result(folder: str | os.PathLike, allow_lambda: bool = False) -> CompressionResult:
    """The result of a finished run, or of `result.save`.

    Args:
        folder: the run's workdir.
        allow_lambda: load models with Lambda layers, whose code then runs.

    Raises:
        UserError: the folder holds no finished run.
    """
    path = Path(folder)
    if not (path / "record.json").is_file():
        raise UserError(f"{path} holds no finished run: give the workdir of one.")
    return CompressionResult(
        load_model(path / "model.keras", allow_lambda),
        load_model(path / "dense.keras", allow_lambda),
        PruningPlan.load(path / "plan.json"),
        RunRecord.read(path / "record.json"),
        path,
        tflite_files(path),
    )


def tflite_files(folder: Path) -> dict[str, bytes]:
    """Contents of the pruned model's TFLite files in a folder, by quantization."""
    files = sorted(folder.glob("model_*.tflite"))
    return {path.stem.removeprefix("model_"): path.read_bytes() for path in files}
