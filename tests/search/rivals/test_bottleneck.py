import numpy as np
import pytest
import tf_keras as keras

import tfgraphprune as tgp
from tests import networks
from tfgraphprune.cost import resolve_limits
from tfgraphprune.search.evaluation.evaluator import RewardEvaluator
from tfgraphprune.search.plan_problem import PlanProblem
from tfgraphprune.search.rivals.bottleneck import BottleneckSearch, _GatedModel


@pytest.mark.parametrize("name", ["resnet_a", "depthwise_2", "grouped"])
def test_slopes_are_those_of_finite_differences(name):
    name = next(n for n in sorted(networks.ALL) if n.startswith(name))
    model = networks.build(name)
    graph = tgp.LayerGraph.from_model(model)
    gated = _GatedModel(graph)
    x = networks.inputs_for(model, 8)
    y = np.arange(8) % model.output_shape[-1]
    random = np.random.default_rng(0)
    gates = [random.uniform(0.3, 0.9, g.size) for g in graph.prunable_groups]
    slopes = gated.slopes(gates, x, y)

    def loss(group, channel, step):
        moved = [gate.copy() for gate in gates]
        moved[group][channel] += step
        gated.slopes(moved, x, y)
        outputs = gated._estimator.outputs(x)
        return float(gated._loss(y, outputs))

    scale = max(np.abs(slope).max() for slope in slopes)
    for group in range(len(gates)):
        channel = int(np.argmax(np.abs(slopes[group])))
        step = 3e-3
        measured = (loss(group, channel, step) - loss(group, channel, -step)) / (2 * step)
        assert slopes[group][channel] == pytest.approx(measured, abs=0.1 * scale)


def test_closes_the_gates_until_the_budget_is_near(digits_model, digits):
    graph = tgp.LayerGraph.from_model(digits_model)
    some = tuple(part[:256] for part in digits.train)
    limits = resolve_limits(tgp.Budget(macs_ratio=0.5), graph)
    evaluator = RewardEvaluator(graph, some, digits.reward)
    problem = PlanProblem.of(graph, limits, evaluator, digits.train)
    search = BottleneckSearch(problem, 1, 0, {"batches": 60})
    weights = [w.copy() for w in digits_model.get_weights()]
    action = search.propose(0)
    assert problem.images == 3 * 60 * 64
    counts = problem.execute(action).counts
    assert problem.projection.fits(np.array(counts))
    uniform = problem.execute(np.zeros(len(counts))).counts
    assert problem.reward(counts) > problem.reward(uniform) - 0.02
    for before, after in zip(weights, digits_model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    keras.backend.clear_session()


def test_it_is_repeatable_and_more_evaluations_change_nothing(digits_model, digits):
    graph = tgp.LayerGraph.from_model(digits_model)
    some = tuple(part[:128] for part in digits.train)
    limits = resolve_limits(tgp.Budget(macs_ratio=0.5), graph)
    evaluator = RewardEvaluator(graph, some, digits.reward)
    actions = []
    for seed, evaluations in ((1, 1), (1, 50)):
        problem = PlanProblem.of(graph, limits, evaluator, digits.train)
        search = BottleneckSearch(problem, evaluations, seed, {"batches": 20, "batch": 16})
        assert search.needed(evaluations, problem) == 1
        actions.append(search.propose(0).tolist())
    assert actions[0] == actions[1]
