"""One self-contained HTML page of a run: no scripts, no external resources, every name escaped."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from tfgraphprune.errors import UserError
from tfgraphprune.report import figures as draw
from tfgraphprune.report import tables
from tfgraphprune.report.canvas import inline_svg
from tfgraphprune.report.theme import CSS

if TYPE_CHECKING:
    from tfgraphprune.results import RunRecord

_LAYERS_SHOWN = 4
_CAPTIONS = {
    "costs": "Accuracy, MACs, parameters, size of the float32 TFLite file and its latency on the "
    "machine that ran the job, after pruning, in per cent of the dense model.",
    "layer_graph": "The layer graph: one box a layer call, data flowing downwards and from column "
    "to column. Colour is the keep ratio of the channels that the layer's output carries; grey "
    "channels are not cut.",
    "channels": "Channels of each prunable group before (grey) and after pruning.",
    "search": "Reward of each search method: solid is the best so far, dashed the mean of the "
    "latest evaluations, dots single evaluations.",
}


@dataclass(frozen=True)
class Report:
    """The report of a run.

    Attributes:
        record: what the run left: graph, kept channels, metrics, history, config.
    """

    record: RunRecord

    def summary(self) -> str:
        """The summary table as plain text."""
        return tables.summary_table(self.record.metrics or {})

    def figures(self) -> dict[str, Figure]:
        """The figures by name, those without any data left out.

        The names are `costs`, `layer_graph`, `channels` and `search`.
        """
        graph, metrics = self.record.graph or {}, self.record.metrics or {}
        kept, history = self.record.kept or {}, self.record.history or {}
        found: dict[str, Figure] = {}
        if metrics.get("dense") and metrics.get("pruned"):
            found["costs"] = draw.costs_figure(metrics)
        if graph.get("nodes"):
            found["layer_graph"] = draw.layer_graph_figure(graph, _keep_ratios(graph, kept))
        if any(group.get("prunable") for group in graph.get("groups") or ()):
            found["channels"] = draw.channels_figure(graph, kept)
        if history.get("search"):
            found["search"] = draw.search_figure(history)
        return found

    def html(self) -> str:
        """The page; the same record gives the same text."""
        return render(self.record)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write the page; the file appears whole or not at all.

        Args:
            path: an HTML file in a folder that exists.
            overwrite: whether an existing file may be replaced.

        Raises:
            UserError: the file exists and may not be replaced, or its folder does not.
        """
        target = Path(path)
        if not target.parent.is_dir():
            raise UserError(f"The folder {str(target.parent)!r} does not exist: create it first.")
        if target.is_dir():
            raise UserError(f"{str(target)!r} is a folder: give the path of a file.")
        if target.exists() and not overwrite:
            raise UserError(
                f"The file {str(target)!r} exists already: "
                "choose another path or set overwrite=True."
            )
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(self.html(), encoding="utf-8")
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return target


def render(record: RunRecord) -> str:
    """A run's record as one HTML file; parts without data are left out."""
    graph, metrics = record.graph or {}, record.metrics or {}
    kept, config = record.kept or {}, record.config or {}
    figures = Report(record).figures()
    groups = list(graph.get("groups") or ())
    title = "Pruning report"
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="muted">{_lead(graph, groups)}</p>',
        _cards(metrics),
        _section("Summary", _html_table(tables.models_table(metrics)), _notes(metrics)),
        _section("Costs", _figure(figures, "costs")),
        _section(
            "Search",
            _figure(figures, "search"),
            _html_table(tables.search_table(metrics)) if metrics.get("search") else "",
        ),
        _section("Channels", _figure(figures, "channels")),
        _section("Layer graph", _figure(figures, "layer_graph")),
        _section("Channel groups", _groups_table(groups, kept) if groups else ""),
        _section("Configuration", _config_table(config) if config else ""),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _keep_ratios(graph: Mapping[str, Any], kept: Mapping[str, Sequence[int]]) -> dict[str, float]:
    return {
        group["name"]: len(kept[group["name"]]) / group["size"]
        for group in graph.get("groups") or ()
        if group["name"] in kept and group["size"]
    }


def _lead(graph: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]) -> str:
    free = sum(bool(group.get("prunable")) for group in groups)
    return html.escape(
        f"{len(graph.get('nodes') or ())} layers, {len(groups)} channel groups, "
        f"{free} of them prunable."
    )


