"""The numbers of a run as plain-text tables and as the cells of the page's tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Table: TypeAlias = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""A header and rows of the same length; the first cell of a row is its title."""

MISSING = "-"


def summary_table(metrics: Mapping[str, Any]) -> str:
    """A run's metrics as aligned plain text for the terminal.

    One row a model (dense, pruned, each TFLite file) and one row a search method; what is missing
    is `-`.

    Args:
        metrics: a run's metrics: accuracies and agreement are fractions, latencies milliseconds,
            TFLite errors standard deviations of the Keras output.
    """
    parts = [plain(models_table(metrics))]
    search = search_table(metrics)
    if search[1]:
        parts.append(plain(search))
    notes = summary_notes(metrics)
    if notes:
        parts.append("\n".join(notes))
    return "\n\n".join(parts)


def models_table(metrics: Mapping[str, Any]) -> Table:
    """One row a model: dense, pruned, then each TFLite file."""
    files = dict(_mapping(metrics, "tflite"))
    sources = [("dense", _mapping(metrics, "dense")), ("pruned", _mapping(metrics, "pruned"))]
    for name in ["float32", "int8", *(name for name in files if name not in ("float32", "int8"))]:
        sources.append((f"{name} TFLite", _mapping(files, name)))
    # Models without classes have a score alone, and most classifiers none.
    scored = any("score" in values for _, values in sources)
    classes = not scored or any("accuracy" in values for _, values in sources[:2])
    columns = [
        *([("accuracy %", "accuracy", _hundredths)] if classes else []),
        *([("score", "score", lambda v: f"{v:.4g}")] if scored else []),
        ("MACs", "macs", count_text),
        ("params", "params", count_text),
        ("file size", "file_bytes", bytes_text),
        ("latency ms", "latency_ms", lambda v: f"{v:.3f}"),
        *([("agreement %", "agreement", _hundredths)] if classes else []),
        ("max error", "max_error", lambda v: f"{v:.2g}"),
    ]
    rows = []
    for title, values in sources:
        values = {"file_bytes": values.get("bytes"), **values}
        rows.append((title, *(_cell(values.get(key), text) for _, key, text in columns)))
    return ("model", *(name for name, _, _ in columns)), rows


def search_table(metrics: Mapping[str, Any]) -> Table:
    """One row a search method; no rows where nothing was searched."""
    rows: list[tuple[str, ...]] = [
        (
            str(method),
            _cell(values.get("best_reward"), lambda v: f"{v:.4f}"),
            _cell(values.get("evaluations"), lambda v: f"{v:.0f}"),
            _cell(values.get("seconds"), lambda v: f"{v:.1f}"),
        )
        for method, values in _mapping(metrics, "search").items()
        if isinstance(values, Mapping)
    ]
    return ("search", "best reward", "evaluations", "seconds"), rows


def summary_notes(metrics: Mapping[str, Any]) -> list[str]:
    """What belongs to the summary and fits no column: one line each."""
    notes = []
    before = number(_mapping(metrics, "pruned").get("accuracy_before_finetuning"))
    if before is not None:
        notes.append(f"accuracy of the pruned model before fine-tuning: {percent_text(before)}")
    ratio = number(metrics.get("latency_ratio"))
    if ratio is not None:
        notes.append(f"host latency, pruned over dense: {ratio:.2f}")
    return notes


def plain(table: Table) -> str:
    """A table as aligned text: titles to the left, numbers to the right."""
    header, rows = table
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [_line(row, widths) for row in [header, *rows]]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def number(value: Any) -> float | None:
    """`value` as a finite float, or None where it is missing, not a number or infinite."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        return None
    return result if math.isfinite(result) else None


def percent_text(value: float) -> str:
    """A fraction in per cent: `98.52 %`."""
    return f"{100 * value:.2f} %"


def count_text(value: float) -> str:
    """A count with three or four digits: `950`, `12.4 k`, `1.20 M`, `3.87 G`."""
    return _scaled(value, 1000.0, ("", " k", " M", " G", " T"))


def bytes_text(value: float) -> str:
    """A size in bytes: `812 B`, `12.4 KiB`, `3.10 MiB`."""
    return _scaled(value, 1024.0, (" B", " KiB", " MiB", " GiB", " TiB"))


def _scaled(value: float, base: float, units: Sequence[str]) -> str:
    index = 0
    # 999.6 would be printed as 1000: the next unit already.
    while abs(value) >= base - 0.5 and index < len(units) - 1:
        value, index = value / base, index + 1
    if index == 0:
        return f"{value:.0f}{units[0]}"
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f}{units[index]}"


def _hundredths(value: float) -> str:
    return f"{100 * value:.2f}"


def _cell(value: Any, text: Any) -> str:
    finite = number(value)
    if finite is not None:
        return text(finite)
    # An infinite error was measured and must not look as if it had not been.
    return MISSING if value is None or not isinstance(value, float) else str(value)


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, Mapping) else {}


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
    cells[0] = row[0].ljust(widths[0])
    return "  ".join(cells).rstrip()
