"""What the tests of the agents share: episodes without the loop, and searches that are killed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.search.synthetic import PatternProblem, Stopped, StoppingProblem
from tfgraphprune.search.determinism import deterministic_ops
from tfgraphprune.search.loop import run_search


def play(search, first, last):
    """Episodes `first` to `last - 1`; their outcomes."""
    outcomes = []
    with deterministic_ops():
        for episode in range(first, last):
            outcomes.append(search.play(search.propose(episode), 0.0))
            search.observe(episode, outcomes[-1])
    return outcomes


def rewards(method, groups=6, evaluations=80, seed=0, **options):
    """The rewards of a search on the pattern."""
    history = run_search(
        PatternProblem(groups),
        method,
        evaluations=evaluations,
        seed=seed,
        options=options,
        progress=False,
    )
    return np.array([row["reward"] for row in history.rows])


def check_that_a_stop_changes_nothing(folder, method, options: dict[str, Any]):
    """A search that is stopped in training, as `StoppingProblem(6)` does, ends as one that is
    left alone."""

    def search(problem, **more):
        history = run_search(
            problem, method, evaluations=10, seed=3, options=options, progress=False, **more
        )
        return history.rows

    expected = search(PatternProblem(4))
    with pytest.raises(Stopped):
        search(StoppingProblem(6), checkpoint_dir=folder)
    problem = PatternProblem(4)
    assert search(problem, checkpoint_dir=folder, log_dir=folder / "log") == expected
    assert len(problem.rewarded) == 10 - 5
    assert len({tuple(row["counts"]) for row in expected}) > 5
    return expected


def gradients(network, observation, value):
    """The gradient of a number of a network's output by its weights, as one vector."""
    with tf.GradientTape() as tape:
        number = value(network(observation)[0])
    found = tape.gradient(number, network.trainable_variables)
    return np.concatenate([np.ravel(g) for g in found if g is not None])
