"""Plans: what they keep, their files, the model that they belong to, and their refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests import networks
from tfgraphprune.errors import UserError
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning import PruningPlan, masked, prune
from tfgraphprune.pruning.plan import most_important

L = keras.layers


def graph_of(name: str = "resnet_a") -> LayerGraph:
    return LayerGraph.from_model(networks.build(name))


def test_the_most_important_stay_and_of_equal_ones_the_first():
    assert most_important(np.array([0.1, 3, 2, 3, 0]), 3) == (1, 2, 3)
    assert most_important(np.ones(5), 2) == (0, 1)


@pytest.mark.parametrize(("ratio", "counts"), [(0.01, [1, 1, 1]), (0.5, [3, 4, 2]), (1, [6, 8, 5])])
def test_ratios_become_counts(ratio, counts):
    graph = graph_of("plain")
    plan = PruningPlan.from_keep_ratios(graph, ratio)
    assert plan.counts(graph).tolist() == counts
    shares = plan.keep_ratios(graph)
    assert [shares[g.name] for g in graph.prunable_groups] == [
        c / n for c, n in zip(counts, (6, 8, 5), strict=True)
    ]
    assert shares["logits"] == 1


def test_groups_that_are_not_named_stay_whole():
    graph = graph_of("plain")
    plan = PruningPlan.from_keep_ratios(graph, {"conv2d_1": 0.25})
    assert list(plan.kept) == ["conv2d_1"]
    assert plan.counts(graph).tolist() == [6, 2, 5]


def test_a_plan_survives_its_file(tmp_path):
    graph = graph_of()
    plan = PruningPlan.from_keep_ratios(graph, 0.4, "random")
    plan.save(tmp_path / "plan.json")
    again = PruningPlan.load(tmp_path / "plan.json")
    assert again == plan
    assert json.loads((tmp_path / "plan.json").read_text())["format"] == 1
    with pytest.raises(UserError, match="exists: pass overwrite=True"):
        plan.save(tmp_path / "plan.json")
    PruningPlan({}, "other").save(tmp_path / "plan.json", overwrite=True)
    assert PruningPlan.load(tmp_path / "plan.json").fingerprint == "other"


_FINGERPRINT = """
import tfgraphprune
from tests import networks
from tfgraphprune.graph import LayerGraph
print([LayerGraph.from_model(networks.build(n, seed=9)).fingerprint for n in {names!r}])
"""


def test_the_fingerprint_is_the_same_in_another_session(run_python, tmp_path):
    names = ["resnet_a", "siamese", "split_concat", "with_settings"]
    models = [networks.build(name) for name in names]
    own = [LayerGraph.from_model(model).fingerprint for model in models]
    models[0].save(tmp_path / "model.keras")
    models[0].save(tmp_path / "model.h5")
    for path in tmp_path.iterdir():
        loaded = keras.models.load_model(path)
        assert LayerGraph.from_model(loaded).fingerprint == own[0], path.suffix
    result = run_python(_FINGERPRINT.format(names=names))
    assert result.stdout.strip().endswith(str(own)), result.stderr[-2000:]
    models[0].layers[3].trainable = False
    assert LayerGraph.from_model(models[0]).fingerprint == own[0]


def small_network(
    filters=6, strides=1, size=8, start=0, perm=(0, 2, 1, 3), other=False, offset=1.0, dtype=None
):
    keras.backend.clear_session()
    image = keras.Input((size, size, 3), name="image")
    a = L.Conv2D(filters, 3, strides, padding="same", name="a")(image)
    b = L.Conv2D(filters, 3, padding="same", name="b")(a)
    b = L.MaxPooling2D(1, name="same", dtype=dtype)(b)
    x = tf.transpose((b if other else a)[..., start : start + 2] + offset, perm)
    x = L.GlobalMaxPooling2D(name="pool")(L.Concatenate(name="both")([x, b]))
    return keras.Model(image, L.Dense(3, name="logits")(x))


CHANGES = {
    "configuration": {"filters": 5},
    "dtype": {"dtype": "float16"},
    "shape by a setting": {"strides": 2},
    "shape of the input": {"size": 10},
    "connection": {"other": True},
    "bounds of a slice": {"start": 1},
    "axes of an op": {"perm": (0, 1, 2, 3)},
    "a constant": {"offset": 2.0},
}


def test_the_fingerprint_tells_models_apart():
    prints = {"": LayerGraph.from_model(small_network()).fingerprint}
    for name, change in CHANGES.items():
        prints[name] = LayerGraph.from_model(small_network(**change)).fingerprint
    assert len(set(prints.values())) == len(CHANGES) + 1, prints
    assert LayerGraph.from_model(small_network()).fingerprint == prints[""]


def _keep(**kept) -> PruningPlan:
    return PruningPlan.from_indices(graph_of("plain"), kept)


def _of_another_model(action):
    plan = PruningPlan.from_keep_ratios(graph_of("residual"), 0.5)
    return action(networks.build("plain"), plan)


def _written(text: str) -> Path:
    path = Path("plan.json")
    path.write_text(text)
    return path


def ratios(given, criterion="l2"):
    return PruningPlan.from_keep_ratios(graph_of("plain"), given, criterion)


ERRORS = {
    "unknown group": (lambda: ratios({"conv": 0.5}), "no channel group 'conv': this model has"),
    "frozen group": (
        lambda: ratios({"logits": 0.5}),
        "the group 'logits' may not be cut (output of the model)",
    ),
    "frozen indices": (lambda: _keep(logits=[0]), "the group 'logits' may not be cut: output"),
    "ratio of zero": (lambda: ratios(0.0), "must be above 0 and at most 1, not 0"),
    "ratio above one": (lambda: ratios({"conv2d": 1.2}), "of 'conv2d' must be above 0"),
    "ratio that is none": (lambda: ratios(float("nan")), "at most 1, not nan"),
    "ratio in words": (lambda: ratios("half"), "not 'half'"),
    "unknown criterion": (
        lambda: ratios(0.5, "magnitude"),
        "criterion must be one of l1, l2, fpgm, batchnorm_scale, random",
    ),
    "count": (
        lambda: PruningPlan.from_counts(graph_of("plain"), {"conv2d": 7}),
        "has 6 channels, so it can't keep 7",
    ),
    "no channel": (lambda: _keep(conv2d=[]), "at least one; it keeps []"),
    "channel out of range": (lambda: _keep(conv2d=[1, 6]), "from 0 to 5"),
    "prune another model": (lambda: _of_another_model(prune), "made for another model"),
    "mask another model": (lambda: _of_another_model(masked), "made for another model"),
    "missing file": (lambda: PruningPlan.load("nowhere.json"), "can't read a pruning plan from"),
    "no JSON": (lambda: PruningPlan.load(_written("{")), "can't read a pruning plan from"),
    "no plan": (lambda: PruningPlan.load(_written("{}")), "this is not a pruning plan"),
    "a list": (lambda: PruningPlan.load(_written("[1]")), "this is not a pruning plan"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_came(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    action, fragment = ERRORS[case]
    with pytest.raises(UserError) as caught:
        action()
    assert fragment in str(caught.value)
    assert len(str(caught.value)) < 400


class Unsaved(L.Layer):
    def build(self, input_shape):
        self.factor = self.add_weight(name="factor")

    def call(self, inputs):
        return self.factor * inputs

    def get_config(self):
        raise NotImplementedError


@pytest.mark.parametrize("action", [prune, masked])
def test_a_layer_that_cannot_be_made_anew_is_named(action):
    model = networks.image_model(lambda x: Unsaved()(L.Conv2D(4, 3)(x)))
    plan = PruningPlan({}, LayerGraph.from_model(model).fingerprint)
    with pytest.raises(UserError, match="get_config that returns the arguments"):
        action(model, plan)
