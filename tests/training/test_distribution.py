"""Several replicas and several workers train as one process with the same global batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support import ROOT, fresh_environment

PROGRAM = ROOT / "tests" / "training" / "distributed_program.py"


def _start(kind, folder, *epochs, config=None):
    environment = fresh_environment({"CUDA_VISIBLE_DEVICES": "-1"})
    environment["PYTHONPATH"] = str(ROOT)
    if config:
        environment["TF_CONFIG"] = json.dumps(config)
    command = [sys.executable, str(PROGRAM), kind, str(folder), *map(str, epochs)]
    return subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def _end(process):
    try:
        errors = process.communicate(timeout=240)[1]
    finally:
        process.kill()
    assert process.returncode == 0, errors[-2000:]


def _workers(folder, *epochs):
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
        names = [f"127.0.0.1:{free.getsockname()[1]}" for free in (first, second)]
    cluster = {"chief": names[:1], "worker": names[1:]}
    running = [
        _start("workers", folder, *epochs, config={"cluster": cluster, "task": task})
        for task in ({"type": kind, "index": 0} for kind in cluster)
    ]
    try:
        for process in running:
            _end(process)
    finally:
        for process in running:
            process.kill()


def _result(folder, name):
    weights = np.load(os.path.join(folder, f"{name}.npz"))
    rows = json.loads((Path(folder) / f"{name}.json").read_text())
    return [weights[key] for key in weights.files], rows


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    _end(_start("alone", folder))
    return _result(folder, "alone_chief_0")


def _same(left, right):
    for a, b in zip(left[0], right[0], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4, rtol=2e-3)
    for mine, theirs in zip(left[1], right[1], strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
        assert mine["accuracy"] == pytest.approx(theirs["accuracy"], abs=0.01)


def test_two_replicas_train_as_one(alone, tmp_path):
    _end(_start("mirrored", tmp_path))
    _same(_result(tmp_path, "mirrored_chief_0"), alone)


def test_a_replica_without_an_example_in_the_last_batch_adds_nothing(tmp_path):
    _end(_start("uneven", tmp_path))
    rows = json.loads((tmp_path / "uneven.json").read_text())
    assert len(rows) == 3
    assert all(np.isfinite(list(row.values())).all() for (row,) in rows.values())


def test_the_callback_takes_channels_on_all_replicas_and_between_executions(tmp_path):
    _end(_start("gradual", tmp_path))
    for spread, filters in json.loads((tmp_path / "gradual.json").read_text()).values():
        assert spread < 1e-4 and filters == 4


def test_two_workers_train_as_one_process_and_resume(alone, tmp_path):
    _workers(tmp_path, 2)
    checkpoints = tmp_path / "checkpoints"
    assert (checkpoints / "ckpt-2.index").exists()
    # As where the worker was killed before it had saved the second epoch.
    (checkpoints / "worker_0" / "ckpt-2.index").unlink()
    _workers(tmp_path)
    first, second = (_result(tmp_path, f"workers_{kind}_0") for kind in ("chief", "worker"))
    for a, b in zip(first[0], second[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert [row["epoch"] for row in first[1]] == [1, 2, 3]
    assert (checkpoints / "history.json").exists()
    _same(first, alone)
