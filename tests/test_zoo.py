"""A dozen models of the zoo: what may be cut must not become less than the committed table says."""

import json
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras

import tfgraphprune as tgp
from benchmarks.zoo_measure import free_share, randomise
from benchmarks.zoo_models import zoo
from tests import networks

TABLE = {
    row["model"]: row
    for row in json.loads(
        (Path(__file__).parent.parent / "docs" / "results" / "zoo.json").read_text()
    )
}
READ = (
    *"ResNet50 MobileNet MobileNetV3Small DenseNet121 InceptionV3 Xception NASNetMobile".split(),
    *"EfficientNetB0 ConvNeXtTiny ResNetRS50 RegNetY002".split(),
)
CUT = ("applications/MobileNetV2", "applications/RegNetX002", "models/shufflenet_v1")


def build(name):
    keras.backend.clear_session()
    return zoo()[name]()


@pytest.mark.parametrize("name", [f"applications/{name}" for name in READ])
def test_as_much_is_free_as_the_table_says(name):
    graph = tgp.LayerGraph.from_model(build(name))
    assert free_share(graph)["free_share"] >= TABLE[name]["free_share"] >= 0.95
    assert len(graph.nodes) == TABLE[name]["layers"]


@pytest.mark.parametrize("name", CUT)
def test_pruned_equals_masked(name):
    model = build(name)
    x = np.random.default_rng(0).normal(size=(4, *model.inputs[0].shape[1:])).astype("float32")
    randomise(model, x)
    graph = tgp.LayerGraph.from_model(model)
    assert free_share(graph)["free_share"] >= TABLE[name]["free_share"]
    random = np.random.default_rng(1)
    plan = tgp.PruningPlan.from_indices(
        graph, {g.name: random.permutation(g.size)[: g.size // 2] for g in graph.prunable_groups}
    )
    (a,), (b,) = (
        networks.outputs_of(m, x) for m in (tgp.masked(model, plan), tgp.prune(model, plan))
    )
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * a.std())
