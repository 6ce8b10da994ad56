"""Checks that several settings share."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from tfgraphprune.errors import UserError


def is_number(value: Any) -> bool:
    """Whether it is a number, and not NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def is_integer(value: Any) -> bool:
    """Whether it is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def positive_integer(name: str, value: Any) -> None:
    """Refuse what is not a whole number from 1 on."""
    if not is_integer(value) or value < 1:
        raise UserError(f"{name} must be a whole number from 1 on, not {value!r}.")


def whole_seed(seed: Any) -> int:
    """A seed as Python's own number, which goes into JSON.

    Raises:
        UserError: it is not a whole number from 0 to 2**31 - 1.
    """
    try:
        found = operator.index(seed)
    except TypeError:
        found = -1
    if not 0 <= found < 2**31:
        raise UserError(f"seed must be a whole number from 0 to 2**31 - 1, not {seed!r}.")
    return found


def one_of(name: str, value: Any, known: Sequence[str | None]) -> None:
    """Refuse a name that is not known."""
    if value not in known:
        listed = ", ".join(map(repr, known[:-1])) + f" or {known[-1]!r}"
        raise UserError(f"{name} must be {listed}, not {value!r}.")
