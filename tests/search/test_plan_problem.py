"""Scores in, counts out: the action that is stored stands for the counts that were rewarded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import networks
from tests.cost.test_projection import projections
from tfgraphprune.cost import resolve_limits
from tfgraphprune.graph import LayerGraph
from tfgraphprune.search.plan_problem import PlanProblem
from tfgraphprune.settings import Budget


def problem_of(projection):
    return PlanProblem(None, None, projection, None, None)


@pytest.fixture(scope="module")
def graph():
    return LayerGraph.from_model(networks.build("residual"), channel_multiple=2)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_a_stored_action_leads_to_the_same_counts(graph, share):
    limits = resolve_limits(Budget(macs_ratio=share), graph)
    problem = PlanProblem.of(graph, limits, None, None)
    random = np.random.default_rng(0)
    for _ in range(50):
        found = problem.execute(random.uniform(-1, 1, len(graph.prunable_groups)))
        assert np.abs(found.action).max() <= 1
        assert problem.execute(found.action).counts == found.counts


@given(projections(), st.integers(0, 2**32))
def test_it_does_so_wherever_its_scores_have_room(projection, seed):
    problem = problem_of(projection)
    action = np.random.default_rng(seed).uniform(-1, 1, len(projection.sizes))
    found = problem.execute(action)
    if np.ptp(found.action) < 1.99:
        assert problem.execute(found.action).counts == found.counts
