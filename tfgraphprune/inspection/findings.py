"""What was found out about a model: rows as data, as text, as a file and as a picture."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tfgraphprune.errors import UserError
from tfgraphprune.inspection.picture import PICTURES, layer_graph_picture
from tfgraphprune.report.graph_figure import reason_kind
from tfgraphprune.report.tables import bytes_text, count_text
from tfgraphprune.workdir import write_atomically

_SHOWN_LAYERS = 3


@dataclass(frozen=True)
class GroupRow:
    """A channel group.

    Attributes:
        name: the group's.
        channels: how many it has.
        step: the number kept is a multiple of this, or all.
        macs: multiply-accumulates that would go with all of its channels; `None` if unknown.
        params: parameters that would go with them.
        free: whether channels may be cut.
        reason: why not.
        layers: names of the layers with a weight that carries the channels.
    """

    name: str
    channels: int
    step: int
    macs: float | None
    params: float
    free: bool
    reason: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class WidthRow:
    """The model's cost at one width.

    Attributes:
        name: `minimum`, `centroid` or `maximum`.
        macs: multiply-accumulates for one example; `None` if unknown.
        params: parameters.
        weight_bytes: of the weights in a float32 TFLite file, at most.
    """

    name: str
    macs: float | None
    params: float
    weight_bytes: float


@dataclass(frozen=True)
class Verdict:
    """What became of one entry of a budget.

    Attributes:
        cost: `macs`, `params` or `file_bytes`.
        limit: the most that the budget allows.
        least: the cost of the smallest network.
        most: the cost of the model as it is.
        met: whether the smallest network keeps to the limit.
    """

    cost: str
    limit: float
    least: float
    most: float
    met: bool


@dataclass(frozen=True)
class Inspection:
    """What can be cut from a model; `print` shows it.

    Attributes:
        model: the model's name.
        calls: number of layer calls.
        free_outputs: output channels of convolutions and dense layers that may be cut.
        outputs: all of them, but for those that are outputs of the model.
        groups: the channel groups.
        widths: the cost at the smallest, half and full width.
        min_keep: the share of each free group that is kept at the smallest, at least.
        verdicts: one for each entry of the budget.
        notes: what could not be found out, and what to do about it.
        graph: the layer graph's `to_dict()`.
    """

    model: str
    calls: int
    free_outputs: int
    outputs: int
    groups: tuple[GroupRow, ...]
    widths: tuple[WidthRow, ...]
    min_keep: float
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]
    graph: Mapping[str, Any] = field(repr=False)

    @property
    def frozen(self) -> dict[str, tuple[int, int]]:
        """For each reason the number of frozen groups and of their channels."""
        names = {node["name"] for node in self.graph["nodes"]}
        groups, channels = Counter[str](), Counter[str]()
        for group in self.groups:
            if not group.free:
                reason = reason_kind(group.reason, names)
                groups[reason] += 1
                channels[reason] += group.channels
        return {reason: (count, channels[reason]) for reason, count in groups.most_common()}

    def to_dict(self) -> dict[str, Any]:
        """All of it but the layer graph as plain values."""
        values = asdict(self)
        del values["graph"]
        frozen = [
            {"reason": reason, "groups": groups, "channels": channels}
            for reason, (groups, channels) in self.frozen.items()
        ]
        return json.loads(json.dumps({**values, "frozen": frozen}))

    def save_json(self, path: str | os.PathLike, overwrite: bool = False) -> Path:
        """Write `to_dict()` into a `.json` file.

        Raises:
            UserError: as for `save_picture`.
        """
        target = writable(path, ("json",), overwrite)
        write_atomically(target, json.dumps(self.to_dict(), indent=1) + "\n")
        return target

    def save_picture(self, path: str | os.PathLike, overwrite: bool = False) -> Path:
        """Draw the layer graph; chains of layers are one box, coloured by channel group.

        Args:
            path: an `.svg`, `.png` or `.pdf` file in a folder that exists. In the SVG each box
                has the names of all its layers as its title.
            overwrite: whether an existing file may be replaced.

        Raises:
            UserError: the file has another suffix, exists and may not be replaced, or its folder
                does not exist.
        """
        target = writable(path, PICTURES, overwrite)
        write_atomically(target, layer_graph_picture(self.graph, target.suffix[1:].lower()))
        return target

    def __str__(self) -> str:
        free = sum(group.free for group in self.groups)
        share = f" ({self.free_outputs / self.outputs:.1%})" if self.outputs else ""
        parts = [
            f"{self.model}: {self.calls} layer calls, {len(self.groups)} channel groups, "
            f"{free} of them free\n{self.free_outputs:,} of {self.outputs:,} convolution and dense "
            f"output channels may be cut{share}; outputs of the model are not counted",
            self._group_table(),
            self._width_table(),
        ]
        parts += [_sentence(verdict) for verdict in self.verdicts]
        parts += self.notes
        if self.frozen:
            rows = [("frozen because", "groups", "channels")]
            rows += [(reason, f"{n:,}", f"{size:,}") for reason, (n, size) in self.frozen.items()]
            parts.append(_table(rows, "<>>"))
        return "\n\n".join(parts)

    def _group_table(self) -> str:
        full = self.widths[-1]
        rows = [("group", "channels", "MACs", "", "params", "", "state", "layers")]
        for group in self.groups:
            by = f" by {group.step}" if group.free and group.step > 1 else ""
            more = len(group.layers) - _SHOWN_LAYERS
            rows.append(
                (
                    group.name,
                    f"{group.channels}{by}",
                    *_share(group.macs, full.macs),
                    *_share(group.params, full.params),
                    "free" if group.free else f"frozen: {group.reason.removeprefix('frozen ')}",
                    ", ".join(group.layers[:_SHOWN_LAYERS])
                    + (f" and {more} more" if more > 0 else ""),
                )
            )
        return _table(rows, "<>>>>><<")

    def _width_table(self) -> str:
        what = {
            "minimum": f"minimum: {self.min_keep:.0%} of each free group (Search.min_keep)",
            "centroid": "centroid: half of each free group",
            "maximum": "maximum: the model as it is",
        }
        rows = [("width", "MACs", "", "params", "", "float32 weights")]
        full = self.widths[-1]
        for width in self.widths:
            costs = (*_share(width.macs, full.macs), *_share(width.params, full.params))
            rows.append((what[width.name], *costs, bytes_text(width.weight_bytes)))
        return _table(rows, "<>>>>>")


def writable(path: str | os.PathLike, suffixes: Sequence[str], overwrite: bool) -> Path:
    """A path that a file may be written to.

    Raises:
        UserError: it has none of the suffixes, is a folder or in none, or is there already and
            may not be replaced.
    """
    target = Path(path)
    if target.suffix.lower() not in [f".{suffix}" for suffix in suffixes]:
        *others, last = (f".{suffix}" for suffix in suffixes)
        wanted = f"{', '.join(others)} or {last}" if others else last
        raise UserError(f"{target} must end in {wanted}: that chooses the kind of file.")
    if not target.parent.is_dir():
        raise UserError(f"the folder {target.parent} does not exist: create it first.")
    if target.is_dir():
        raise UserError(f"{target} is a folder: give the path of a file.")
    if os.path.lexists(target) and not overwrite:
        raise UserError(f"{target} exists: give another path, or allow it with overwrite.")
    return target


def _sentence(verdict: Verdict) -> str:
    name, text = {"macs": ("MACs", count_text), "params": ("params", count_text)}.get(
        verdict.cost, ("file size", bytes_text)
    )
    met = "can be met" if verdict.met else "can't be met"
    limit, least, most = (text(v) for v in (verdict.limit, verdict.least, verdict.most))
    shares = [f"{v / verdict.most:.4f}" for v in (verdict.limit, verdict.least)]
    return (
        f"budget: {name} of at most {limit} ({shares[0]} of the model's) {met}: "
        f"{least} to {most} is possible ({shares[1]} to 1)"
    )


def _share(cost: float | None, full: float | None) -> tuple[str, str]:
    if cost is None:
        return "-", ""
    return count_text(cost), f"{cost / full:.1%}" if full else ""


def _table(rows: Sequence[tuple[str, ...]], sides: str) -> str:
    """Rows as aligned text, each column to the left (`<`) or to the right (`>`)."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(f"{c:{s}{w}}" for c, s, w in zip(row, sides, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
