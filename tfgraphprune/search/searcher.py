"""What every method of search is: the agent's and the rivals' common interface, and their list.

A new method is one file and one line in `SEARCHERS`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfgraphprune.errors import MissingExtraError, UserError
from tfgraphprune.legacy_keras import serves_tf_keras
from tfgraphprune.search.problem import Outcome, SearchProblem, evaluate


class Searcher(ABC):
    """Proposes actions and learns from what became of them.

    All randomness follows from `(seed, episode)` or from counters within `state()`, so that a
    search that was killed and resumed ends as one that was left alone.

    Args:
        problem: what is searched.
        evaluations: rewards that may be looked at.
        seed: of everything random.
    """

    def __init__(self, problem: SearchProblem, evaluations: int, seed: int):
        self.problem = problem
        self.evaluations = evaluations
        self.seed = seed

    @classmethod
    def needed(cls, evaluations: int) -> int:
        """How many of the rewards that are allowed the method looks at; all by default."""
        return evaluations

    @abstractmethod
    def propose(self, episode: int) -> np.ndarray:
        """The action, float32 `[G]` in [-1, 1], of episode 0, 1, ..."""

    def play(self, action: np.ndarray, floor: float) -> Outcome:
        """Evaluate an action; `floor` is the reward where that fails."""
        return evaluate(self.problem, action, floor)

    def observe(self, episode: int, outcome: Outcome) -> None:  # noqa: B027
        """Learn from an evaluation; nothing by default."""

    def state(self) -> dict[str, Any]:
        """TensorFlow trackables that a checkpoint must hold; none by default."""
        return {}

    def scalars(self) -> dict[str, float]:
        """Figures for TensorBoard beside the reward; none by default."""
        return {}


@dataclass(frozen=True)
class SearcherEntry:
    """Where a method is, and the optional package that it needs.

    Attributes:
        module: the module's full name.
        name: the class within it.
        imports: the package's name in an import statement, if it needs one.
        package: the package's name for pip.
        extra: the extra of this package that brings it.
    """

    module: str
    name: str
    imports: str | None = None
    package: str = ""
    extra: str = ""


SEARCHERS: dict[str, SearcherEntry] = {
    "sac": SearcherEntry(
        "tfgraphprune.search.sac", "SacSearch", "tf_agents", "tf-agents", "search"
    ),
    "uniform": SearcherEntry("tfgraphprune.search.rivals", "UniformSearch"),
    "random": SearcherEntry("tfgraphprune.search.rivals", "RandomSearch"),
}


def needs_worker(name: str) -> bool:
    """Whether a method's package can't be imported here, because `tf.keras` is Keras 3."""
    return _entry(name).imports is not None and not serves_tf_keras()


def require(name: str) -> None:
    """Check a method before long work starts, wherever it will run.

    Raises:
        UserError: no such method.
        MissingExtraError: the package that it needs is not installed.
    """
    if not needs_worker(name):
        searcher_class(name)
        return
    entry = _entry(name)
    if importlib.util.find_spec(str(entry.imports)) is None:
        raise _missing(name, entry)


def searcher_class(name: str) -> type[Searcher]:
    """The class of a method, imported.

    Raises:
        UserError: no such method.
        MissingExtraError: the package that it needs is not installed.
    """
    entry = _entry(name)
    if entry.imports is not None:
        try:
            # TF-Agents imports gym, which prints that it is old: nothing a user could act on.
            with contextlib.redirect_stderr(io.StringIO()):
                importlib.import_module(entry.imports)
        except ImportError as error:
            raise _missing(name, entry) from error
    return getattr(importlib.import_module(entry.module), entry.name)


def _entry(name: str) -> SearcherEntry:
    if name not in SEARCHERS:
        raise UserError(f"the search agent must be one of {', '.join(SEARCHERS)}, not {name!r}.")
    return SEARCHERS[name]


def _missing(name: str, entry: SearcherEntry) -> MissingExtraError:
    return MissingExtraError(f"The search agent {name!r}", entry.package, entry.extra)
