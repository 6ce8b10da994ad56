"""The folder of a run: atomic files, what is done, what is ours, and who is working in it."""

from __future__ import annotations

import fcntl
import glob
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfgraphprune.errors import UserError

STATE = "state.json"
METRICS = "metrics.jsonl"
_LOCK = ".lock"
_OWN_DIRECTORIES = ("checkpoints", "tensorboard")
_OWN_FILES = re.compile(
    r"checkpoint(\.tmp\w+)?"
    r"|(ckpt|search|part)-\d+(-of-\d+)?\.(index|data-\d+-of-\d+)(\.tempstate\d+)?"
    r"|history\.json(\.tmp\d+)?"
    r"|events\.out\.tfevents\..+"
)
"""Names that TensorFlow and this package give to files in `_OWN_DIRECTORIES`; a file of another
name there is the user's."""

_FREE_BYTES = 200 * 1024**2


class WorkDir:
    """A run's folder, opened by one process at a time; use `WorkDir.open` in a `with` block.

    Attributes:
        folder: the folder.
    """

    def __init__(self, folder: Path, lock: Any, state: dict[str, Any]):
        self.folder = folder
        self._lock = lock
        self._state = state

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike,
        key: Mapping[str, str],
        outputs: Sequence[str] = (),
        overwrite: bool = False,
    ) -> WorkDir:
        """Open a folder for a new run, or to go on with the run that it holds.

        Args:
            folder: made if missing.
            key: what makes runs the same: hashes of settings, data and model.
            outputs: names of the files that the run will write.
            overwrite: start again, deleting what the run in the folder wrote and nothing else.

        Raises:
            UserError: the folder can't be written, is in use, holds another run, or holds a file
                with the name of an output that no run wrote.
        """
        path = Path(folder)
        lock = _lock(path)
        try:
            state = _read_state(path / STATE)
            if state is not None and overwrite:
                _delete_run(path, state)
                state = None
            if state is None:
                state = {"key": dict(key), "files": [], "done": {}, "finished": False}
            elif state["key"] != dict(key):
                names = sorted({*key, *state["key"]})
                differing = [k for k in names if state["key"].get(k) != key.get(k)]
                raise UserError(
                    f"{path} holds a run with other {' and '.join(differing)}: use another "
                    "workdir, or --overwrite (overwrite=True) to delete that run's files."
                )
            if not state["files"]:
                _refuse_foreign(path, (*outputs, METRICS))
            else:
                _refuse_foreign(path, set(outputs) - set(state["files"]), directories=())
            run = cls(path, lock, state)
            run._state["files"] = sorted({*state["files"], *outputs, METRICS})
            _sweep(path, run._state["files"])
            run._write_state()
            return run
        except BaseException:
            lock.close()
            raise

    def __enter__(self) -> WorkDir:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    @property
    def finished(self) -> bool:
        """Whether the run is complete."""
        return bool(self._state["finished"])

    def directory(self, *parts: str) -> Path:
        """A directory for checkpoints or events, made if missing."""
        if parts[0] not in _OWN_DIRECTORIES:
            raise ValueError(f"{parts[0]} is not one of {_OWN_DIRECTORIES}")
        path = self.folder.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def done(self, step: str) -> Any:
        """What `mark` stored for a step, or `None` where the step has not been finished."""
        return self._state["done"].get(step)

    def mark(self, step: str, payload: Any = True) -> Any:
        """Store that a step is finished, with a JSON-able payload; returns the payload."""
        self._state["done"][step] = payload
        self._write_state()
        return payload

    def finish(self) -> None:
        """Mark the run as complete."""
        self._state["finished"] = True
        self._write_state()

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file of the run: whole or not at all."""
        if name not in self._state["files"]:
            self._state["files"] = sorted({*self._state["files"], name})
            self._write_state()
        write_atomically(self.folder / name, content)
        return self.folder / name

    def log_row(self, stage: str, row: Mapping[str, Any], count: str) -> None:
        """Append a row to `metrics.jsonl`; rows of the stage that it repeats or precedes go first.

        Args:
            stage: which part of the run the row belongs to.
            row: figures.
            count: the entry of `row` that numbers the stage's rows from 1.
        """
        path = self.folder / METRICS
        lines = path.read_text().splitlines() if path.exists() else []
        stale = [n for n, line in enumerate(lines) if _follows(json.loads(line), stage, row, count)]
        if stale:
            lines = [line for n, line in enumerate(lines) if n not in stale]
            write_atomically(path, "".join(line + "\n" for line in lines))
        with path.open("a") as file:
            file.write(json.dumps({"stage": stage, **row}) + "\n")

    def _write_state(self) -> None:
        write_atomically(self.folder / STATE, json.dumps(self._state) + "\n")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file in one step: a reader, or a crash, finds the old content or the new."""
    temporary = path.with_name(f"{path.name}.tmp{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _follows(old: Mapping[str, Any], stage: str, row: Mapping[str, Any], count: str) -> bool:
    return old.get("stage") == stage and old.get(count, 0) >= row[count]


def _lock(path: Path) -> Any:
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / _LOCK).open("w")
    except OSError as error:
        raise UserError(
            f"{path} can't be written ({error.strerror}): give a workdir that can."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise UserError(
            f"another process is running in {path}: wait for it, or stop it."
        ) from error
    free = shutil.disk_usage(path).free
    if free < _FREE_BYTES:
        lock.close()
        raise UserError(
            f"{path} has {free / 1e6:.0f} MB of disk left, but a run needs "
            f"{_FREE_BYTES / 1e6:.0f}: free some, or use another workdir."
        )
    return lock


def _read_state(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        state = json.loads(path.read_text())
        return {name: state[name] for name in ("key", "files", "done", "finished")}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not the state of a run: use another workdir.") from error


def _refuse_foreign(
    folder: Path, names: Iterable[str], directories: Iterable[str] = _OWN_DIRECTORIES
) -> None:
    """Refuse a folder in which a run would write over, or mix its files with, someone else's."""
    found = [folder / name for name in names if os.path.lexists(folder / name)]
    for name in directories:
        found += _own_files(folder / name)
    if found:
        raise UserError(
            f"{found[0]} exists and was not written by a run: move it away, or use another workdir."
        )


def _sweep(folder: Path, names: Iterable[str]) -> None:
    """Remove what a killed process left: its temporary files, half a row of metrics."""
    for name in (*names, STATE):
        for path in folder.glob(f"{glob.escape(name)}.tmp*"):
            if path.name.removeprefix(f"{name}.tmp").isdigit():
                path.unlink()
    metrics = folder / METRICS
    content = metrics.read_bytes() if metrics.exists() else b""
    if content and not content.endswith(b"\n"):
        os.truncate(metrics, content.rfind(b"\n") + 1)


def _own_files(directory: Path) -> list[Path]:
    """Files of the kinds that a run writes into its own directories; links are not followed."""
    if directory.is_symlink():
        return []
    return [
        Path(root) / file
        for root, _, files in os.walk(directory)
        for file in files
        if _OWN_FILES.fullmatch(file)
    ]


def _delete_run(folder: Path, state: Mapping[str, Any]) -> None:
    """Delete the listed files, and in the run's own directories the kinds of file it writes."""
    _sweep(folder, state["files"])
    for name in (*state["files"], STATE):
        path = folder / name
        if path.resolve().parent == folder.resolve() and path.is_file():
            path.unlink()
    for name in _OWN_DIRECTORIES:
        for path in _own_files(folder / name):
            path.unlink()
        if (folder / name).is_symlink():
            continue
        for root, _, _ in os.walk(folder / name, topdown=False):
            if not os.listdir(root):
                os.rmdir(root)
