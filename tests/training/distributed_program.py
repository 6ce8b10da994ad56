"""Fine-tunes a small network, alone or as a worker of several, and writes its weights.

python distributed_program.py alone|mirrored|workers FOLDER [EPOCHS]

With EPOCHS it stops after so many of the three, as a run that is interrupted does.
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

layers = keras.layers


def network():
    """A convolution, a BatchNorm over all replicas, a dense layer; the same weights each time."""
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(image)
    x = layers.BatchNormalization(synchronized=True)(x)
    x = layers.Flatten()(layers.ReLU()(x))
    return keras.Model(image, layers.Dense(10)(x))


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
    if kind == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    elif kind == "workers":
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        strategy = tf.distribute.get_strategy()
    with strategy.scope():
        model, teacher = network(), network()
        teacher.set_weights([w + 0.1 for w in teacher.get_weights()])
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
