"""The worker process: what goes in and comes out, errors, and how it ends."""

import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfgraphprune as tgp
from tests.support import ROOT, fresh_environment
from tfgraphprune.parcels import pack, unpack
from tfgraphprune.worker import run_in_worker

FUNCTIONS = "tests.worker_functions"


def small(library):
    return library.Sequential([library.Input((4,)), library.layers.Dense(3)])


@pytest.mark.parametrize("library", [tf_keras, keras], ids=["tf_keras", "Keras 3"])
def test_models_arrays_settings_callbacks_and_output(library, capfd):
    model = small(library)
    x, y = np.ones((5, 4), np.float32), np.arange(5)
    seen = []

    def on_step(row):
        seen.append(row)
        return 10 * row["step"]

    arguments = {"model": model, "data": (x, y), "budget": tgp.Budget(macs_ratio=0.5)}
    result = run_in_worker(f"{FUNCTIONS}:describe", arguments, {"on_step": on_step})
    assert result["keras"] == "tf_keras"
    assert result["rows"] == [0, 10, 20] and [row["step"] for row in seen] == [0, 1, 2]
    assert result["budget"] == tgp.Budget(macs_ratio=0.5)
    np.testing.assert_allclose(result["outputs"], np.asarray(model(x)), atol=1e-6)
    assert isinstance(result["model"], library.Model)
    np.testing.assert_array_equal(np.asarray(result["model"](x)), np.asarray(model(x)))
    printed = capfd.readouterr()
    assert "to stdout" in printed.out and "to stderr" in printed.err


def test_data_sets_keep_their_batches(tmp_path):
    data = tf.data.Dataset.from_tensor_slices((np.zeros((5, 2)), np.arange(5))).batch(2)
    pack({"data": data}, tmp_path / "parcel", "the test")
    found = [y.numpy().tolist() for _, y in unpack(tmp_path / "parcel")["data"]]
    assert found == [[0, 1], [2, 3], [4]]


def test_one_object_that_is_sent_twice_arrives_as_one(tmp_path):
    model = small(tf_keras)
    pack({"model": model, "teacher": model}, tmp_path / "parcel", "the test")
    found = unpack(tmp_path / "parcel")
    assert found["model"] is found["teacher"]


@pytest.mark.parametrize(
    ("kind", "expected", "message"),
    [
        ("user", tgp.UserError, "^bad input$"),
        ("tolerance", tgp.ToleranceError, "^bad input$"),
        ("missing", tgp.MissingExtraError, r"^A step needs the package 'package'"),
        ("other", RuntimeError, "^the worker process of this test failed: KeyError: 'bad input'$"),
    ],
)
def test_errors_come_back(kind, expected, message):
    with pytest.raises(expected, match=message) as raised:
        arguments = {"kind": kind, "argument": "bad input"}
        run_in_worker(f"{FUNCTIONS}:fail", arguments, step="this test")
    if kind == "other":
        assert "in fail\n" in str(raised.value.__cause__)


@pytest.mark.parametrize(
    ("how", "message"),
    [("exit", "ended by itself with exit code 7"), ("kill", "was ended by SIGKILL .*memory")],
)
def test_a_worker_that_dies_is_an_error(how, message):
    with pytest.raises(RuntimeError, match=f"^the worker process of this test {message}"):
        run_in_worker(f"{FUNCTIONS}:die", {"how": how}, step="this test")


def _local():
    pass


@pytest.mark.parametrize("value", [lambda: 0, open(os.devnull)], ids=["lambda", "open file"])  # noqa: SIM115
def test_what_cannot_be_sent_is_refused_before_a_process_starts(value):
    with pytest.raises(
        tgp.UserError, match=r"can't be sent .* import tfgraphprune before tf.keras"
    ):
        run_in_worker("nothing:nothing", {"value": value}, step="this test")


def test_a_function_of_the_main_program_cannot_be_sent(monkeypatch):
    monkeypatch.setattr(_local, "__module__", "__main__")
    with pytest.raises(tgp.UserError, match="_local is defined in the main program"):
        run_in_worker("nothing:nothing", {"value": _local}, step="this test")


@pytest.mark.parametrize("kind", [ZeroDivisionError, EOFError])
def test_a_callback_that_fails_ends_the_worker(tmp_path, kind):
    def on_start():
        raise kind

    path = tmp_path / "pid"
    with pytest.raises(kind):
        run_in_worker(f"{FUNCTIONS}:sleep", {"path": str(path)}, {"on_start": on_start})
    assert not _alive(int(path.read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_the_worker_ends_with_the_program(tmp_path, number):
    path = tmp_path / "pid"
    code = (
        "from tfgraphprune.worker import run_in_worker;"
        f"run_in_worker('{FUNCTIONS}:sleep', {{'path': {str(path)!r}}})"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        env=fresh_environment(),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        # A test run in the background may have been started with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert _wait(lambda: path.exists() and path.read_text(), 120)
    program.send_signal(number)
    _, printed = program.communicate(timeout=60)
    if number == signal.SIGINT:
        assert printed.decode().splitlines()[-1] == "KeyboardInterrupt"
    pid = int(path.read_text())
    assert _wait(lambda: not _alive(pid), 30)


def _wait(condition, seconds):
    for _ in range(seconds * 10):
        if condition():
            return True
        time.sleep(0.1)
    return False


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
