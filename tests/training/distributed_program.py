"""Cuts and fine-tunes a network, alone or as a worker of several, and writes its weights.

python distributed_program.py alone|mirrored|workers|uneven|gradual FOLDER [EPOCHS]

With EPOCHS it stops after so many of the three, as a run that is interrupted does. `uneven` trains
on two replicas, one of which has no example in the last batch. `gradual` takes channels there.
"""

import json
import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.training.data import load_digits
from tfgraphprune.training.features import FeaturePair

layers = keras.layers


def network():
    """A convolution, a BatchNorm over all replicas, a dense layer; the same weights each time."""
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(image)
    x = layers.BatchNormalization(synchronized=True)(x)
    x = layers.Flatten()(layers.ReLU()(x))
    return keras.Model(image, layers.Dense(10)(x))


def two_replicas():
    """A strategy over two devices on this processor."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def uneven(folder):
    """Train dense networks (TensorFlow's convolutions fail on no examples) with all losses."""
    x, y = load_digits(0).train
    pairs = [FeaturePair("hidden", 0, 8, tuple(range(8)))]
    rows = {}
    with two_replicas().scope():
        for name, loss, settings in (
            ("plain", None, {"feature_weight": 1.0, "feature_pairs": pairs}),
            ("classes", keras.losses.SparseCategoricalCrossentropy(from_logits=True), {}),
            ("values", "mse", {}),
        ):
            image = keras.Input((8, 8, 1))
            hidden = layers.Dense(8, "relu", name="hidden")(layers.Flatten()(image))
            model = keras.Model(image, layers.Dense(10)(hidden))
            teacher = keras.models.clone_model(model)
            if loss is not None:
                model.compile("adam", loss)
            labels = np.eye(10, dtype=np.float32)[y[:129]] if loss == "mse" else y[:129]
            rows[name] = tgp.finetune(
                model, (x[:129], labels), epochs=1, teacher=teacher, batch_size=64, verbose=0,
                **settings,
            )  # fmt: skip
    with open(os.path.join(folder, "uneven.json"), "w") as file:
        json.dump(rows, file)


def gradual(folder):
    """Shrink a network by the callback on two replicas, by single steps and by twos."""
    x, y = load_digits(0).train
    spreads = {}
    for steps in (1, 2):
        with two_replicas().scope() if steps == 1 else tf.distribute.get_strategy().scope():
            model = network()
            model.compile(
                keras.optimizers.SGD(0.05, momentum=0.9),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                steps_per_execution=steps,
            )
        pruning = tgp.callbacks.GradualPruning(0.5, begin_step=2, end_step=8, frequency=1)
        model.fit(x[:256], y[:256], batch_size=64, epochs=3, verbose=0, callbacks=[pruning])
        small = pruning.pruned_model()
        expected = model.predict(x, verbose=0)
        spread = np.abs(small.predict(x, verbose=0) - expected).max() / expected.std()
        spreads[steps] = [float(spread), small.layers[1].filters]
        assert small.distribute_strategy is model.distribute_strategy
    with open(os.path.join(folder, "gradual.json"), "w") as file:
        json.dump(spreads, file)


class Stop(keras.callbacks.Callback):
    """Ends the program when an epoch begins."""

    def __init__(self, epochs):
        super().__init__()
        self._epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self._epochs:
            sys.exit()


def main(kind, folder, epochs=None):
    """Train and write `weights.npz` and `rows.json`."""
    if kind in ("uneven", "gradual"):
        {"uneven": uneven, "gradual": gradual}[kind](folder)
        return
    if kind == "mirrored":
        strategy = two_replicas()
    elif kind == "workers":
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        strategy = tf.distribute.get_strategy()
    with strategy.scope():
        model, teacher = network(), network()
        teacher.set_weights([w + 0.1 for w in teacher.get_weights()])
        model.compile(
            keras.optimizers.SGD(0.05, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [keras.metrics.SparseCategoricalAccuracy("accuracy")],
        )
    graph = tgp.LayerGraph.from_model(model)
    model = tgp.prune(model, tgp.PruningPlan.from_keep_ratios(graph, 0.75))
    assert model.distribute_strategy is strategy
    x, y = load_digits(0).train
    rows = tgp.finetune(
        model, (x[:256], y[:256]), epochs=3, teacher=teacher, batch_size=64, seed=3,
        augment="shift", averaging=0.9, checkpoint_dir=os.path.join(folder, "checkpoints"),
        verbose=0, callbacks=[Stop(int(epochs))] if epochs else [],
    )  # fmt: skip
    alone = '{"task": {"type": "chief", "index": 0}}'
    task = json.loads(os.environ.get("TF_CONFIG", alone))["task"]
    name = os.path.join(folder, f"{kind}_{task['type']}_{task['index']}")
    np.savez(f"{name}.npz", *model.get_weights())
    with open(f"{name}.json", "w") as file:
        json.dump(rows, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
