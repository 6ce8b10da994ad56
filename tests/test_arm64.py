"""The parts of benchmarks/arm64.py that need no emulator."""

import sys

import numpy as np
import pytest

from benchmarks import arm64


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(SystemExit, match="there is no emulator no-such-qemu"):
        arm64.emulated("no-such-qemu", "max", str(tmp_path))
    with pytest.raises(SystemExit, match="there is no ARM64 Python"):
        arm64.emulated(sys.executable, "max", str(tmp_path))


def test_outputs_are_compared():
    host = np.array([[1, 2, 3], [3, 2, 1]], np.int8)
    same, other = arm64.compared(host, host), arm64.compared(host, host[:, ::-1])
    assert same["differing"] == 0 and same["classes"] == 1.0
    assert (other["differing"], other["largest"], other["classes"]) == (4, 2.0, 0.0)


def test_a_file_runs_in_another_process(digits_model, digits, tmp_path):
    import tfgraphprune as tgp

    path = tmp_path / "m.tflite"
    tgp.export_tflite(digits_model, path)
    images = arm64._as_input(path, digits.test[0][:5])
    found = arm64.run([sys.executable], "", path, images, "plain")
    np.testing.assert_allclose(found, digits_model(images), atol=1e-4)
    with pytest.raises(SystemExit, match="failed on none"):
        arm64.run([sys.executable], "", tmp_path / "none.tflite", images, "plain")


def test_the_report_has_a_row_for_each(digits):
    named = {"network": "n", "version": "dense", "kind": "int8", "kernels": "plain"}
    row = {**named, **arm64.compared(np.ones((2, 3), np.int8), np.zeros((2, 3), np.int8))}
    assert "| n | dense | int8 | plain | 6 | 6 | 1 | 100.0% |" in arm64.table([row])
