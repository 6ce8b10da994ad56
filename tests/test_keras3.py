"""Keras 3: models are recognised and loaded, and built again in tf_keras with equal outputs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras import layers

import tfgraphprune as tgp
from tests import keras3_networks as networks
from tfgraphprune.keras3 import copy_weights, is_keras3_model, twin
from tfgraphprune.model_files import load_model
from tfgraphprune.parcels import pack, unpack


def assert_equal(first, second, x, tolerance=1e-5):
    mine, its = (tf.nest.flatten(model(x, training=False)) for model in (first, second))
    assert len(mine) == len(its)
    for a, b in zip(mine, its, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * max(1, np.abs(a).max()))


@pytest.mark.parametrize("build", networks.NETWORKS, ids=lambda build: build.__name__)
def test_the_twin_computes_the_same_and_can_be_sent_to_a_worker(build, tmp_path):
    model = networks.randomized(build())
    before = [np.asarray(weight) for weight in model.weights]
    x = networks.examples(model)
    made = twin(model)
    assert isinstance(made, tf_keras.Model) and made.name == model.name
    assert_equal(model, made, x)
    for old, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, np.asarray(weight))
    pack(made, tmp_path / "parcel", "the test")
    assert_equal(model, unpack(tmp_path / "parcel"), x)


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50", "EfficientNetB0", "MobileNetV3Small"])
def test_twins_of_keras_applications(name):
    build = getattr(keras.applications, name)
    model = networks.randomized(build(weights=None, input_shape=(32, 32, 3), classes=10))
    made = twin(model)
    assert_equal(model, made, networks.examples(model))
    names = {layer.name for layer in model.layers if layer.weights}
    assert names <= {layer.name for layer in made.layers}


def test_layers_that_have_weights_keep_their_names_settings_and_sharing():
    layer = layers.Dense(4, name="layer")
    x = keras.Input((4,))
    inner = keras.Model(x, layer(x), name="inner")
    made = twin(keras.Model(x, inner(layer(inner(x)))))
    assert made.get_layer("inner").get_layer("layer") is made.get_layer("layer")
    made = twin(networks.regularized_and_frozen())
    assert not made.get_layer("frozen").trainable and len(made.trainable_weights) == 4
    regularized = next(layer for layer in made.layers if isinstance(layer, tf_keras.layers.Conv2D))
    assert regularized.kernel_regularizer.l2 == pytest.approx(1e-3)
    assert isinstance(regularized.kernel_constraint, tf_keras.constraints.MaxNorm)


def test_the_channel_groups_are_named_after_the_layers():
    graph = tgp.LayerGraph.from_model(twin(networks.sequential()))
    assert [group.size for group in graph.prunable_groups] == [6]


def test_weights_go_back_into_the_model():
    model = networks.randomized(networks.nested())
    made = twin(model)
    made.set_weights([weight + 0.01 for weight in made.get_weights()])
    x = networks.examples(model)
    assert np.abs(np.asarray(model(x)) - np.asarray(made(x))).max() > 1e-4
    copy_weights(made, model)
    assert_equal(made, model, x)


def test_weights_of_another_width_are_refused():
    narrow, wide = (
        keras.Sequential([keras.Input((4,)), layers.Dense(width, name="dense")]) for width in (3, 5)
    )
    with pytest.raises(tgp.UserError, match=r"the weights of layer 'dense' have shapes"):
        copy_weights(twin(narrow), wide)


@keras.saving.register_keras_serializable("test_keras3")
class Doubled(layers.Layer):
    def call(self, x):
        return 2 * x


def unsupported():
    x = keras.Input(networks.IMAGE)
    y = Doubled(name="twice")(networks.conv(name="fine")(x))
    y = layers.RMSNormalization(name="rms")(y)
    y = networks.conv(activation="sparsemax", name="sharp")(y)
    y = layers.Bidirectional(layers.LSTM(3), name="both")(layers.Reshape((8, -1))(y))
    inner = keras.Sequential([keras.Input(y.shape[1:]), Doubled(name="deep")], name="inner")
    return keras.Model(x, keras.ops.sort(inner(y)), name="odd")


def test_layers_that_cannot_be_built_are_named_all_at_once():
    with pytest.raises(tgp.UserError) as raised:
        twin(unsupported())
    message = str(raised.value)
    assert message.startswith("the Keras 3 model 'odd' can't be built in tf_keras because of")
    for named in (
        "'twice' (Doubled)",
        "'rms' (RMSNormalization)",
        "'both' (Bidirectional)",
        "'inner/deep' (Doubled)",
        "'sharp' (Conv2D, its activation sparsemax)",
        "(Sort)",
    ):
        assert named in message
    assert "fine" not in message and "\n" not in message


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Subclassed(), "is a subclassed keras.Model"),
        (keras.Sequential([layers.Dense(3)]), "has no input shape yet"),
    ],
)
def test_a_model_without_a_graph_is_refused(model, message):
    with pytest.raises(tgp.UserError, match=message):
        twin(model)


def test_which_models_are_of_keras_3():
    assert is_keras3_model(networks.sequential())
    made = tf_keras.Sequential([tf_keras.layers.Dense(3)])
    assert not any(map(is_keras3_model, (made, layers.Dense(3), None)))


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_file_of_keras_3_is_loaded_as_keras_3(tmp_path, suffix):
    model = networks.randomized(networks.residual())
    model.save(tmp_path / f"model.{suffix}")
    loaded = load_model(tmp_path / f"model.{suffix}")
    assert is_keras3_model(loaded)
    assert_equal(model, loaded, networks.examples(model), 0)


def test_a_file_of_keras_3_with_a_lambda_is_refused_unless_trusted(tmp_path):
    x = keras.Input(networks.IMAGE)
    path = tmp_path / "model.keras"
    keras.Model(x, layers.Lambda(lambda t: t * 2)(x)).save(path)
    with pytest.raises(tgp.UserError, match="has a Lambda layer, whose code would run"):
        load_model(path)
    assert is_keras3_model(load_model(path, allow_lambda=True))


def test_a_file_of_keras_3_with_an_unknown_layer_is_refused(tmp_path, run_python):
    path = tmp_path / "model.keras"
    x = keras.Input(networks.IMAGE)
    keras.Model(x, Doubled()(x)).save(path)
    code = f"from tfgraphprune.model_files import load_model; load_model({str(path)!r})"
    last = run_python(code).stderr.splitlines()[-1]
    assert last.startswith("tfgraphprune.errors.UserError: Keras 3.") and "register" in last


def test_losses_that_can_t_go_along_are_refused_and_those_of_classes_are_not():
    start = keras.Input((8, 8, 1))
    x = layers.Flatten()(layers.Conv2D(4, 3)(start))
    labels = np.zeros((32, 6), "float32"), np.arange(32) % 6
    losses = "binary_crossentropy", "sparse_categorical_crossentropy"
    for loss, y in zip(losses, labels, strict=True):
        model = keras.Model(start, layers.Dense(6, "sigmoid")(x))
        model.compile("adam", loss)
        data = np.zeros((32, 8, 8, 1), "float32"), y
        if loss == "binary_crossentropy":
            with pytest.raises(tgp.UserError, match="can't take along the losses"):
                tgp.finetune(model, data, epochs=1, verbose=0)
            with pytest.raises(tgp.UserError, match="can't take along the losses"):
                tgp.compress(model, data, data, budget=tgp.Budget(macs_ratio=0.5))
        else:
            assert len(tgp.finetune(model, data, epochs=1, verbose=0)) == 1
