"""The folder of a training's checkpoints: where it is, what fits into it, what is in it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfgraphprune.errors import UserError

Row = dict[str, Any]
"""What is known of an epoch: `epoch` from 1, and Keras' figures."""

HISTORY = "history.json"
"""File beside the checkpoints: the rows of all epochs."""

STOPPED = "stopped"
"""File beside the checkpoints: the epoch after which a callback has ended the training."""

KEPT = 2
"""Checkpoints that stay; while one is written there is one more."""


def folder_of_worker(checkpoint_dir: str | os.PathLike | None) -> Path | None:
    """Where this worker keeps its checkpoints: all must save, each in a place of its own."""
    if checkpoint_dir is None:
        return None
    resolver = tf.distribute.get_strategy().cluster_resolver
    kind, number = getattr(resolver, "task_type", None), getattr(resolver, "task_id", None)
    chief = kind == "chief" or "chief" not in (resolver.cluster_spec().jobs if resolver else ())
    first = not number and chief
    return Path(checkpoint_dir) if first else Path(checkpoint_dir) / f"{kind}_{number}"


def make_folder(folder: Path, setting: str) -> None:
    """Make a folder if it isn't there.

    Args:
        folder: to be written into.
        setting: the argument that names it, for the message.

    Raises:
        UserError: it can't be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STOPPED).exists()  # where it may not be entered
        reason = "" if os.access(folder, os.W_OK) else "Permission denied"
    except OSError as error:
        reason = str(error.strerror)
    if reason:
        raise UserError(f"{folder} can't be written ({reason}): give a {setting} that can.")


def check_space(folder: Path, variables: Iterable[tf.Variable]) -> None:
    """Refuse a disk on which the checkpoints of a training don't fit.

    Args:
        folder: of the checkpoints, some of which may be there already.
        variables: what each of them holds.

    Raises:
        UserError: there is too little space left.
    """
    size = sum(v.shape.num_elements() * v.dtype.size for v in variables)
    there = sum(path.stat().st_size for path in folder.glob("ckpt-*"))
    needed, free = (KEPT + 1) * size - there, shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"the checkpoints in {folder} need {needed / 1e6:.0f} MB more, but the disk has "
            f"{free / 1e6:.0f} MB left: make room, or give a checkpoint_dir on another one."
        )


def restore(state: Any, manager: Any, folder: Path) -> list[Row]:
    """Restore the newest whole checkpoint, and return the rows of the epochs up to it.

    Workers of a cluster agree on one: a kill may leave some of them an epoch behind.
    """
    numbers = {int(path.rsplit("-", 1)[1]): path for path in manager.checkpoints}
    while True:
        rows = _newest(state, numbers, folder)
        found = _of_workers(len(rows) if rows or not manager.checkpoints else -1)
        if min(found) == max(found) >= 0:
            return rows
        if min(found) <= 0:  # all workers come here, so none waits for another
            raise UserError(
                f"no checkpoint in {folder} can be read, or not by all workers: delete the folder "
                "to train from the start."
            )
        numbers = {n: path for n, path in numbers.items() if n <= min(found)}


def stopped_at(folder: Path) -> int:
    """The epoch after which a callback has ended the training, 0 for none."""
    path = folder / STOPPED
    return int(path.read_text() or 0) if path.exists() else 0


def keep_result(state: Any, folder: Path, epochs: int) -> None:
    """Keep what callbacks left after the last epoch, beside the checkpoint of that epoch itself."""
    state.write(_result(folder, epochs))


def restore_result(state: Any, folder: Path, epochs: int) -> bool:
    """Restore what `keep_result` kept; whether there was any."""
    there = Path(f"{_result(folder, epochs)}.index").exists()
    if there:
        state.read(_result(folder, epochs)).expect_partial()
    return there


def _result(folder: Path, epochs: int) -> str:
    return str(folder / f"result-{epochs}")


def _newest(state: Any, numbers: Mapping[int, str], folder: Path) -> list[Row]:
    for done in sorted(numbers, reverse=True):
        try:
            rows = json.loads((folder / HISTORY).read_text())
            state.restore(numbers[done]).expect_partial()
        except (OSError, ValueError, IndexError, tf.errors.OpError):
            continue
        if len(rows) >= done:
            return rows[:done]
    return []


def _of_workers(number: int) -> list[int]:
    """The number of each worker of a cluster."""
    strategy = tf.distribute.get_strategy()
    if getattr(strategy.cluster_resolver, "task_type", None) is None:
        return [number]
    own = strategy.run(tf.function(lambda: tf.constant([number])))
    return strategy.gather(own, axis=0).numpy().tolist()
