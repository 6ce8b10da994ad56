"""Verification: a wrong file is noticed."""

import pytest
import tf_keras as keras

import tfgraphprune as tgp


def test_a_wrong_file_is_noticed(network, digits, tmp_path):
    other = keras.models.clone_model(network)
    report = tgp.export_tflite(other, tmp_path / "m.tflite")
    check = tgp.verify_tflite(report.path, network, digits.reward)
    assert check.agreement < 0.5
    with pytest.raises(tgp.ToleranceError, match="agrees with Keras on"):
        check.check()
    with pytest.raises(tgp.ToleranceError, match="largest error"):
        check.check(agreement=0, max_error=1e-4)
