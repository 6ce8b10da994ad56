"""What all tests share: quiet TensorFlow, tf_keras, repeatable hypothesis, fresh interpreters."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")

import tfgraphprune  # noqa: F401  (before anything that imports TensorFlow)

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
