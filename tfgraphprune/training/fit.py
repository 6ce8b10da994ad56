"""Training epoch by epoch, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from absl import logging

from tfgraphprune.batches import Data, as_dataset
from tfgraphprune.errors import UserError
from tfgraphprune.outputs import units
from tfgraphprune.training.augment import epoch_dataset
from tfgraphprune.training.averaging import WeightAverage
from tfgraphprune.training.checkpoints import (
    HISTORY,
    KEPT,
    STOPPED,
    Row,
    check_space,
    folder_of_worker,
    keep_result,
    make_folder,
    restore,
    restore_result,
    stopped_at,
)
from tfgraphprune.workdir import write_atomically

OnEpoch = Callable[[Row], None]

_FINALIZE = "finalize_variable_values"


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
        callbacks: further Keras callbacks, for which the training begins and ends once; one such as
            `EarlyStopping` may stop it, for good.
        on_epoch: called with each new row, before it is checkpointed.
        verbose: as in Keras; by default bars on a terminal and a line an epoch elsewhere.

    Returns:
        A row for each epoch: `epoch` from 1, and Keras' figures; those of a metric of several
        values, such as `F1Score(average=None)`, are numbered: `f1_score_0`, `f1_score_1`.

    Raises:
        UserError: a checkpoint_dir that can't be written or has too little space left, or the
            loss or a weight is no longer finite; the weights are then those before the epoch.
    """
    if hasattr(model.optimizer, "build"):
        model.optimizer.build(model.trainable_variables)
    learner = weights_of or model
    average = WeightAverage(learner, averaging) if averaging else None
    kept = {"average": average} if average else {}
    state = tf.train.Checkpoint(model=learner, optimizer=model.optimizer, **kept)
    folder = folder_of_worker(checkpoint_dir)
    manager, rows = None, list[Row]()
    if folder is not None:
        make_folder(folder, "checkpoint_dir")
        manager = tf.train.CheckpointManager(state, str(folder), max_to_keep=KEPT)
        rows = restore(state, manager, folder)
    if average is not None:  # those epochs may have been trained without
        average.begin()
    writer = tf.summary.create_file_writer(str(log_dir)) if log_dir else None
    held = as_dataset(validation_data, batch_size) if validation_data is not None else None
    if folder is not None and rows:
        logging.info("%d of %d epochs are in %s already", len(rows), epochs, folder)
        if len(rows) >= epochs or stopped_at(folder) == len(rows):
            if not restore_result(state, folder, len(rows)):
                _conclude(model, learner, average)
            return rows
    if folder is not None and len(rows) < epochs:
        averages = average.averages if average else []
        check_space(folder, [*learner.weights, *model.optimizer.variables(), *averages])
    verbosity = _bars() if verbose == "auto" else verbose
    run: _OneRun | None = None
    classes = units(learner)
    for epoch in range(len(rows), epochs):
        batches = epoch_dataset(
            train_data, batch_size=batch_size, seed=seed, epoch=epoch, augment=augment,
            classes=classes,
        )  # fmt: skip
        good = learner.get_weights()
        if run is None:
            steps = int(batches.cardinality().numpy())
            run = _OneRun(
                [*callbacks, _OneEpoch(average)], add_history=True, add_progbar=verbosity != 0,
                model=model, verbose=verbosity, epochs=epochs, steps=steps if steps > 0 else None,
            )  # fmt: skip
        # Callbacks may draw on Keras' epoch counter, so each call of fit continues it.
        with _averages_later(model.optimizer):
            history = model.fit(
                batches,
                initial_epoch=epoch,
                epochs=epochs,
                validation_data=held,
                callbacks=run,
                verbose=verbosity,
            )
        row = _figures(history.history)
        # The last step can spoil the weights after its loss was finite, and ReLU can hide a NaN.
        loss = row.get("loss", 0.0)  # a train_step of the user's may give its losses other names
        if not math.isfinite(loss) or not _finite(learner):
            learner.set_weights(good)
            elsewhere = " with another checkpoint_dir" if folder is not None else ""
            raise UserError(
                f"the training loss became {loss}, or a weight stopped being finite, in "
                f"epoch {epoch + 1}: lower the learning rate{elsewhere}, or check the data; the "
                "weights from before that epoch are kept."
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
            write_atomically(folder / HISTORY, json.dumps(rows))
            if run.stopped:
                write_atomically(folder / STOPPED, str(epoch + 1))
            manager.save(checkpoint_number=epoch + 1)
        if run.stopped:
            break
    _conclude(model, learner, average)
    if run is None:
        return rows
    good = learner.get_weights()
    run.finish()
    changed = any((a != b).any() for a, b in zip(good, learner.get_weights(), strict=True))
    if folder is not None and changed:  # as EarlyStopping(restore_best_weights=True) does
        keep_result(state, folder, len(rows))
    return rows


def _figures(history: Mapping[str, Sequence[Any]]) -> Row:
    """The last value of each of Keras' figures, which may be several numbers."""
    row: Row = {}
    for name, values in history.items():
        value = np.ravel(values[-1]).tolist()
        names = [name] if len(value) == 1 else [f"{name}_{i}" for i in range(len(value))]
        row |= zip(names, map(float, value), strict=True)
    return row


def _conclude(model: Any, learner: Any, average: WeightAverage | None) -> None:
    """Put averages, the optimizer's own or ours, in the place of the weights."""
    if hasattr(model.optimizer, _FINALIZE):
        model.optimizer.finalize_variable_values(learner.trainable_variables)
    if average is not None:
        average.use()


@contextlib.contextmanager
def _averages_later(optimizer: Any) -> Iterator[None]:
    """Keep Keras from doing that after each call of fit, in the middle of a training."""
    if not hasattr(optimizer, _FINALIZE):  # those of Keras before 2.11
        yield
        return
    setattr(optimizer, _FINALIZE, lambda variables: None)
    try:
        yield
    finally:
        delattr(optimizer, _FINALIZE)


def _finite(model: Any) -> bool:
    return all(
        np.isfinite(weight).all()
        for weight in model.get_weights()
        if np.issubdtype(weight.dtype, np.floating)
    )


class _OneRun(keras.callbacks.CallbackList):
    """Callbacks for which many calls of fit are one training, of which they see beginning and end.

    Attributes:
        stopped: whether one of them has stopped it.
    """

    _begun = False

    @property
    def stopped(self) -> bool:
        return any(isinstance(c, _OneEpoch) and c.stopped for c in self.callbacks)

    def on_train_begin(self, logs: Any = None) -> None:
        if not self._begun:
            self._begun = True
            super().on_train_begin(logs)

    def on_train_end(self, logs: Any = None) -> None:
        self._last = logs

    def finish(self) -> None:
        super().on_train_end(self._last)


class _OneEpoch(keras.callbacks.Callback):
    """Ends each call of fit after an epoch; the bar still shows how many there are in all."""

    def __init__(self, average: WeightAverage | None):
        super().__init__()
        self._average = average
        self.stopped = False
        self._supports_tf_logs = True  # batches need not wait for logs that nobody reads

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._average is not None:
            self._average.update()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.stopped = self.model.stop_training  # by a callback before this one
        self.model.stop_training = True


def _bars() -> int:
    return 1 if sys.stdout.isatty() else 2
