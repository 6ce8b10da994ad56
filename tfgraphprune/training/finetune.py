"""Training with the optimizers of the papers: dense models, and pruned ones with a teacher."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import tensorflow as tf

from tfgraphprune.batches import Data, check, is_dataset, length
from tfgraphprune.errors import UserError
from tfgraphprune.graph.dialects import dialect_of
from tfgraphprune.keras3 import copy_weights, is_keras3_model, twin
from tfgraphprune.pruning.masking import copy_model
from tfgraphprune.training.augment import epoch_dataset, resolve_augmentation
from tfgraphprune.training.checks import check_numbers, check_settings
from tfgraphprune.training.class_weights import weighted
from tfgraphprune.training.distill import Distiller
from tfgraphprune.training.features import FeatureMatch, FeaturePair
from tfgraphprune.training.fit import OnEpoch, Row, fit
from tfgraphprune.training.grouped import native_groups
from tfgraphprune.training.labels import check_labels
from tfgraphprune.training.moving_averages import catch_up
from tfgraphprune.training.objectives import (
    CompiledDistiller,
    check_losses_stay,
    has_own_step,
    is_compiled,
    learner,
)
from tfgraphprune.training.optimizers import LEARNING_RATES, new_optimizer, stepping_by
from tfgraphprune.training.precision import in_precision, scaled_optimizer


def finetune(
    model: Any,
    train_data: Data,
    *,
    epochs: int = 10,
    teacher: Any = None,
    optimizer: str | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    alpha: float = 0.5,
    temperature: float = 4.0,
    feature_weight: float = 0.0,
    feature_pairs: Sequence[FeaturePair] = (),
    label_smoothing: float = 0.0,
    class_weight: Mapping[int, float] | None = None,
    averaging: float = 0.0,
    precision: str = "float32",
    batch_size: int = 64,
    augment: str | None = None,
    validation_data: Data | None = None,
    seed: int = 0,
    checkpoint_dir: str | os.PathLike | None = None,
    log_dir: str | os.PathLike | None = None,
    callbacks: tuple[Any, ...] = (),
    on_epoch: OnEpoch | None = None,
    verbose: int | str = "auto",
) -> list[Row]:
    """Train a model in place; with a teacher, by knowledge distillation.

    A classifier that was not compiled is trained on cross-entropy: the learning rate rises over
    the first twentieth of the steps and falls along a cosine to 0; weight decay skips biases and
    BatchNorm. A compiled model, of any outputs, keeps its losses and metrics, and its optimizer
    (made anew from its configuration) unless one is named here; a class with a `train_step` of its
    own is trained by that, without the teacher, and gets its own optimizer back. After a training
    too short for BatchNorm's moving averages (fewer than `10 / (1 - momentum)` steps), they are
    estimated on the training data; the rows, and validation after each epoch, show the averages as
    they were.

    A model that was built under a `tf.distribute` strategy (`MirroredStrategy`, or
    `MultiWorkerMirroredStrategy` with TF_CONFIG) is trained under it; call this in every worker, on
    the same data, with the global `batch_size`. Ordinary BatchNorm normalises by each replica's
    own examples: `BatchNormalization(synchronized=True)` trains as one process would.

    Args:
        model: compiled, or ending in logits or softmax; one of Keras 3 is trained as its twin of
            tf_keras.
        train_data: `(x, y)` arrays or a batched data set.
        epochs: 0 does nothing.
        teacher: the dense model; `None` trains on labels alone.
        optimizer: `sgd` (Nesterov momentum 0.9) or `adam`; by default that of a compiled model, and
            else `sgd`.
        learning_rate: its peak; by default `LEARNING_RATES`.
        weight_decay: decoupled, of our optimizers; by default 1e-4 for `sgd` and 0 for `adam`.
        alpha: the teacher's share of the loss.
        temperature: of the distillation.
        feature_weight: of the loss on feature maps, see `FeatureMatch`; 0 for none.
        feature_pairs: which feature maps, by `training.features.feature_pairs`.
        label_smoothing: see `Distiller`.
        class_weight: how much the examples of each class count in the loss, such as
            `{0: 1.0, 1: 3.0}`, times their sample weights; 1 for classes that are not named.
        averaging: decay of the mean of weights that the model gets at the end, see
            `WeightAverage`; 0 for the last weights.
        precision: `float32`, `mixed_bfloat16` or `mixed_float16`: what layers compute in; weights
            stay float32. Faster where the hardware has it.
        batch_size: for arrays.
        augment: a name in `augment.AUGMENTATIONS`.
        validation_data: measured after each epoch.
        seed: of order and augmentation.
        checkpoint_dir: makes the training resumable.
        log_dir: for TensorBoard.
        callbacks: further Keras callbacks.
        on_epoch: called with each new row.
        verbose: as in Keras.

    Returns:
        A row for each epoch: epoch, loss, accuracy, and `val_...` with validation data.

    Raises:
        UserError: a setting or data that can't be used, or a loss that is not finite; the model
            then has the weights from before that epoch.
        tf.errors.InvalidArgumentError: a data set has a label that is none of the classes.
    """
    if is_keras3_model(model):
        check_losses_stay(model, "the training of a Keras 3 model")
        settings = {name: value for name, value in locals().items() if name != "model"}
        made = twin(model)
        if is_keras3_model(teacher):
            settings["teacher"] = twin(teacher)
        try:
            return finetune(made, **settings)
        finally:  # also what was restored after a failure
            copy_weights(made, model)
    check(train_data, "train_data")
    if optimizer is not None and optimizer not in LEARNING_RATES:
        raise UserError(f"optimizer must be one of {tuple(LEARNING_RATES)}, not {optimizer!r}.")
    check_numbers(
        epochs, batch_size, seed, learning_rate, alpha, temperature, feature_weight,
        label_smoothing, averaging, weight_decay,
    )  # fmt: skip
    resolve_augmentation(augment)
    if validation_data is not None:
        check(validation_data, "validation_data")
    check_settings(
        model, precision, label_smoothing, optimizer, learning_rate, weight_decay, augment
    )
    if feature_weight and has_own_step(model):
        raise UserError(
            f"feature_weight can't be added to the train_step of {type(model).__name__}: set it to "
            "0, or add such a loss there."
        )
    if not has_own_step(model) and not dialect_of(model).has_layer_graph(model):
        raise UserError(
            f"model must be functional or Sequential, but {model.name!r} is subclassed: train what "
            "prune makes of it, or give it a train_step of its own."
        )
    if teacher is not None and not dialect_of(teacher).has_layer_graph(teacher):
        teacher = copy_model(teacher)
    if class_weight:
        train_data = weighted(train_data, class_weight, model)
    with model.distribute_strategy.scope():
        trained = model if precision == "float32" else in_precision(model, precision)
        features = None
        if feature_weight:
            features = FeatureMatch(trained, teacher, feature_pairs, feature_weight)
        taught = learner(trained, teacher, alpha, temperature, label_smoothing, features)
        if isinstance(taught, Distiller):
            check_labels(train_data, "train_data", model.output_shape[-1])
            if validation_data is not None:
                check_labels(validation_data, "validation_data", model.output_shape[-1])
        if epochs == 0:
            return []
        if isinstance(taught, CompiledDistiller):
            taught.measure(epoch_dataset(train_data, batch_size=batch_size, seed=seed, epoch=0))
        steps = epochs * steps_an_epoch(train_data, batch_size)
        chosen = new_optimizer(model, optimizer, learning_rate, steps, weight_decay)
        chosen = scaled_optimizer(chosen, trained)
        if taught is model:
            stepping: AbstractContextManager = stepping_by(chosen, model)
        else:
            stepping = nullcontext()
            metrics = None if is_compiled(model) else ["accuracy"]
            taught.compile(
                optimizer=chosen, metrics=metrics, jit_compile=False, run_eagerly=model.run_eagerly
            )
        try:
            with stepping, native_groups(trained):
                rows = fit(
                    taught,
                    train_data,
                    epochs=epochs,
                    batch_size=batch_size,
                    seed=seed,
                    augment=augment,
                    validation_data=validation_data,
                    weights_of=trained,
                    averaging=averaging,
                    checkpoint_dir=checkpoint_dir,
                    log_dir=log_dir,
                    callbacks=callbacks,
                    on_epoch=on_epoch,
                    verbose=verbose,
                )
        finally:  # also what was restored after a failure
            if trained is not model:
                model.set_weights(trained.get_weights())
        made = len(rows) * steps // epochs  # a callback may have stopped it
        catch_up(
            model, train_data, steps=made, epochs=len(rows), batch_size=batch_size, seed=seed,
            augment=augment,
        )  # fmt: skip
        return rows


def steps_an_epoch(data: Data, batch_size: int) -> int:
    """Batches in one pass over the data."""
    if is_dataset(data):
        known = int(data.cardinality().numpy())
        if known == tf.data.INFINITE_CARDINALITY:
            raise UserError("the data set never ends: give it an end, as by take(steps).")
        if known >= 0:
            return known
        return int(data.reduce(0, lambda count, *_: count + 1).numpy())
    return -(-length(data[0]) // batch_size)
