"""Runs a step in a fresh process in which `tf.keras` is tf_keras, whatever it is in this one.

TF-Agents, Spektral and tfmot build on what TensorFlow hands out as `tf.keras`. In a program that
uses it as Keras 3 they can't be imported, and a process can't have both. So arguments go through
a folder into a worker, callbacks and errors come back through a pipe, and what it prints goes
where this process prints.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tfgraphprune import errors
from tfgraphprune.legacy_keras import SWITCH
from tfgraphprune.parcels import pack, unpack

_START = (
    "import sys; sys.path[:] = {path!r}; from tfgraphprune.worker import main; "
    "main({fd}, sys.argv[1])"
)
_PATIENCE = 5.0
"""Seconds that a worker whose work is over, or not wanted any more, has to end."""


def run_in_worker(
    function: str,
    arguments: Mapping[str, Any],
    callbacks: Mapping[str, Callable[..., Any]] | None = None,
    step: str = "this step",
) -> Any:
    """Call a function in a worker process and return what it returns.

    The worker ends with this call, whichever way that ends, and with this process.

    Args:
        function: `module:name`, importable there.
        arguments: by name; see `parcels.pack` for what can be sent.
        callbacks: further arguments by name: functions that run in this process when the worker
            calls them, which waits for them; plain values in and out.
        step: what runs, for messages.

    Raises:
        UserError: an argument can't be sent, or the function raised one.
        ToleranceError: the function raised one.
        RuntimeError: the function raised anything else, or the worker died.
    """
    callbacks = dict(callbacks or {})
    with tempfile.TemporaryDirectory(prefix="tfgraphprune-") as name:
        folder = Path(name)
        task = {"function": function, "arguments": dict(arguments), "callbacks": [*callbacks]}
        pack(task, folder / "task", step)
        ours, theirs = Pipe()
        with ours:
            with theirs:
                process = subprocess.Popen(
                    [
                        sys.executable,
                        "-c",
                        _START.format(path=sys.path, fd=theirs.fileno()),
                        str(folder),
                    ],
                    env={**os.environ, SWITCH: "1"},
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    # Ctrl-C reaches this process alone, which then ends the worker.
                    start_new_session=True,
                )
            try:
                _serve(ours, callbacks, step)
            except _Died:
                raise RuntimeError(_obituary(step, process.wait())) from None
            except BaseException:
                process.terminate()
                raise
            finally:
                _end(process)
        return unpack(folder / "result")


class _Died(Exception):
    """The worker has ended."""


def _serve(connection: Connection, callbacks: Mapping[str, Callable], step: str) -> None:
    """Run callbacks until the worker says that it is done.

    Raises:
        _Died: it ended without a word.
    """
    while True:
        try:
            kind, *content = connection.recv()
        except (EOFError, ConnectionResetError):
            raise _Died from None
        if kind == "done":
            return
        if kind == "error":
            raise _error(step, *content)
        name, arguments = content
        answer = callbacks[name](*arguments)
        try:
            connection.send(answer)
        except BrokenPipeError:
            raise _Died from None


def _error(step: str, name: str, message: str, trace: str) -> Exception:
    """The exception for one that was raised in the worker."""
    kind = getattr(errors, name, None)
    if kind is not None:
        error = kind.__new__(kind)
        error.args = (message,)
        return error
    error = RuntimeError(f"the worker process of {step} failed: {name}: {message}")
    error.__cause__ = RuntimeError("in the worker process:\n" + trace)
    return error


def _obituary(step: str, code: int) -> str:
    if code >= 0:
        return f"the worker process of {step} ended by itself with exit code {code}."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (is there enough memory?)" if name == "SIGKILL" else ""
    return f"the worker process of {step} was ended by {name}{hint}."


def _end(process: subprocess.Popen) -> None:
    try:
        process.wait(_PATIENCE)
    except BaseException as error:
        process.kill()
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


def main(fd: int, name: str) -> None:
    """What the worker process runs.

    Args:
        fd: the pipe to the process that started it.
        name: the folder with the task, which receives the result.
    """
    os.set_inheritable(fd, False)
    connection, folder = Connection(fd), Path(name)
    answers: SimpleQueue = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, answers), daemon=True).start()

    def remote(callback: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            connection.send(("call", callback, arguments))
            return answers.get()

        return call

    try:
        task = unpack(folder / "task")
        module, _, attribute = task["function"].partition(":")
        function = getattr(importlib.import_module(module), attribute)
        callbacks = {callback: remote(callback) for callback in task["callbacks"]}
        pack(function(**task["arguments"], **callbacks), folder / "result", "the result")
    except BaseException as error:
        connection.send(("error", type(error).__name__, str(error), traceback.format_exc()))
    else:
        connection.send(("done",))
    sys.stdout.flush()


def _listen(connection: Connection, answers: SimpleQueue) -> None:
    """Receive the callbacks' answers; end the process with the one that started it."""
    try:
        while True:
            answers.put(connection.recv())
    except (EOFError, OSError, pickle.UnpicklingError):
        os._exit(1)
