"""The table of operations that TFLite's benchmark tool writes as CSV, read back."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tfgraphprune.errors import UserError

_HEADER = "node type, "
_NUMBER = r"-?(?:\d[\d.e+-]*|nan|inf)%?"


@dataclass(frozen=True)
class OpTime:
    """What one operation takes.

    Attributes:
        kind: its type, such as CONV_2D.
        name: its name in the file.
        average_ms: mean over the runs, in milliseconds.
        percent: its share of the whole, as the tool counts it.
        times_called: calls in a run.
        in_delegate: whether it runs inside a delegate, whose own row holds its time too.
    """

    kind: str
    name: str
    average_ms: float
    percent: float
    times_called: int
    in_delegate: bool


def parse_profile(text: str) -> tuple[OpTime, ...]:
    """Read the operations in the order in which they run; initialisation is left out.

    Fields are not quoted, and types ("Convolution (NHWC, F32) IGEMM") as well as names hold
    commas: the numbers between the two tell where each ends.

    Args:
        text: content of the file.

    Raises:
        UserError: there is no table in it.
    """
    found: list[OpTime] = []
    columns: list[str] = []
    initialising = in_delegate = listing = False
    for line in text.splitlines():
        if "Benchmark Initialization" in line:
            initialising, in_delegate = True, False
        elif "Regular Benchmark Runs" in line:
            initialising, in_delegate = False, False
        elif line.startswith("Delegate internal"):
            in_delegate = True
        elif line.startswith("====="):
            listing = "Run Order" in line and not initialising
        elif line.startswith(_HEADER):
            columns = [column.strip() for column in line.split(",")]
        elif listing and line.strip():
            found.append(_row(line, columns, in_delegate))
        else:
            listing = False
    if not found:
        raise UserError(
            "The op profile holds no operations: use a benchmark_model that was built with "
            "profiling, or leave profile out."
        )
    return tuple(found)


def _row(line: str, columns: list[str], in_delegate: bool) -> OpTime:
    numbers = columns[1:-1]
    match = re.fullmatch(rf"(.*?), ((?:{_NUMBER}, ){{{len(numbers)}}})(.*)", line)
    if not match or not numbers:
        raise UserError(
            f"The op profile has a row that can't be read ({line!r}): leave profile out."
        )
    fields = match[2].removesuffix(", ").split(", ")
    values = {name: float(value.rstrip("%")) for name, value in zip(numbers, fields, strict=True)}
    return OpTime(
        kind=match[1],
        name=match[3],
        average_ms=values["avg_ms"],
        percent=values["%"],
        times_called=int(values["times called"]),
        in_delegate=in_delegate,
    )
