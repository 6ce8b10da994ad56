"""The layer graph as a picture file."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping
from typing import Any

import matplotlib

from tfgraphprune.report.canvas import STYLE
from tfgraphprune.report.graph_figure import layer_graph_figure
from tfgraphprune.report.layout import collapse

PICTURES = ("svg", "png", "pdf")
"""Suffixes of the files that pictures can be."""


def layer_graph_picture(graph: Mapping[str, Any], file_format: str) -> bytes:
    """The layer graph, coloured by channel group, as a file; the same graph gives the same bytes.

    In an SVG each box has a title, which browsers show when the mouse is over it: the names of
    its layers, and its channel groups.

    Args:
        graph: a layer graph's `to_dict()`.
        file_format: `svg`, `png` or `pdf`.
    """
    date = {"svg": "Date", "pdf": "CreationDate"}.get(file_format)
    buffer = io.BytesIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": "layers"}):
        figure = layer_graph_figure(graph)
        figure.savefig(buffer, format=file_format, dpi=100, metadata={date: None} if date else None)
    if file_format != "svg":
        return buffer.getvalue()
    groups = {group["name"]: group for group in graph.get("groups", ())}
    text = buffer.getvalue().decode()
    for index, box in enumerate(collapse(list(graph.get("nodes", ())))):
        lines = [f"{node['name']} ({node.get('type', '')})" for node in box["members"]]
        for name in box["members"][-1].get("groups", ()):
            group = groups[name]
            state = "free" if group.get("prunable") else f"frozen: {group.get('reason', '')}"
            lines.append(f"channels of {name}: {group['size']}, {state}")
        title = html.escape("\n".join(lines), quote=False)
        opening = f'<g id="box-{index}">'
        text = text.replace(opening, f"{opening}\n<title>{title}</title>", 1)
    return text.encode()
