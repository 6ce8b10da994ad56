"""KerasCV's layers in the pipeline: theirs, repeatable batch by batch, with labels that fit."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfgraphprune.errors import UserError
from tfgraphprune.settings import FineTune
from tfgraphprune.training import keras_cv_layers
from tfgraphprune.training.augment import epoch_dataset
from tfgraphprune.training.data import load_digits
from tfgraphprune.training.finetune import finetune
from tfgraphprune.training.optimize.sparsity import sparsify
from tfgraphprune.training.recoveries.registry import check_recovery

keras_cv = pytest.importorskip("keras_cv")

NAMES = ("rand_augment", "cutmix", "mixup")


@pytest.fixture(scope="module")
def data():
    """Coloured digits, the first 40."""
    x, y = load_digits(0).train
    return np.repeat(x[:40], 3, -1), y[:40]


def _batches(data, augment, seed=0, epoch=0):
    batches = epoch_dataset(
        data, batch_size=16, seed=seed, epoch=epoch, augment=augment, classes=10
    )
    return [tuple(part.numpy() for part in batch) for batch in batches]


def _equal(left, right):
    return all(
        np.array_equal(a, b)
        for one, other in zip(left, right, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def _numbered(count):
    """Images that are filled with their own number, and as many classes."""
    images = np.broadcast_to(np.arange(count)[:, None, None, None], (count, 8, 8, 1))
    return tf.constant(images, tf.float32), tf.eye(count)


@pytest.mark.parametrize("augment", NAMES)
@pytest.mark.parametrize("kind", ["arrays", "data set"])
def test_batches_are_functions_of_seed_epoch_and_number(data, augment, kind):
    given = data if kind == "arrays" else tf.data.Dataset.from_tensor_slices(data).batch(16)
    first = _batches(given, augment)
    assert _equal(first, _batches(given, augment))
    assert not _equal(first, _batches(given, augment, epoch=1))
    assert not _equal(first, _batches(given, augment, seed=1))
    if kind == "data set":  # what came before a batch plays no role
        other = given.map(lambda x, y: (tf.zeros_like(x), y)).take(1).concatenate(given.skip(1))
        assert _equal(first[1:], _batches(other, augment)[1:])


def _stateful(function, *arguments):
    graph = function.get_concrete_function(*arguments).graph.as_graph_def()
    names = {n.op for n in graph.node} | {n.op for f in graph.library.function for n in f.node_def}
    return {n for n in names if "Random" in n or "Rng" in n or "Multinomial" in n}


def test_no_draw_has_a_state(data):
    seed, labels = tf.constant([1, 2]), tf.eye(16)
    images = tf.constant(data[0][:16])
    found = _stateful(keras_cv_layers._rand_augment(), images, seed)
    for name in ("CutMix", "MixUp"):
        found |= _stateful(keras_cv_layers._mixing(name), images, labels, seed)
    assert found and all(name.startswith("Stateless") for name in found)


@pytest.mark.parametrize(
    ("augment", "layer", "method"),
    [
        ("rand_augment", "RandAugment", "_augment"),
        ("cutmix", "CutMix", "_batch_augment"),
        ("mixup", "MixUp", "_batch_augment"),
    ],
)
def test_it_is_keras_cvs_layer_that_changes_the_images(data, augment, layer, method, monkeypatch):
    def marked(self, inputs):
        return {**inputs, "images": inputs["images"] * 0 + 7}

    monkeypatch.setattr(getattr(keras_cv.layers, layer), method, marked)
    caches = (keras_cv_layers._rand_augment, keras_cv_layers._mixing)
    for cache in caches:
        cache.cache_clear()
    try:
        assert all((images == 7).all() for images, _ in _batches(data, augment))
    finally:
        for cache in caches:
            cache.cache_clear()


def test_rand_augment_changes_each_image_in_its_own_way(data):
    images = tf.constant(np.repeat(data[0][:1], 32, 0))
    changed = keras_cv_layers.rand_augment(images, tf.constant([3, 4])).numpy()
    assert changed.min() >= 0 and changed.max() <= 1
    assert len({image.tobytes() for image in changed}) > 24
    with pytest.raises(tf.errors.InvalidArgumentError, match="takes images in"):
        keras_cv_layers.rand_augment(images * 255, tf.constant([3, 4]))


def test_cutmix_labels_are_the_shares_of_the_area():
    images, labels = _numbered(32)
    mixed, shares = keras_cv_layers.cutmix(images, labels, tf.constant([5, 6]))
    areas = (mixed.numpy().reshape(32, -1, 1) == np.arange(32)).mean(1)
    assert (np.count_nonzero(areas, 1) <= 2).all() and (areas.max(1) < 1).sum() > 8
    np.testing.assert_allclose(shares, areas, atol=1e-6)


def test_mixup_labels_are_the_shares_of_the_blend():
    images, labels = _numbered(32)
    mixed, shares = keras_cv_layers.mixup(images, labels, tf.constant([5, 6]))
    blend = shares.numpy() @ np.arange(32)
    np.testing.assert_allclose(mixed.numpy()[:, 0, 0, 0], blend, atol=1e-4)
    assert (shares.numpy().max(1) < 0.99).sum() > 8


def test_weights_are_blended_so_that_each_label_keeps_its_own():
    """A batch of the weights 1 and 3 only; the product of weight and label is what is mixed."""
    labels = np.arange(16) % 2
    weights = np.where(labels == 1, 3, 1).astype(np.float32)
    images = np.broadcast_to(labels[:, None, None, None], (16, 4, 4, 1)).astype(np.float32)
    ((mixed, soft, weight),) = epoch_dataset(
        (images, labels, weights), batch_size=16, seed=0, epoch=0, augment="mixup", classes=2
    )
    share = mixed.numpy()[:, 0, 0, 0]  # of the class that weighs 3
    np.testing.assert_allclose(weight, 1 + 2 * share, rtol=1e-5)
    np.testing.assert_allclose(soft[:, 1], 3 * share / (1 + 2 * share), atol=1e-5)
    assert ((share > 0.01) & (share < 0.99)).any()


@pytest.mark.parametrize("augment", ["mixup", "cutmix"])
@pytest.mark.parametrize("shape", [(16,), (16, 1)])
@pytest.mark.parametrize("weigh", [False, True])
def test_the_label_of_a_single_sigmoid_is_its_share_of_ones(augment, shape, weigh):
    labels = np.arange(16) % 2
    images = np.broadcast_to(labels[:, None, None, None], (16, 4, 4, 1)).astype(np.float32)
    data = (images, labels.reshape(shape), *([np.ones(16, np.float32)] if weigh else []))
    ((mixed, soft, *_),) = epoch_dataset(
        data, batch_size=16, seed=0, epoch=0, augment=augment, classes=1
    )
    assert soft.shape == (16, 1) and soft.dtype == tf.float32
    share = mixed.numpy().mean((1, 2, 3))
    whole = (share == 0) | (share == 1)
    assert whole.any() and (share > 0.3).any()
    if augment == "mixup":
        np.testing.assert_allclose(soft[:, 0], share, atol=1e-4)
    else:  # KerasCV counts the part of a patch that lies outside of the image too
        assert np.corrcoef(soft[:, 0], share)[0, 1] > 0.8


def _compiled(loss, outputs=1):
    start = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(start)
    ends = [keras.layers.Dense(10, "softmax", name=f"end{i}")(x) for i in range(outputs)]
    model = keras.Model(start, ends if outputs > 1 else ends[0])
    model.compile("adam", loss)
    return model


@pytest.mark.parametrize("augment", ["mixup", "crop_flip_cutmix"])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_compiled("sparse_categorical_crossentropy"), "makes soft labels, which the loss"),
        (_compiled("categorical_crossentropy", 2), "the labels of one output, but .* has 2"),
    ],
)
def test_a_compile_that_soft_labels_don_t_fit_is_refused(data, augment, model, message):
    with pytest.raises(UserError, match=message):
        finetune(model, data, augment=augment)
    with pytest.raises(UserError, match=message):
        check_recovery(FineTune(augment=augment), model, None)
    with pytest.raises(UserError, match=message):
        sparsify(model, data, sparsity=0.5, augment=augment)


def test_a_compiled_softmax_learns_from_mixed_labels(data):
    model = _compiled("categorical_crossentropy")
    rows = finetune(model, data, epochs=2, batch_size=8, augment="mixup", verbose=0)
    assert rows[1]["loss"] < rows[0]["loss"]


class _Stop(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("augment", ["crop_flip_cutmix", "rand_augment"])
def test_a_resumed_training_ends_like_one_left_alone(data, augment, tmp_path):
    def model():
        keras.utils.set_random_seed(0)
        image = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(image)
        return keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(x)))

    chosen = {
        "epochs": 2, "batch_size": 16, "augment": augment, "validation_data": data, "verbose": 0,
    }  # fmt: skip
    alone, resumed = model(), model()
    rows = finetune(alone, data, teacher=model(), **chosen)
    with pytest.raises(KeyboardInterrupt):
        finetune(
            model(), data, teacher=model(), checkpoint_dir=tmp_path, callbacks=(_Stop(),), **chosen
        )
    assert finetune(resumed, data, teacher=model(), checkpoint_dir=tmp_path, **chosen) == rows
    for left, right in zip(alone.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    # Soft labels of the training do not spoil the accuracy on the indices of the validation.
    right = (alone.predict(data[0], verbose=0).argmax(1) == data[1]).mean()
    assert rows[-1]["val_accuracy"] == pytest.approx(right)


def test_without_keras_cv_the_extra_is_named_before_long_work(run_python):
    code = """
