"""KerasCV's backbones and tasks: how much of them is free, pruned == masked, trained afterwards."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tests import networks
from tfgraphprune.cost.model_cost import dense_counts, macs_cost
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning import PruningPlan, masked, prune

pytest.importorskip("keras_cv")

from keras_cv import layers, models

from tests.keras_cv_models import BACKBONES, SIDE, TASKS


def images(count: int = 4) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 255, (count, SIDE, SIDE, 3)).astype("float32")


def trained(sample) -> keras.Model:
    """The sample with weights as training may leave them."""
    keras.backend.clear_session()
    model = networks.randomise(sample.build())
    return tgp.reestimate_batchnorm(model, (images(), np.zeros(4))) or model


def any_plan(graph: LayerGraph) -> PruningPlan:
    random = np.random.default_rng(0)
    kept = {g.name: random.permutation(g.size)[: -(-g.size // 2)] for g in graph.prunable_groups}
    return PruningPlan.from_indices(graph, kept)


def free_share(graph: LayerGraph) -> float:
    """The share of the kernels' output channels that may be cut, the model's outputs left out."""
    made = [
        (axis.positions.size, group.prunable)
        for group in graph.channel_groups
        if group.reason != "output of the model"
        for axis in group.axes
        if axis.role == "out" and len(graph.variable(axis).shape) > 1
    ]
    return sum(size for size, free in made if free) / sum(size for size, _ in made)


def assert_equal(expected: list, got: list, tolerance: float = 1e-4) -> None:
    for left, right in zip(expected, got, strict=True):
        assert left.std() > 0
        assert np.abs(left - right).max() < tolerance * left.std()


@pytest.mark.parametrize("name", [*BACKBONES, "RetinaNet", "YOLOV8Detector", "DeepLabV3Plus"])
def test_pruned_equals_masked(name, tmp_path):
    sample = {**BACKBONES, **TASKS}[name]
    model = trained(sample)
    graph = LayerGraph.from_model(model)
    assert free_share(graph) >= sample.free
    plan, x = any_plan(graph), images(2)
    small, reference = prune(model, plan), networks.outputs_of(masked(model, plan), x)
    got = networks.outputs_of(small, x)
    assert_equal(reference, got)
    dense = networks.outputs_of(model, x)
    assert max(np.abs(a - b).max() / a.std() for a, b in zip(dense, reference, strict=True)) > 1e-3
    assert small.count_params() < model.count_params()
    macs = macs_cost(graph)
    assert macs(plan.counts(graph)) < macs(dense_counts(graph))
    assert tgp.count_macs(small) == macs(plan.counts(graph))
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    assert not isinstance(loaded, models.Task)
    for left, right in zip(got, networks.outputs_of(loaded, x), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    "name", ["RetinaNet", "YOLOV8Detector", "DeepLabV3Plus", "ImageClassifier"]
)
def test_a_pruned_task_is_trained_and_used_like_the_dense_one(name, tmp_path):
    sample = TASKS[name]
    dense = trained(sample)
    optimizer = keras.optimizers.SGD(1e-4, global_clipnorm=1.0)
    dense.compile(optimizer=optimizer, run_eagerly=True, **sample.losses)
    plan = any_plan(LayerGraph.from_model(dense))
    task = prune(dense, plan)
    assert type(task) is type(dense)
    assert task.optimizer is not optimizer
    before = [w.numpy() for w in task.trainable_weights]
    history = task.fit(images(2), sample.labels, batch_size=2, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    changed = [np.any(b != w.numpy()) for b, w in zip(before, task.trainable_weights, strict=True)]
    assert np.mean(changed) > 0.8
    shapes = tf.nest.map_structure(np.shape, task.predict(images(2), verbose=0))
    if hasattr(task, "label_encoder"):
        assert {key: shape[0] for key, shape in shapes.items()} == dict.fromkeys(shapes, 2)
        assert shapes.keys() == {"boxes", "confidence", "classes", "num_detections"}
    else:
        assert shapes == (2, *dense.output_shape[1:])

    task.backbone.trainable = False
    assert 0 < len(task.trainable_weights) < len(before)
    assert task.backbone in task.layers
    assert {name for name in vars(dense) if not hasattr(task, name)} >= set(sample.lost)

    x, expected = images(2), networks.outputs_of(task, images(2))
    if name == "DeepLabV3Plus":
        task.save_weights(tmp_path / "task.weights.h5")
        again = prune(dense, plan)
        again.load_weights(tmp_path / "task.weights.h5")
        assert_equal(expected, networks.outputs_of(again, x))
    task.save(tmp_path / "network.keras")
    network = keras.models.load_model(tmp_path / "network.keras")
    again = tgp.with_network(sample.build(), network)
    assert type(again) is type(dense)
    assert_equal(expected, networks.outputs_of(again, x))
    with pytest.raises(NotImplementedError, match="with_network"):
        task.get_config()
    with pytest.raises(tgp.UserError, match="outputs have the shapes"):
        tgp.with_network(task, keras.Sequential([keras.layers.Dense(2, input_shape=(3,))]))

    parts = [weakref.ref(w) for w in dense.weights]
    assert not {id(w) for w in task.weights} & {id(w) for w in dense.weights}
    del dense, again, network
    gc.collect()
    assert all(part() is None for part in parts), "the dense network is still held"


def test_a_detector_is_made_of_a_pruned_backbone():
    """The layers at the pyramid's levels have the same names."""
    backbone = trained(BACKBONES["ResNet V1, bottlenecks"])
    small = prune(backbone, any_plan(LayerGraph.from_model(backbone)))
    task = models.RetinaNet(small, 3, "xywh")
    assert np.isfinite(task(images(2))["box"]).all()


