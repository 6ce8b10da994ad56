"""Latency as a budget: the operators found, the fit to whole networks, and plans that meet it."""

from collections import Counter

import numpy as np
import pytest
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter

import tfgraphprune as tgp
from tests.networks import build
from tfgraphprune import latency_model
from tfgraphprune.cost.model_cost import dense_counts
from tfgraphprune.cost.projection import Projection, resolve_limits
from tfgraphprune.models import digits_cnn, resnet_cifar
from tfgraphprune.tflite.clocks import Clocks
from tfgraphprune.tflite.latency import Latency
from tfgraphprune.tflite.layer_operators import elements_of, kernels_of

TILE = 16


def _ms(path):
    """A device that makes channels in tiles, told from a file's own operators."""
    interpreter = Interpreter(
        str(path), experimental_op_resolver_type=_plain(), experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    tensors = {t["index"]: t["shape"] for t in interpreter.get_tensor_details()}
    total = 0.0
    for op in interpreter._get_ops_details():
        shapes = [tuple(tensors[i]) for i in op["inputs"] if i in tensors]
        result = tuple(tensors[op["outputs"][0]])
        outputs = -(-result[-1] // TILE) * TILE
        if op["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            kernel = shapes[1]
            reads = 1 if op["op_name"].startswith("DEPTH") else kernel[-1]
            total += np.prod(result[:-1]) * outputs * reads * kernel[1] * kernel[2] / 1e5
        elif op["op_name"] == "FULLY_CONNECTED":
            total += outputs * shapes[1][-1] / 1e5
        else:
            total += np.prod(result) / 1e5
    return total + 0.2


def _plain():
    from ai_edge_litert.interpreter import OpResolverType

    return OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def _clock(paths):
    times = {name: _ms(path) for name, path in paths.items()}
    return {name: Latency(ms, ms, ms, 1, (ms,)) for name, ms in times.items()}


@pytest.fixture
def device(monkeypatch):
    fake = Clocks("a tiled device", _clock, _clock)
    monkeypatch.setattr(latency_model, "clocks", lambda budget: fake)


def _ops(model, tmp_path):
    path = tmp_path / "m.tflite"
    tgp.export_tflite(model, path)
    interpreter = Interpreter(str(path), experimental_op_resolver_type=_plain())
    interpreter.allocate_tensors()
    return Counter(op["op_name"] for op in interpreter._get_ops_details())


@pytest.mark.parametrize(
    "name", ["plain", "residual", "depthwise_1", "separable", "concat_channels", "resnet_a",
             "nested_functional", "siamese", "se_reshape"],
)  # fmt: skip
def test_kernels_are_those_of_the_file(name, tmp_path):
    model = build(name)
    found = Counter(kernel.operator.kind for kernel in kernels_of(tgp.LayerGraph.from_model(model)))
    ops = _ops(model, tmp_path)
    # A dense layer on maps is a convolution of size one for the converter.
    assert found["depthwise"] == ops["DEPTHWISE_CONV_2D"]
    assert found["conv"] + found["dense"] == ops["CONV_2D"] + ops["FULLY_CONNECTED"]


@pytest.mark.parametrize("name", ["resnet_b", "depthwise_2", "grouped", "separable"])
def test_sizes_follow_the_plan(name):
    model = build(name)
    graph = tgp.LayerGraph.from_model(model)
    plan = tgp.PruningPlan.from_keep_ratios(graph, 0.5)
    counts = plan.counts(graph)
    small = tgp.LayerGraph.from_model(tgp.prune(model, plan))
    for kernel, cut in zip(kernels_of(graph), kernels_of(small), strict=True):
        inputs = 1 if cut.operator.kind == "depthwise" else cut.operator.inputs
        for size, whole in ((kernel.reads, inputs), (kernel.makes, cut.operator.outputs)):
            assert float(counts @ size.slope) + size.fixed == whole, kernel.layer
    wide, narrow = elements_of(graph), elements_of(small)
    dense = dense_counts(small)
    assert counts @ wide.slope + wide.fixed == pytest.approx(dense @ narrow.slope + narrow.fixed)


@pytest.mark.parametrize("network", [digits_cnn, lambda: resnet_cifar(20, "A")])
def test_the_estimate_is_near_every_network(network, device):
    graph = tgp.LayerGraph.from_model(network())
    budget = tgp.Budget(latency_ratio=0.6)
    found = latency_model.measure_latency(graph, budget, progress=False)
    assert set(found.steps.values()) <= {8, TILE} and found.error < 0.05
    assert float(found.cost(dense_counts(graph))) == pytest.approx(found.dense_ms, rel=0.03)
    random = np.random.default_rng(3)
    plans = [random.integers(d // 3 + 1, d + 1) for d in [dense_counts(graph)] * 4]
    times = latency_model._times(graph, plans, Clocks("", _clock, _clock))
    np.testing.assert_allclose(found.cost(np.stack(plans)), times, rtol=0.08)


def test_a_record_stands_for_the_networks(device):
    graph = tgp.LayerGraph.from_model(build("residual"))
    budget = tgp.Budget(latency_ratio=0.6)
    first = latency_model.measure_latency(graph, budget, progress=False)
    again = latency_model.measure_latency(graph, budget, record=first.record(), progress=False)
    rows = np.random.default_rng(0).integers(
        1, dense_counts(graph) + 1, (20, len(graph.prunable_groups))
    )
    np.testing.assert_allclose(first.cost(rows), again.cost(rows))


def test_plans_stay_on_the_devices_steps(device):
    graph = tgp.LayerGraph.from_model(resnet_cifar(20, "A"))
    found = latency_model.measure_latency(graph, tgp.Budget(latency_ratio=0.6), progress=False)
    stepped = found.stepped(graph)
    assert {(group.size, group.step) for group in stepped.prunable_groups} == {
        (16, 8), (32, TILE), (64, TILE),
    }  # fmt: skip
    assert stepped.fingerprint == graph.fingerprint
    mine = tgp.LayerGraph.from_model(graph.model, channel_multiple=4)
    assert found.stepped(mine) is mine


def test_tiles_are_filled(device):
    """With a latency budget alone, no channel that costs nothing is left out."""
    graph = tgp.LayerGraph.from_model(build("resnet_b"))
    found = latency_model.measure_latency(graph, tgp.Budget(latency_ratio=0.7), progress=False)
    limits = resolve_limits(tgp.Budget(latency_ratio=0.7), graph, latency=found.cost)
    projection = Projection.of(graph, limits)
    counts, _ = projection.project(np.zeros(len(graph.prunable_groups)))
    assert projection.fits(counts)
    for index in range(len(counts)):
        more = counts.copy()
        more[index] += 1
        assert more[index] > projection.sizes[index] or not projection.fits(more)


@pytest.mark.parametrize("budget", [{"latency_ratio": 0.6, "macs_ratio": 0.6}, {"latency_ms": 80}])
def test_a_plan_is_measured_and_corrected(budget, device, monkeypatch):
    graph, budget = tgp.LayerGraph.from_model(resnet_cifar(8, "A")), tgp.Budget(**budget)
    found = latency_model.measure_latency(graph, budget, networks=2, progress=False)
    limits = resolve_limits(budget, graph, latency=found.cost, dense_ms=found.dense_ms)
    counts, _ = Projection.of(graph, limits).project(np.zeros(len(graph.prunable_groups)))
    names = [group.name for group in graph.prunable_groups]
    plan = tgp.PruningPlan.from_counts(graph, dict(zip(names, map(int, counts), strict=True)))

    def slower(paths):
        """Pruned networks take longer than any table told."""
        times = {name: _ms(path) * (1 if name == "0" else 1.2) for name, path in paths.items()}
        return {name: Latency(ms, ms, ms, 1, (ms,)) for name, ms in times.items()}

    monkeypatch.setattr(latency_model, "clocks", lambda budget: Clocks("", _clock, slower))
    settled, measured = latency_model.settle(graph, plan, budget, limits, tgp.Search())
    ms = latency_model._times(
        graph, [dense_counts(graph), settled.counts(graph)], Clocks("", _clock, slower)
    )[1]
    allowed = budget.latency_ms or 0.6 * found.dense_ms
    assert measured["share"] == pytest.approx(ms / allowed, rel=1e-3)
    assert 0.95 <= measured["share"] <= 1.01
    assert all(limit.cost(settled.counts(graph)) <= limit.value for limit in limits)


def test_a_plan_that_meets_its_budget_stays(device):
    graph = tgp.LayerGraph.from_model(build("residual"))
    budget = tgp.Budget(latency_ratio=0.6)
    found = latency_model.measure_latency(graph, budget, progress=False)
    limits = resolve_limits(budget, graph, latency=found.cost, dense_ms=found.dense_ms)
    lowest = Projection.of(graph, limits).lowest
    names = [group.name for group in graph.prunable_groups]
    plan = tgp.PruningPlan.from_counts(graph, dict(zip(names, map(int, lowest), strict=True)))
    wider, measured = latency_model.settle(graph, plan, budget, limits, tgp.Search())
    assert (wider.counts(graph) >= lowest).all() and wider != plan and measured["share"] <= 1.01
    again, _ = latency_model.settle(graph, wider, budget, limits, tgp.Search())
    assert again is wider


def test_compress_meets_macs_and_latency_together(device, digits_model, digits, tmp_path):
    budget = tgp.Budget(macs_ratio=0.6, latency_ratio=0.6)
    result = tgp.compress(
        digits_model, digits.train, digits.reward, budget=budget, workdir=tmp_path,
        search=tgp.Search(agent="random", rivals=(), evaluations=3),
        finetune=tgp.FineTune(epochs=0),
    )  # fmt: skip
    assert tgp.count_macs(result.model) <= 0.6 * tgp.count_macs(digits_model)
    paths = [tmp_path / "dense_float32.tflite", tmp_path / "model_float32.tflite"]
    dense, pruned = map(_ms, paths)
    assert pruned <= 0.6 * dense * 1.01
    assert (tmp_path / "latency.json").exists()


def test_the_host_is_measured(digits_model):
    graph = tgp.LayerGraph.from_model(digits_model)
    found = tgp.measure_latency(graph, tgp.Budget(latency_ratio=0.6), networks=2, progress=False)
    assert found.dense_ms > 0 and "host" in found.device
    assert 0 < float(found.cost(np.ones(len(graph.prunable_groups)))) < 2 * found.dense_ms


def test_refused(digits_model):
    graph = tgp.LayerGraph.from_model(digits_model)
    with pytest.raises(tgp.UserError, match="needs the device's figures"):
        resolve_limits(tgp.Budget(latency_ratio=0.5), graph)
    with pytest.raises(tgp.UserError, match="needs a benchmark tool"):
        tgp.Budget(latency_ms=3, device="android")
    with pytest.raises(tgp.UserError, match="no benchmark tool"):
        budget = tgp.Budget(latency_ms=3, device="android", benchmark="/nowhere/benchmark_model")
        tgp.measure_latency(graph, budget)
    with pytest.raises(tgp.UserError, match="networks must be 2"):
        tgp.measure_latency(graph, tgp.Budget(latency_ratio=0.5), networks=1)
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3)(image)
    x = keras.layers.Conv2D(4, 3)(x)
    free = tgp.LayerGraph.from_model(keras.Model(image, keras.layers.GlobalMaxPooling2D()(x)))
    with pytest.raises(tgp.UserError, match="fixed input size"):
        tgp.measure_latency(free, tgp.Budget(latency_ratio=0.5))
