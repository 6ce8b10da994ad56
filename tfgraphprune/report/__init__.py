"""SHOW: a run's record as figures, tables and one self-contained HTML page."""

from tfgraphprune.report.figures import (
    channels_figure,
    costs_figure,
    layer_graph_figure,
    search_figure,
)
from tfgraphprune.report.page import Report, render
from tfgraphprune.report.tables import summary_table

__all__ = [
    "Report",
    "channels_figure",
    "costs_figure",
    "layer_graph_figure",
    "render",
    "search_figure",
    "summary_table",
]
