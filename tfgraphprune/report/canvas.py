"""matplotlib figures without pyplot and without a global backend, and their inline SVG."""

from __future__ import annotations

import html
import io
import re

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfgraphprune.report.theme import CSS_VARIABLES, INK, LINE, MUTED, PAPER

STYLE = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.usetex": False,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "svg.fonttype": "none",
}
"""What a user's own matplotlib settings must not change; applied around drawing only."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` by `height` inches on the Agg canvas."""
    figure = Figure(figsize=(width, height), facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def shorten(name: str, length: int) -> str:
    """`name` on one line in at most `length` characters, its middle left out."""
    flat = "".join(c if c.isprintable() else " " for c in name)
    if len(flat) <= length:
        return flat
    tail = length // 2
    return f"{flat[: length - tail - 1]}…{flat[-tail:]}"


def inline_svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an `<svg>` element for an HTML page.

    Its ids start with `name`, so that several fit on one page; its colours follow the page's
    variables; it holds no comments, metadata or addresses. The same figure gives the same text.

    Args:
        figure: the figure.
        name: an identifier, unique on the page.
        label: the text alternative.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", lambda tag: _adapt(tag.group(), name), text)
    width = figure.get_figwidth() * 96
    opening = (
        f'<svg role="img" aria-label="{html.escape(label, quote=True)}" '
        f'style="width:100%;min-width:{0.8 * width:.0f}px;max-width:{1.3 * width:.0f}px" '
    )
    return text.replace("<svg ", opening, 1).strip()


def _adapt(tag: str, name: str) -> str:
    """A tag with ids of its own page-wide name space and the page's colours."""
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = tag.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    if tag.startswith("<svg"):
        tag = re.sub(r' (xmlns(:\w+)?|width|height|version)="[^"]*"', "", tag)
    for colour, variable in CSS_VARIABLES.items():
        tag = tag.replace(colour, variable)
    return tag
