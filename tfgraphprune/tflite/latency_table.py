"""Latencies of single operators on a device, measured once and kept in a file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tfgraphprune.errors import UserError
from tfgraphprune.tflite.latency import Latency, host_latency
from tfgraphprune.tflite.operators import Operator, operator_file
from tfgraphprune.workdir import write_atomically

Clock = Callable[[Mapping[str, Path]], Mapping[str, Latency]]
"""Latencies of TFLite files by name: `host_latency`, or the same on a device."""

_AT_A_TIME = 64
_EMPTY = Operator("add", 1, 1, 1, 1)
_LEAST = 0.05
"""Share of a measured time that is an operator's own at least."""


class LatencyTable:
    """Milliseconds of operators on one device; what is missing is measured when it is asked for.

    Args:
        clock: measures files.
        device: what the clock measures on, with its runtime and threads; a file of another device
            is refused.
        file: where entries are kept between runs; not at all by default.
        progress: whether to show a bar.

    Raises:
        UserError: the file is of another device, or no table.
    """

    def __init__(
        self,
        clock: Clock = host_latency,
        device: str = "host",
        file: str | os.PathLike | None = None,
        progress: bool = True,
    ):
        self.device = device
        self._clock, self._file, self._progress = clock, Path(file) if file else None, progress
        self._entries: dict[str, float] = {}
        if self._file is not None and self._file.exists():
            self._entries = _read(self._file, device)

    def __len__(self) -> int:
        return len(self._entries)

    def milliseconds(self, operators: Sequence[Operator]) -> list[float]:
        """The latency of each operator, in milliseconds, without that of starting a network."""
        wanted = (_EMPTY, *operators)
        missing = {name(o): o for o in wanted if name(o) not in self._entries}
        bar = tqdm(total=len(missing), desc="latency table", disable=not self._progress or None)
        items = list(missing.items())
        with bar, tempfile.TemporaryDirectory(prefix="tfgraphprune-") as folder:
            for start in range(0, len(items), _AT_A_TIME):
                part = items[start : start + _AT_A_TIME]
                paths = {}
                for number, (key, operator) in enumerate(part):
                    paths[key] = Path(folder) / f"{number}.tflite"
                    paths[key].write_bytes(operator_file(operator))
                # The tenth percentile: what the operator takes when nothing else is running.
                found = self._clock(paths)
                self._entries |= {key: found[key].p10_ms for key in paths}
                bar.update(len(part))
                self._save()
        empty = self._entries[name(_EMPTY)]
        times = [self._entries[name(o)] for o in operators]
        return [max(ms - empty, _LEAST * ms) for ms in times]

    def _save(self) -> None:
        if self._file is None:
            return
        content = {"format": 1, "device": self.device, "milliseconds": self._entries}
        write_atomically(self._file, json.dumps(content, indent=1) + "\n")


def name(o: Operator) -> str:
    """The operator and its sizes in a line."""

    def by(sides: Sequence[int]) -> str:
        return "x".join(map(str, sides))

    return (
        f"{o.kind} {o.height}x{o.width} {o.inputs}>{o.outputs} kernel {by(o.kernel)} strides "
        f"{by(o.strides)} dilations {by(o.dilations)} {o.padding} blocks {o.blocks}"
    )


def _read(file: Path, device: str) -> dict[str, float]:
    try:
        content: dict[str, Any] = json.loads(file.read_text())
        there, entries = content["device"], content["milliseconds"]
        found = {str(key): float(value) for key, value in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is no latency table: name another file for it.") from error
    if there != device:
        raise UserError(
            f"{file} holds latencies of {there}, not of {device}: name another file for this one."
        )
    return found
