"""Checkpoints of one search: a method's state and its history in one atomic unit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from tfgraphprune.errors import UserError
from tfgraphprune.search.history import SearchHistory

KEEP = 2
"""Checkpoints that are kept: the newest, and one before it should that be damaged."""

_INDEX = re.compile(r"search-(\d+)\.index")


class SearchCheckpoints:
    """Saves and restores a search in a folder.

    The history is a string among the variables, so that the two can't disagree. TensorFlow
    writes the index last, and all of it carries checksums: whatever a kill leaves behind is
    either whole or recognised as damaged.

    Args:
        folder: made when it is not there; holds nothing else.
        history: the rows; replaced by those of the checkpoint on restoring.
        identity: plain values that a checkpoint must agree with, such as method and seed.
    """

    def __init__(self, folder: Path, history: SearchHistory, identity: Mapping[str, Any]):
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._history = history
        self._identity = json.loads(json.dumps(dict(identity)))
        self._record = tf.Variable("", dtype=tf.string, name="record")
        self._checkpoint = tf.train.Checkpoint(record=self._record)
        # Traced once: ten times faster than collecting some 300 variables at every save. That
        # is sound because no variable is made after `restore`.
        self._write = tf.function(self._write_to, autograph=False)

    def restore_history(self) -> None:
        """Restore the history alone, without the method's state, if there is a checkpoint.

        Raises:
            UserError: a checkpoint of another search, or none of them can be read.
        """
        self._restore(partial=True)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore history and state from the newest checkpoint that is whole, if there is any.

        Args:
            state: the trackables that `save` writes from now on, with all their variables made.

        Raises:
            UserError: a checkpoint of another search, or none of them can be read.
        """
        self._checkpoint = tf.train.Checkpoint(record=self._record, **state)
        self._restore(partial=False)

    def save(self) -> None:
        """Write a checkpoint and drop old ones; call `restore` once before."""
        record = {
            "search": self._identity,
            "rows": self._history.rows,
            "seconds": self._history.seconds,
        }
        self._record.assign(json.dumps(record))
        self._write(tf.constant(self._prefix(len(self._history.rows))))
        for number in self._numbers()[KEEP:]:
            # The index goes first: a kill in between leaves nothing that looks whole.
            for path in sorted(self._folder.glob(f"search-{number}.*"), reverse=True):
                path.unlink()

    def _write_to(self, prefix: tf.Tensor) -> tf.Tensor:
        # `write` and not `save`, which keeps a file beside the checkpoints that names the
        # newest: the numbers say that already, and it is one more thing to go wrong.
        return self._checkpoint.write(prefix)

    def _restore(self, partial: bool) -> None:
        for leftover in self._folder.glob("search-*_temp*"):
            shutil.rmtree(leftover, ignore_errors=True)
        numbers = self._numbers()
        for number in numbers:
            prefix = self._prefix(number)
            try:
                status = self._checkpoint.read(prefix)
                if partial:
                    status.expect_partial()
                else:
                    status.assert_existing_objects_matched()
                record = json.loads(self._record.numpy())
            # TensorFlow reports damage by several kinds of error, IndexError among them.
            except Exception as error:
                logging.warning("The checkpoint %s can't be read: %s", prefix, error)
                continue
            self._check(record["search"])
            self._history.load(record["rows"], record["seconds"])
            return
        if numbers:
            raise UserError(
                f"none of the {len(numbers)} search checkpoints in {self._folder} can be read: "
                "remove that folder to search again from the start."
            )

    def _check(self, found: Mapping[str, Any]) -> None:
        for name, value in self._identity.items():
            if found.get(name) != value:
                raise UserError(
                    f"the checkpoint in {self._folder} belongs to a search with {name} "
                    f"{found.get(name)!r}, not {value!r}: use another folder or remove this one."
                )

    def _prefix(self, number: int) -> str:
        return str(self._folder / f"search-{number}")

    def _numbers(self) -> list[int]:
        """Numbers of the checkpoints, newest first."""
        matches = (_INDEX.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted((int(match[1]) for match in matches if match), reverse=True)
