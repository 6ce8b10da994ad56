"""Progress of a gradual pruning: tfmot's curve, in turns, and no trace of tfmot's import."""

import pytest

from tfgraphprune.settings import Schedule
from tfgraphprune.training.schedules import progress


@pytest.mark.parametrize(("name", "power"), [("polynomial", 3), ("linear", 1)])
def test_progress_is_the_curve_at_the_last_turn(name, power):
    schedule = Schedule(10, 110, 30, name)
    for step in range(0, 130, 7):
        turn = 10 + max(step - 10, 0) // 30 * 30
        expected = 1 if step >= 110 else 1 - (1 - (turn - 10) / 100) ** power
        assert progress(schedule, step) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("before", [None, "0"])
def test_the_import_of_tfmot_leaves_the_environment_as_it_was(run_python, before):
    code = f"""
import os
import tensorflow as tf
tf.keras.layers
if {before!r} is not None:
    os.environ["TF_USE_LEGACY_KERAS"] = {before!r}
from tfgraphprune.settings import Schedule
from tfgraphprune.training.schedules import progress
progress(Schedule(0, 10, 1), 5)
import sys
print("tensorflow_model_optimization" in sys.modules, os.environ.get("TF_USE_LEGACY_KERAS"))
"""
    ended = run_python(code)
    assert ended.stdout.endswith(f"True {before}\n"), ended.stderr