import numpy as np
import tfgraphprune as tgp
from tfgraphprune.models import digits_cnn
data = np.zeros((20, 8, 8, 1), np.float32), np.arange(20) % 10
try:
    tgp.compress(
        digits_cnn(), data, data, budget=tgp.Budget(macs_ratio=0.5),
        search=tgp.Search(agent="uniform", rivals=()), finetune=tgp.FineTune(augment="cutmix"),
    )
except tgp.MissingExtraError as error:
    print(error)
"""
    ended = run_python(code, blocked=("keras_cv",))
    assert "pip install 'tfgraphprune[cv]'" in ended.stdout, ended.stderr


def test_beside_keras_3(run_python):
    code = """
import numpy as np
import tensorflow as tf
tf.keras.layers
from tfgraphprune.training.augment import epoch_dataset
data = np.ones((8, 8, 8, 3), np.float32), np.arange(8)
batch, = epoch_dataset(data, batch_size=8, seed=0, epoch=0, augment="cutmix", classes=8)
again, = epoch_dataset(data, batch_size=8, seed=0, epoch=0, augment="cutmix", classes=8)
assert tf.keras.__version__[0] == "3" and (batch[1] == again[1]).numpy().all()
print((batch[1].numpy().max(1) < 1).any())
"""
    ended = run_python(code)
    assert ended.stdout.endswith("True\n"), ended.stderr
