"""Layers made of layers and subclassed models are followed inside, and cut there."""

import numpy as np
import pytest
import tf_keras as keras

from tests import networks
from tests.network_layers import Block
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning import PruningPlan, masked, prune
from tfgraphprune.pruning.masking import copy_model

L = keras.layers


class Shuffle(L.Layer):
    """A channel shuffle, as users write it."""

    def call(self, inputs):
        height, width, channels = inputs.shape[1:]
        x = L.Reshape((height, width, 2, channels // 2))(inputs)
        return L.Reshape((height, width, channels))(L.Permute((1, 2, 4, 3))(x))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.stem = L.Conv2D(6, 3, padding="same", activation="relu")
        self.block = Block(6)
        self.pool = L.GlobalAveragePooling2D()
        self.head = L.Dense(3)

    def call(self, inputs, training=None):
        x = self.pool(self.block(self.stem(inputs), training=training))
        return {"logits": self.head(x), "twice": 2.0 * x}


def _image_model(body):
    keras.backend.clear_session()
    return networks.image_model(lambda x: body(L.Conv2D(6, 3, padding="same", name="stem")(x)))


def _subclassed():
    model = Subclassed()
    model(np.zeros((2, 8, 8, 3), "float32"))
    return model


def _twice(x):
    block = Block(6, name="block")
    return block(L.MaxPooling2D()(block(x)))


MODELS = {
    "block": lambda: _image_model(Block(6, name="block")),
    "block in a nested model": lambda: _image_model(keras.Sequential([Block(6), L.Conv2D(4, 1)])),
    "shared block": lambda: _image_model(_twice),
    "shuffle": lambda: _image_model(lambda x: L.Conv2D(5, 3)(Shuffle()(x))),
    "lambda": lambda: _image_model(lambda x: L.Lambda(lambda t: t[..., ::-1] * 2.0)(x)),
    "subclassed": _subclassed,
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_inside_is_cut(name, tmp_path):
    model = networks.randomise(MODELS[name]())
    nodes = [len(layer._inbound_nodes) for layer in model._flatten_layers()]
    graph = LayerGraph.from_model(model)
    made = {g.name for g in graph.channel_groups if g.producers}
    frozen = {g.name for g in graph.channel_groups if g.producers and not g.prunable}
    assert frozen <= {"logits", "head", "stem"} if name == "subclassed" else frozen == {"logits"}
    assert made > frozen
    plan = PruningPlan.from_indices(
        graph, {g.name: range(g.size // 2) for g in graph.prunable_groups}
    )
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32")
    small = prune(model, plan)
    assert small.count_params() < model.count_params()
    expected, got = (networks.outputs_of(m, x) for m in (masked(model, plan), small))
    for left, right in zip(expected, got, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-4 * left.std())
    assert [len(layer._inbound_nodes) for layer in model._flatten_layers()] == nodes
    small.save(tmp_path / "small.keras")  # plain layers, so that no custom class is needed
    loaded = keras.models.load_model(tmp_path / "small.keras")
    for left, right in zip(got, networks.outputs_of(loaded, x), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_block_in_which_nothing_is_cut_stays_as_it_is():
    model = networks.randomise(_image_model(lambda x: L.Conv2D(8, 3)(Block(6, name="block")(x))))
    graph = LayerGraph.from_model(model)
    small = prune(model, PruningPlan.from_indices(graph, {"conv2d": [0, 3]}))
    assert isinstance(small.get_layer("block"), Block)
    x = networks.inputs_for(model)
    (a,) = networks.outputs_of(small, x)
    (b,) = networks.outputs_of(masked(model, PruningPlan(
        {"conv2d": (0, 3)}, graph.fingerprint)), x)  # fmt: skip
    np.testing.assert_allclose(a, b, atol=1e-5)


def _with_a_frozen_block():
    model = networks.randomise(_image_model(lambda x: L.Conv2D(8, 3)(Block(6, name="block")(x))))
    model.get_layer("block")._trainable = False  # as by Block(6, trainable=False)
    return model, [w.name for w in model.trainable_weights]


def _with_a_frozen_direction():
    start = keras.Input((5, 4))
    both = L.Bidirectional(L.LSTM(4), name="both")
    model = networks.randomise(keras.Model(start, L.Dense(3)(L.Dense(6)(both(start)))))
    both.forward_layer.trainable = False  # comes after the other in the order of weights now
    return model, [w.name for w in model.trainable_weights]


@pytest.mark.parametrize("build", [_with_a_frozen_block, _with_a_frozen_direction])
@pytest.mark.parametrize("copied", ["opened", "as it is"])
def test_what_is_frozen_stays_frozen_and_computes_alike(build, copied):
    model, trained = build()
    copy = copy_model(model, flat=copied == "opened")
    assert len(copy.trainable_weights) == len(trained)
    x = networks.inputs_for(model)
    for left, right in zip(*(networks.outputs_of(m, x) for m in (model, copy)), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_layers_that_stay_whole_inside_of_one_that_is_cut_keep_their_place():
    class Stage(L.Layer):
        def __init__(self, **settings):
            super().__init__(**settings)
            self.blocks = [Block(6), Block(6)]

        def call(self, x):
            return self.blocks[1](self.blocks[0](x))

    model = networks.randomise(_image_model(lambda x: Stage(name="stage")(x)))
    graph = LayerGraph.from_model(model)
    small = prune(model, PruningPlan.from_indices(graph, {"stage/blocks_0/convs_0": [0, 1]}))
    assert isinstance(small.get_layer("stage.blocks_1"), Block)


def test_groups_have_the_names_of_the_attributes_that_hold_their_layers():
    names = {g.name for g in LayerGraph.from_model(MODELS["block"]()).prunable_groups}
    assert names == {"stem", "block/convs_0"}