def _cards(metrics: Mapping[str, Any]) -> str:
    """The few figures that a reader looks for first."""
    dense, pruned = metrics.get("dense") or {}, metrics.get("pruned") or {}
    cards = []
    before, after = tables.number(dense.get("accuracy")), tables.number(pruned.get("accuracy"))
    if after is not None:
        change = "" if before is None else f", {100 * (after - before):+.2f} points"
        cards.append((tables.percent_text(after), f"accuracy after pruning{change}"))
    before, after = tables.number(dense.get("score")), tables.number(pruned.get("score"))
    if after is not None:
        change = "" if before is None else f", {before:.4g} before"
        cards.append((f"{after:.4g}", f"score after pruning{change}"))
    for key, label in (("macs", "of the MACs"), ("params", "of the parameters")):
        whole, rest = tables.number(dense.get(key)), tables.number(pruned.get(key))
        if whole and rest is not None:
            cards.append((f"{100 * rest / whole:.1f} %", label))
    ratio = tables.number(metrics.get("latency_ratio"))
    if ratio is not None:
        cards.append((f"{100 * ratio:.0f} %", "of the host latency"))
    int8 = (metrics.get("tflite") or {}).get("int8") or {}
    size = tables.number(int8.get("bytes"))
    if size is not None:
        cards.append((tables.bytes_text(size), "int8 TFLite file"))
    items = "".join(
        f"<li><b>{html.escape(value)}</b><span>{html.escape(label)}</span></li>"
        for value, label in cards
    )
    return f'<ul class="cards">{items}</ul>' if cards else ""


def _section(title: str, *contents: str) -> str:
    body = "\n".join(content for content in contents if content)
    return f"<section>\n<h2>{html.escape(title)}</h2>\n{body}\n</section>" if body else ""


def _figure(figures: Mapping[str, Figure], name: str) -> str:
    if name not in figures:
        return ""
    caption = _CAPTIONS[name]
    svg = inline_svg(figures[name], name, caption)
    return (
        f'<figure><div class="scroll">{svg}</div>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _notes(metrics: Mapping[str, Any]) -> str:
    notes = [
        *tables.summary_notes(metrics),
        "errors are in standard deviations of the Keras model's output",
    ]
    return f'<p class="muted">{html.escape("; ".join(notes))}.</p>'


def _html_table(table: tables.Table) -> str:
    header, rows = table
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return _scroll(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def _groups_table(groups: Sequence[Mapping[str, Any]], kept: Mapping[str, Sequence[int]]) -> str:
    rows = []
    for group in groups:
        size, name = int(group["size"]), group["name"]
        after = len(kept[name]) if name in kept else size
        share = 100 * after / size if size else 100.0
        free = bool(group.get("prunable"))
        style = "" if free else ' class="frozen"'
        why = "" if free else group.get("reason") or "frozen"
        meter = f'<span class="bar"><i style="width:{share:.0f}%"></i></span> {share:.0f} %'
        rows.append(
            f"<tr{style}>"
            f'<th scope="row">{html.escape(str(name))}</th><td>{size}</td><td>{after}</td>'
            f"<td>{meter if free else ''}</td>"
            f'<td class="text">{html.escape(str(why))}</td>'
            f'<td class="text">{_layers(group.get("layers") or ())}</td></tr>'
        )
    return _scroll(
        '<table><thead><tr><th scope="col">group</th><th scope="col">before</th>'
        '<th scope="col">after</th><th scope="col">kept</th>'
        '<th scope="col" class="text">why it is not cut</th>'
        '<th scope="col" class="text">layers</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _layers(names: Sequence[str]) -> str:
    text = html.escape(", ".join(str(name) for name in names))
    if len(names) <= _LAYERS_SHOWN:
        return text
    return f"<details><summary>{len(names)} layers</summary>{text}</details>"


def _config_table(config: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{html.escape(key)}</th>'
        f'<td class="text">{html.escape(value)}</td></tr>'
        for key, value in _flatten(config)
    )
    return _scroll(f"<table><tbody>{rows}</tbody></table>")


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted names and texts."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            rows.extend(_flatten(value, f"{name}."))
        elif isinstance(value, str):
            rows.append((name, value))
        else:
            rows.append((name, json.dumps(value, default=str, ensure_ascii=False)))
    return rows


def _scroll(content: str) -> str:
    return f'<div class="scroll" tabindex="0">{content}</div>'
