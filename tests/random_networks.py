"""Random networks of all kinds of layers and couplings, and the check that cutting is masking.

The same steps are driven by hypothesis (`models`) and by a seeded generator (`network_of`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tf_keras as keras
from hypothesis import strategies as st

from tests import networks, random_couplings, random_layers, random_ops
from tests.random_steps import IMAGE, SEQUENCE, VECTOR, VOCABULARY, VOLUME, Draw, L, project
from tests.random_walk import fit, some_steps, walk
from tfgraphprune.cost import dense_counts, macs_cost, params_cost
from tfgraphprune.errors import UserError
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning import PruningPlan, masked, prune

STEP_MODULES = (random_couplings, random_layers, random_ops)
"""Importing them registers their steps."""

SHAPES = {VECTOR: (6,), SEQUENCE: (8, 4), IMAGE: (8, 6, 3), VOLUME: (4, 4, 4, 2)}
"""Shapes of the first input, by rank."""

MOST_STEPS = 13
"""The most steps of a model; most models have more than half as many."""

CUT = 0.3
"""The least share of the prunable channels that a plan cuts."""

DEAD = 1e-6
"""An output with a smaller standard deviation shows nothing."""

TOLERANCE = 1e-4
"""The largest difference between pruned and masked, in standard deviations of the output."""


@dataclass
class Network:
    """A random model.

    Attributes:
        model: with random weights.
        seen: kind and name of the layer that shows it.
        seed: of its weights, inputs and plan.
    """

    model: Any
    seen: list[tuple[str, str]]
    seed: int


@dataclass
class Outcome:
    """What checking one random model showed.

    Attributes:
        kinds: every kind that occurs, and whether channels next to it were cut.
        outputs: number of outputs.
        dead: how many of them were constant.
        cut: the share of the prunable channels that was cut.
        macs: whether MACs could be counted.
        errors: what is wrong; empty if all agrees.
    """

    kinds: dict[str, bool]
    outputs: int = 0
    dead: int = 0
    cut: float = 0.0
    macs: bool = True
    errors: list[str] = field(default_factory=list)


def draw_network(draw: Draw) -> Network:
    """Draw the architecture, then weights."""
    keras.backend.clear_session()
    counts = [draw.integers(1, MOST_STEPS) for _ in range(2)]
    steps = some_steps(draw, max(counts))
    rank = draw.sampled_from([IMAGE, SEQUENCE, VOLUME, VECTOR, 0])
    if rank:
        start = x = keras.Input(SHAPES[rank])
    else:
        start = keras.Input((8,), dtype="int32")
        x = draw.see("Embedding", L.Embedding(VOCABULARY, draw.integers(3, 8))(start))
    draw.inputs.append(start)
    if draw.booleans():
        x = project(draw, x)
    x = walk(draw, x, steps)
    if len(x.shape) > VECTOR:
        x = project(draw, x)
        x = L.Reshape((-1, x.shape[-1]))(x)
        ends = [L.GlobalAveragePooling1D, L.GlobalMaxPooling1D, L.Flatten]
        x = draw.sampled_from(ends)()(x)
    end = L.Dense(3)(L.Dense(6, "relu")(fit(draw, x)))
    model = keras.Model(draw.inputs, [*draw.outputs, end])
    seed = draw.integers(0, 2**31 - 1)
    return Network(networks.randomise(model, seed), draw.seen, seed)


@st.composite
def models(draw):
    """Random networks as a hypothesis strategy."""
    return draw_network(Draw(lambda low, high: draw(st.integers(low, high))))


def network_of(seed: int) -> Network:
    """The random network of a seed."""
    random = np.random.default_rng(seed)
    return draw_network(Draw(lambda low, high: int(random.integers(low, high, endpoint=True))))


def random_plan(graph: LayerGraph, seed: int) -> PruningPlan:
    """Random channels of each group, with the least share cut over all of them."""
    random = np.random.default_rng(seed)
    groups = graph.prunable_groups
    counts = [int(random.integers(0, g.size // g.step, endpoint=True)) * g.step for g in groups]
    counts = [max(c, min(g.step, g.size)) for c, g in zip(counts, groups, strict=True)]
    while sum(counts) > (1 - CUT) * sum(g.size for g in groups):
        spare = [c - g.step for c, g in zip(counts, groups, strict=True)]
        largest = int(np.argmax(spare))
        if spare[largest] < 1:
            break
        counts[largest] -= groups[largest].step
    kept = {g.name: random.permutation(g.size)[:c] for c, g in zip(counts, groups, strict=True)}
    return PruningPlan.from_indices(graph, kept)


def check(network: Network) -> Outcome:
    """Cut a random plan, and compare with masking and with the cost functions."""
    model = network.model
    graph = LayerGraph.from_model(model)
    plan = random_plan(graph, network.seed)
    outcome = Outcome(_kinds(network, graph, plan))
    sizes = sum(g.size for g in graph.prunable_groups)
    counts = plan.counts(graph)
    outcome.cut = 1 - float(counts.sum()) / sizes if sizes else 0.0
    small = prune(model, plan)
    x = networks.inputs_for(model, 3, network.seed)
    expected, got = (networks.outputs_of(m, x) for m in (masked(model, plan), small))
    for number, (a, b) in enumerate(zip(expected, got, strict=True)):
        outcome.outputs += 1
        if a.shape != b.shape:
            outcome.errors.append(f"output {number} has shape {b.shape}, not {a.shape}")
        elif not np.isfinite(a).all():
            outcome.errors.append(f"output {number} is not finite")
        elif a.std() <= DEAD:
            outcome.dead += 1
        elif not np.abs(a - b).max() < TOLERANCE * a.std():
            error = np.abs(a - b).max() / a.std()
            outcome.errors.append(f"output {number} differs by {error:.1e} standard deviations")
    _check_costs(graph, counts, small, outcome)
    return outcome


def _check_costs(graph: LayerGraph, counts: np.ndarray, small: Any, outcome: Outcome) -> None:
    params = params_cost(graph)(counts)
    if params != small.count_params():
        outcome.errors.append(f"{params} parameters predicted, {small.count_params()} counted")
    try:
        macs = macs_cost(graph)(counts)
    except UserError:
        outcome.macs = False
        return
    rebuilt = LayerGraph.from_model(small)
    counted = macs_cost(rebuilt)(dense_counts(rebuilt))
    if macs != counted:
        outcome.errors.append(f"{macs} MACs predicted, {counted} counted")


def _kinds(network: Network, graph: LayerGraph, plan: PruningPlan) -> dict[str, bool]:
    """Every kind that occurs, and whether a channel of a tensor or weight next to it is cut."""
    cut = {g.name for g in graph.prunable_groups if len(plan.kept.get(g.name, ())) < g.size}
    groups_of = {node.name: set(node.groups) for node in graph.nodes}
    near: dict[str, set[str]] = {}
    for node in graph.nodes:
        groups = set(node.groups).union(*(groups_of.get(name, ()) for name in node.inputs))
        for name in node.path:
            near.setdefault(name, set()).update(groups)
    for group in graph.channel_groups:
        for axis in group.axes:
            for name in axis.path:
                near.setdefault(name, set()).add(group.name)
    kinds: dict[str, bool] = {}
    for kind, name in network.seen:
        kinds[kind] = kinds.get(kind, False) or bool(near.get(name, set()) & cut)
    return kinds
