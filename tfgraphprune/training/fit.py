"""Training epoch by epoch, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfgraphprune.batches import Data, as_dataset
from tfgraphprune.errors import UserError
from tfgraphprune.training.augment import epoch_dataset
from tfgraphprune.training.averaging import WeightAverage
from tfgraphprune.workdir import write_atomically

Row = dict[str, Any]
OnEpoch = Callable[[Row], None]


def fit(
    model: Any,
    train_data: Data,
    *,
    epochs: int,
    batch_size: int = 64,
    seed: int = 0,
    augment: str | None = None,
    validation_data: Data | None = None,
    weights_of: Any = None,
    averaging: float = 0.0,
    checkpoint_dir: str | os.PathLike | None = None,
    log_dir: str | os.PathLike | None = None,
    callbacks: Sequence[Any] = (),
    on_epoch: OnEpoch | None = None,
    verbose: int | str = "auto",
) -> list[Row]:
    """Train a compiled model, with a checkpoint after each epoch.

    The order of the data and its augmentation are functions of the seed and the epoch, so a run
    that was killed and started again ends with the weights of one left alone. Layers that draw
    their own random numbers (dropout) are the exception.

    Args:
        model: compiled.
        train_data: `(x, y)` arrays or a batched data set.
        epochs: how many in all, those of an interrupted run included.
        batch_size: for arrays.
        seed: of order and augmentation.
        augment: a name in `augment.AUGMENTATIONS`.
        validation_data: measured after each epoch.
        weights_of: the model whose weights are checkpointed; `model` by default.
        averaging: decay of the mean of weights that is used at the end, see `WeightAverage`; 0 for
            the last weights.
        checkpoint_dir: keeps the state; nothing resumes without it. Workers of a
            `tf.distribute` strategy but the first keep theirs in folders inside it.
        log_dir: for TensorBoard.
        callbacks: further Keras callbacks.
        on_epoch: called with each new row, before it is checkpointed.
        verbose: as in Keras; by default bars on a terminal and a line an epoch elsewhere.

    Returns:
        A row for each epoch: `epoch` from 1, and Keras' figures.

    Raises:
        UserError: the loss or a weight is no longer finite; the weights are then those before the
            epoch.
    """
    model.optimizer.build(model.trainable_variables)
    learner = weights_of or model
    average = WeightAverage(learner, averaging) if averaging else None
    kept = {"average": average} if average else {}
    state = tf.train.Checkpoint(model=learner, optimizer=model.optimizer, **kept)
    folder = _folder(checkpoint_dir)
    manager, rows = None, list[Row]()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        manager = tf.train.CheckpointManager(state, str(folder), max_to_keep=2)
        rows = _restore(state, manager, folder)
    writer = tf.summary.create_file_writer(str(log_dir)) if log_dir else None
    held = as_dataset(validation_data, batch_size) if validation_data is not None else None
    shape = learner.output_shape
    classes = shape[-1] if isinstance(shape, tuple) else None  # of one output
    for epoch in range(len(rows), epochs):
        batches = epoch_dataset(
            train_data, batch_size=batch_size, seed=seed, epoch=epoch, augment=augment,
            classes=classes,
        )  # fmt: skip
        good = learner.get_weights()
        # Callbacks may draw on Keras' epoch counter, so each call of fit continues it.
        history = model.fit(
            batches,
            initial_epoch=epoch,
            epochs=epochs,
            validation_data=held,
            callbacks=[*callbacks, _OneEpoch(average)],
            verbose=_bars() if verbose == "auto" else verbose,
        )
        row = {name: float(values[-1]) for name, values in history.history.items()}
        # The last step can spoil the weights after its loss was finite, and ReLU can hide a NaN.
        if not math.isfinite(row["loss"]) or not _finite(learner):
            learner.set_weights(good)
            raise UserError(
                f"the training loss became {row['loss']}, or a weight stopped being finite, in "
                f"epoch {epoch + 1}: lower the learning rate, or check the data; the weights from "
                "before that epoch are kept."
            )
        rows.append({"epoch": epoch + 1, **row})
        if on_epoch is not None:
            on_epoch(rows[-1])
        if writer is not None:
            with writer.as_default(step=epoch + 1):
                for name, value in row.items():
                    tf.summary.scalar(name, value)
        if manager is not None and folder is not None:
            # History first: a kill between the two leaves rows that restoring cuts off again.
            write_atomically(folder / "history.json", json.dumps(rows))
            manager.save(checkpoint_number=epoch + 1)
    if average is not None:
        average.use()
    return rows


def _folder(checkpoint_dir: str | os.PathLike | None) -> Path | None:
    """Where this worker keeps its checkpoints: all must save, each in a place of its own."""
    if checkpoint_dir is None:
        return None
    resolver = tf.distribute.get_strategy().cluster_resolver
    number = getattr(resolver, "task_id", None) or 0
    return Path(checkpoint_dir) / f"worker_{number}" if number else Path(checkpoint_dir)


def _finite(model: Any) -> bool:
    return all(
        np.isfinite(weight).all()
        for weight in model.get_weights()
        if np.issubdtype(weight.dtype, np.floating)
    )


class _OneEpoch(keras.callbacks.Callback):
    """Ends each call of fit after an epoch; the bar still shows how many there are in all."""

    def __init__(self, average: WeightAverage | None):
        super().__init__()
        self._average = average

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._average is not None:
            self._average.update()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = True


def _bars() -> int:
    return 1 if sys.stdout.isatty() else 2


def _restore(state: Any, manager: Any, folder: Path) -> list[Row]:
    """Restore the newest whole checkpoint, and return the rows of the epochs up to it."""
    for path in reversed(manager.checkpoints):
        try:
            rows = json.loads((folder / "history.json").read_text())
            state.restore(path).expect_partial()
        except (OSError, ValueError, IndexError, tf.errors.OpError):
            continue
        done = int(path.rsplit("-", 1)[1])
        if len(rows) >= done:
            return rows[:done]
    if manager.checkpoints:
        raise UserError(
            f"no checkpoint in {folder} can be read: delete the folder to train from the start."
        )
    return []
