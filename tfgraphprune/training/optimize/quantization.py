"""Quantization-aware training with tfmot: the network learns to compute in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from tfgraphprune.batches import Data, input_batches
from tfgraphprune.errors import UserError
from tfgraphprune.keras3 import is_keras3_model
from tfgraphprune.legacy_keras import serves_tf_keras
from tfgraphprune.pruning.masking import copy_model
from tfgraphprune.pruning.tasks import compile_alike
from tfgraphprune.training.finetune import finetune
from tfgraphprune.training.optimize.stage import Optimized, check_training, default_rate

PRESERVE = (None, "sparsity", "clusters", "both")

LEARNING_RATES = {"sgd": 5e-3, "adam": 3e-4}
"""Peaks of the cosine schedule: lower than in other training, as the network is trained already."""

CLUSTER_LEARNING_RATES = {"sgd": 3e-4, "adam": 3e-4}
"""Peaks where clusters are preserved: at 5e-3 `sgd` lowers even the accuracy on training data."""

_CALIBRATION_BATCHES = 8


def quantize_aware(
    model: Any,
    train_data: Data,
    *,
    epochs: int = 5,
    preserve: str | None = None,
    batch_size: int = 64,
    skip: Sequence[str] = (),
    optimizer: str | None = None,
    learning_rate: float | None = None,
    **training: Any,
) -> Optimized:
    """Train a copy of a classifier that rounds weights and activations as int8 TFLite does.

    Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-
    Only Inference", CVPR 2018. Nested models, and layers made of layers, give way to the layers
    inside. What tfmot can't quantize stays in float, and is named.

    Args:
        model: plain, of tf_keras; it is not changed.
        train_data: `(x, y)` arrays or a batched data set.
        epochs: passes over the data; 0 only sets the ranges.
        preserve: what the weights keep while they train: `sparsity`: zeros; `clusters`: as few
            values, in each output channel of a convolution its own; `both`. Sparse or clustered
            kernels that stay in float don't train then.
        batch_size: for arrays.
        skip: names or patterns of layers to leave in float.
        optimizer: as in `finetune`.
        learning_rate: its peak; by default `LEARNING_RATES` or `CLUSTER_LEARNING_RATES`, or that
            of a compiled model's own optimizer.
        training: further arguments of `finetune`, such as `teacher`, `seed`, `checkpoint_dir`.

    Returns:
        The quantization-aware model, which `export_tflite` takes with `quantization="int8"`; the
        layers in 8 bits; and those left out. Save the model as `.h5`, because tfmot 0.8.1 can't
        load its layers from `.keras`.

    Raises:
        UserError: a setting that can't be used, a program in which `tf.keras` is Keras 3, or no
            layer that tfmot can take.
        ToleranceError: a kernel did not keep what it is to preserve.
    """
    if preserve not in PRESERVE:
        raise UserError(f"preserve must be one of {PRESERVE}, not {preserve!r}.")
    if not serves_tf_keras() or is_keras3_model(model):
        raise UserError(
            "quantize_aware needs a program in which tf.keras is tf_keras, and a model of it, "
            "because tfmot's layers stay in the result, but Keras 3 is in use: import "
            "tfgraphprune before tf.keras is first used, and build the model with tf_keras."
        )
    chosen = {"optimizer": optimizer, "learning_rate": learning_rate}
    check_training(model, train_data, {**chosen, **training}, averages=True)
    if learning_rate is None:
        clustered = preserve in ("clusters", "both")
        rates = CLUSTER_LEARNING_RATES if clustered else LEARNING_RATES
        learning_rate = default_rate(model, optimizer, rates)
    # Imported late: they load tfmot.
    from tfgraphprune.training.optimize.annotation import annotated
    from tfgraphprune.training.optimize.preserving import Keeper
    from tfgraphprune.training.optimize.ranges import calibrate

    batches = list(islice(input_batches(train_data, batch_size), _CALIBRATION_BATCHES))
    aware, names, left_out = annotated(copy_model(model, flat=True), batches[0], preserve, skip)
    compile_alike(aware, model)
    calibrate(aware, batches)
    keeper = Keeper(aware, preserve)
    rows = finetune(
        aware,
        train_data,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        **training,
    )
    return Optimized(keeper.finish(aware), dict.fromkeys(names, 8), left_out, rows)
