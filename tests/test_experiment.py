"""The command: killed at any moment, it ends like one that was left alone."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras as keras3
import pytest
import tf_keras as keras

import tfgraphprune as tgp
from tests import support
from tfgraphprune.cli.config_flag import load_config
from tfgraphprune.experiment import build_model, load_splits, run
from tfgraphprune.policy_training import train_policy

pytest.importorskip("tf_agents")

SMALL = {
    "train.epochs": 3,
    "search.evaluations": 16,
    "search.calibration_examples": 128,
    "finetune.epochs": 2,
}


def _command(workdir: Path) -> list[str]:
    overrides = [f"--config.{name}={value}" for name, value in SMALL.items()]
    rivals = "--config.search.rivals=('random',)"
    module = [sys.executable, "-m", "tfgraphprune.cli.compress"]
    return [*module, "--config=digits", f"--workdir={workdir}", rivals, *overrides]


def _rows(workdir: Path) -> int:
    path = workdir / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def _run(workdir: Path, until: int | None = None, delay: float = 0) -> int:
    """Run the command; with `until`, SIGKILL it `delay` seconds after that many rows."""
    process = subprocess.Popen(
        _command(workdir), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=support.fresh_environment(), cwd=support.ROOT,
    )  # fmt: skip
    if until is not None:
        while process.poll() is None and _rows(workdir) < until:
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    output = process.communicate(timeout=500)[0].decode()
    assert until is not None or process.returncode == 0, output
    return process.returncode


def _without_times(record: dict) -> dict:
    for method in record["metrics"]["search"].values():
        del method["seconds"]
    for name in ("dense", "pruned"):
        del record["metrics"][name]["latency_ms"]
    del record["metrics"]["latency_ratio"]
    return record


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    _run(folder)
    return folder


def test_killed_runs_end_like_one_left_alone(alone, tmp_path):
    folder = tmp_path / "run"
    chance = random.Random(7)
    kills = 0
    # In the dense training, in SAC's learning, in the rival's search, in the fine-tuning.
    for until in (1, 3 + 9, 3 + 16 + 5, 3 + 32 + 1):
        kills += _run(folder, until, chance.uniform(0, 0.3)) == -signal.SIGKILL
    assert kills >= 3
    _run(folder)
    assert (folder / "plan.json").read_text() == (alone / "plan.json").read_text()
    ended, expected = (
        _without_times(json.loads((f / "record.json").read_text())) for f in (folder, alone)
    )
    assert ended["history"] == expected["history"]
    assert ended["metrics"] == expected["metrics"]
    assert (folder / "metrics.jsonl").read_text() == (alone / "metrics.jsonl").read_text()


def test_a_finished_run_prints_its_summary_again(alone):
    result = subprocess.run(
        _command(alone), capture_output=True, text=True, timeout=300,
        env=support.fresh_environment(), cwd=support.ROOT,
    )  # fmt: skip
    assert result.returncode == 0
    assert "int8 TFLite" in result.stdout and "best reward" in result.stdout


def _config(**changes):
    config = load_config("digits")
    for name, value in changes.items():
        section, field = name.split("__")
        config[section][field] = value
    return config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__name": "vgg"}, "the network must be one of"),
        ({"model__path": "no/such.keras"}, "there is no model file"),
        ({"model__weights": "no/such.npz"}, "can't read weights"),
        ({"model__name": "resnet21"}, "6n \\+ 2"),
        ({"budget__macs_ratio": 1.5}, "share of the dense model"),
        ({"budget__macs_ratio": 0.0}, "must limit something"),
        ({"search__agent": "dqn"}, "agent"),
        ({"finetune__recovery": "magic"}, "recovery"),
        ({"train__optimizer": "adamw"}, "optimizer must be"),
        ({"train__augment": "rand_augment"}, "rand_augment"),
        ({"data__split_seed": -1}, "seed must be a whole number"),
        ({"data__name": "imagenet2012", "data__dir": "no/such", "data__download": False},
         "no data folder"),
    ],
)  # fmt: skip
def test_a_config_that_cannot_run_is_refused_before_training(changes, message, tmp_path):
    with pytest.raises(tgp.UserError, match=message):
        run(_config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_config_of_another_command_is_refused(tmp_path):
    with pytest.raises(tgp.UserError, match="but lacks model, budget, finetune, export"):
        run(load_config("universal_policy"), tmp_path / "run")
    with pytest.raises(tgp.UserError, match="but lacks networks, macs_ratios, params_ratios"):
        train_policy(load_config("digits"), tmp_path / "run")


def test_a_keras_3_file_is_worked_on_as_its_twin(tmp_path):
    image = keras3.Input((8, 8, 1))
    x = keras3.layers.Flatten()(keras3.layers.Conv2D(4, 3, activation="relu")(image))
    keras3.Model(image, keras3.layers.Dense(10)(x)).save(tmp_path / "m.keras")
    config = _config(model__path=str(tmp_path / "m.keras"))
    assert isinstance(build_model(config.model, load_splits(config.data)), keras.Model)


def test_a_saved_model_takes_the_place_of_training(tmp_path):
    config = _config(model__path=str(tmp_path / "m.keras"))
    splits = load_splits(config.data)
    built = build_model(_config().model, splits)
    built.save(tmp_path / "m.keras")
    assert build_model(config.model, splits).count_params() == built.count_params()
