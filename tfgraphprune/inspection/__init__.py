"""INSPECT: what can be cut from a model, as a table, as data and as a picture."""

from tfgraphprune.inspection.findings import GroupRow, Inspection, Verdict, WidthRow
from tfgraphprune.inspection.reading import inspect, inspect_file

__all__ = ["GroupRow", "Inspection", "Verdict", "WidthRow", "inspect", "inspect_file"]
