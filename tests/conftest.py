"""What all tests share: quiet TensorFlow, tf_keras, repeatable hypothesis, fresh interpreters."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")
# Sums repeat to the bit, and as many threads as workers don't fight over the cores.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import tfgraphprune  # before anything that imports TensorFlow

# isort: split
import pytest
from hypothesis import HealthCheck, settings

from tests import support

settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def run_python():
    """`run_python(code, blocked=(), ...)`: see `tests.support.run_python`."""
    return support.run_python


@pytest.fixture(scope="session")
def digits():
    """scikit-learn's digits in their three parts."""
    from tfgraphprune.training.data import load_digits

    return load_digits(0)


@pytest.fixture(scope="session")
def digits_model(digits):
    """The digits network after a short training; not to be changed by a test."""
    import tf_keras as keras

    from tfgraphprune.models import digits_cnn

    keras.utils.set_random_seed(0)
    model = digits_cnn()
    settings = {"epochs": 8, "optimizer": "adam", "batch_size": 32, "verbose": 0}
    tfgraphprune.finetune(model, digits.train, **settings)
    return model
