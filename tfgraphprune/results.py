"""What a run leaves: one plain record that can be written as JSON and read without TensorFlow."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tfgraphprune.errors import UserError


@dataclass(frozen=True)
class RunRecord:
    """The figures of a finished run.

    Attributes:
        graph: the dense model's graph, as `LayerGraph.to_dict()` gives it.
        kept: for each group that was cut, the indices that stay.
        metrics: figures of `dense`, `pruned`, `tflite`, `search` and `latency_ratio`; accuracies
            are shares of 1, latencies milliseconds.
        history: rows of `search`, `train` and `finetune`.
        config: settings, seeds and versions.
    """

    graph: Mapping[str, Any]
    kept: Mapping[str, list[int]]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The record as JSON text."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, path: str | os.PathLike) -> RunRecord:
        """The record in a file.

        Raises:
            UserError: the file is missing or holds no record.
        """
        try:
            return cls(**json.loads(Path(path).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{path} must be the record of a finished run, but can't be read ({error}): give "
                "the folder of one."
            ) from error
