"""The program in docs/in-your-training-binary.md runs as it is printed there."""

import difflib
import re
import subprocess
import sys

import pytest
import tf_keras as keras

from tests.support import ROOT, fresh_environment

SMALL = {
    "epochs": 1, "tgp_params_ratio": 0.5, "tgp_begin_step": 4, "tgp_end_step": 40,
    "tgp_frequency": 6,
}  # fmt: skip


@pytest.fixture(scope="module")
def programs():
    """The program before and after."""
    page = (ROOT / "docs" / "in-your-training-binary.md").read_text()
    before, after = re.findall(r"```python\n(.+?)```", page, re.DOTALL)
    return before, after


def _run(program, folder, **given):
    (folder / "train.py").write_text(program)
    return subprocess.run(
        [sys.executable, "train.py", *(f"--{name}={value}" for name, value in given.items())],
        capture_output=True, text=True, cwd=folder, env=fresh_environment(), timeout=300,
    )  # fmt: skip


def test_only_the_marked_lines_are_new(programs):
    before, after = (text.split("\n", 1)[1].splitlines() for text in programs)
    rows = [row for row in difflib.ndiff(before, after) if row[0] in "+-"]
    new = [row for row in rows if row[0] == "+"]
    assert all(row.endswith("# tgp") for row in new) and len(new) < 10
    assert len([row for row in rows if row[0] == "-"]) == 2  # the call of fit, and what is saved


def test_the_program_makes_its_model_smaller(programs, tmp_path):
    ended = _run(programs[1], tmp_path, **SMALL, tgp_workdir="run")
    assert ended.returncode == 0, ended.stderr
    assert "batch_loss" in ended.stdout and (tmp_path / "run" / "gradual_pruning.json").is_file()
    small = keras.models.load_model(tmp_path / "model.keras", compile=False)
    dense = 320 + 9248 + 330
    assert 0.3 * dense < small.count_params() <= 0.5 * dense
    assert type(small).__name__ == "Functional"  # loads without the program's class


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tgp_params_ratio": 5}, "params_ratio is a share of the dense model"),
        ({"tgp_end_step": 3}, "end_step must come after begin_step"),
        ({"tgp_end_step": 400}, "train on, or choose an earlier end_step"),
    ],
)
def test_it_says_what_is_wrong(programs, tmp_path, changes, message):
    ended = _run(programs[1], tmp_path, **{**SMALL, **changes})
    assert ended.returncode == 1 and message in ended.stderr
    assert not (tmp_path / "model.keras").exists()


def test_the_program_before_runs(programs, tmp_path):
    ended = _run(programs[0], tmp_path, epochs=1)
    assert ended.returncode == 0 and (tmp_path / "model.keras").exists(), ended.stderr
