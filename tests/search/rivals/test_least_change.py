import tfgraphprune as tgp
from tfgraphprune.embedding.sensitivity import KEPT


def test_one_evaluation_that_beats_equal_ratios(digits_model, digits):
    graph = tgp.LayerGraph.from_model(digits_model)
    found = tgp.search_plan(
        digits_model, graph, digits.train, digits.reward, tgp.Budget(macs_ratio=0.5),
        tgp.Search(agent="least_change", rivals=("uniform",), evaluations=9), progress=False,
    )  # fmt: skip
    ours, uniform = found.methods["least_change"], found.methods["uniform"]
    assert ours["evaluations"] == uniform["evaluations"] == 1
    probes = len(KEPT) * len(graph.prunable_groups) + 1
    assert ours["images"] == uniform["images"] + 128 * probes
    assert ours["best_reward"] > uniform["best_reward"]