def test_whole_heads_are_cut_and_windows_counted():
    model = trained(BACKBONES["ViTDet, relative positions"])
    graph = LayerGraph.from_model(model)
    heads = [g for g in graph.prunable_groups if g.name.endswith("/attention")]
    assert [g.size for g in heads] == [4, 4]
    small = prune(model, PruningPlan.from_indices(graph, {g.name: [3] for g in heads}))
    attention = small.get_layer("windowed_transformer_encoder.attention")
    assert attention.get_layer("dense").units == 3 * 6

    def products(window: int, depth: int = 1) -> list[int]:
        backbone = models.ViTDetBackbone(
            include_rescaling=True, input_shape=(64, 64, 3), patch_size=8, embed_dim=24,
            depth=depth,
            mlp_dim=40, num_heads=4, out_chans=16, window_size=window, use_rel_pos=False,
            global_attention_indices=[],
        )  # fmt: skip
        found = LayerGraph.from_model(backbone).weights
        return [w.uses for w in found if w.path[-1] == "attention" and w.uses]

    assert products(4) == [64, 64, 4 * 16 * 2 * 16 * 6]
    assert products(3) == [81, 81, 9 * 9 * 2 * 9 * 6]
    assert products(0) == [64, 64, 64 * 2 * 64 * 6]
    assert products(4, depth=3)[-3:] == products(4), "one block's windows are not the next one's"


DROPS = {
    "DropPath": lambda x: layers.DropPath(0.5)(x),
    "StochasticDepth": lambda x: layers.StochasticDepth(0.5)([x, x]),
    "DropBlock2D": lambda x: layers.DropBlock2D(0.5, block_size=2)(x),
    "SqueezeAndExcite2D": lambda x: layers.SqueezeAndExcite2D(8)(x),
}


@pytest.mark.parametrize("name", DROPS)
def test_what_only_acts_in_training_survives(name):
    def body(x):
        return DROPS[name](keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x))

    model = networks.randomise(networks.image_model(body))
    graph = LayerGraph.from_model(model)
    assert free_share(graph) == 1
    plan, x = any_plan(graph), networks.inputs_for(model)
    small = prune(model, plan)
    assert_equal(networks.outputs_of(masked(model, plan), x), networks.outputs_of(small, x))
    if name != "SqueezeAndExcite2D":
        kinds = [type(layer).__name__ for layer in small.layers]
        assert kinds.count(name) == 1
        runs = [np.asarray(small(x, training=True)) for _ in range(8)]
        assert any((run != runs[0]).any() for run in runs)


def test_vgg16_is_refused_under_tf_keras():
    """Its convolutions are layers of Keras 3, called on tensors of tf_keras."""
    model = models.VGG16Backbone(
        include_rescaling=False, include_top=False, input_shape=(SIDE, SIDE, 3)
    )
    assert model.count_params() == 0
    with pytest.raises(tgp.UserError, match=r"VGG16.* variables .* Keras 3"):
        LayerGraph.from_model(model)
