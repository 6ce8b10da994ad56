"""The methods of search by name. A new one is one file and one line in `SEARCHERS`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
from dataclasses import dataclass
from typing import Any

from tfgraphprune.errors import MissingExtraError, UserError
from tfgraphprune.legacy_keras import serves_tf_keras
from tfgraphprune.outputs import scores_classes
from tfgraphprune.search.searcher import Searcher


@dataclass(frozen=True)
class SearcherEntry:
    """Where a method is, and the optional package that it needs.

    Attributes:
        module: the module's full name.
        name: the class within it.
        imports: the package's name in an import statement, if it needs one.
        package: the package's name for pip.
        extra: the extra of this package that brings it.
        legacy: whether the package needs `tf.keras` to be tf_keras.
        training_examples: examples with labels that it takes gradients of.
        needs_classes: whether those gradients are of the cross-entropy on class labels.
    """

    module: str
    name: str
    imports: str | None = None
    package: str = ""
    extra: str = ""
    legacy: bool = False
    training_examples: int = 512
    needs_classes: bool = False


def _agent(module: str, name: str) -> SearcherEntry:
    return SearcherEntry(
        f"tfgraphprune.search.agents.{module}", name, "tf_agents", "tf-agents", "search", True
    )


def _rival(module: str, name: str, **more: Any) -> SearcherEntry:
    return SearcherEntry(f"tfgraphprune.search.rivals.{module}", name, **more)


SEARCHERS: dict[str, SearcherEntry] = {
    "sac": _agent("sac", "SacSearch"),
    "sac_sequential": _agent("sac_sequential", "SacSequentialSearch"),
    "ddpg": _agent("ddpg", "DdpgSearch"),
    "ppo": _agent("ppo", "PpoSearch"),
    "pretrained": SearcherEntry(
        "tfgraphprune.search.agents.pretrained", "PretrainedSearch", legacy=True
    ),
    "uniform": _rival("simple", "UniformSearch"),
    "random": _rival("simple", "RandomSearch"),
    "sensitivity": _rival("sensitivity", "SensitivitySearch"),
    "least_change": _rival("least_change", "LeastChangeSearch"),
    "netadapt": _rival("netadapt", "NetAdaptSearch"),
    "knapsack": _rival("knapsack", "KnapsackSearch", needs_classes=True),
    "capacity": _rival("capacity", "CapacitySearch"),
    "evolution": _rival("evolution", "EvolutionSearch"),
    "cma_es": _rival("cma_es", "CmaEsSearch", imports="cmaes", package="cmaes", extra="search"),
    "bottleneck": _rival(
        "bottleneck", "BottleneckSearch", training_examples=12_800, needs_classes=True
    ),
}


def needs_worker(name: str) -> bool:
    """Whether a method's package can't be imported here, because `tf.keras` is Keras 3."""
    return _entry(name).legacy and not serves_tf_keras()


def training_examples(name: str) -> int:
    """How many training examples a method takes gradients of."""
    return _entry(name).training_examples


def require(name: str, model: Any = None) -> None:
    """Check a method before long work starts, wherever it will run.

    Args:
        name: of the method.
        model: that it is to prune, where that is known.

    Raises:
        UserError: no such method, or one that needs class labels for a model of other outputs.
        MissingExtraError: the package that it needs is not installed.
    """
    if model is not None and _entry(name).needs_classes and not scores_classes(model):
        raise UserError(
            f"{name!r} takes gradients of the cross-entropy on class labels, which this model "
            "was not made for: choose another method."
        )
    if not needs_worker(name):
        searcher_class(name)
        return
    entry = _entry(name)
    if entry.imports is not None and importlib.util.find_spec(entry.imports) is None:
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
