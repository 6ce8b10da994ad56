"""A policy is trained on networks by name and on files of trained ones."""

import numpy as np
import pytest
import tf_keras as keras

from tfgraphprune.errors import UserError

pytest.importorskip("tf_agents")

from configs.universal_policy import get_config
from tfgraphprune.policy_training import train_policy
from tfgraphprune.search.policy import load_policy

TINY = {"encoder": "features", "hidden": 8, "layers": 1, "steps": 1, "batch": 8, "warmup": 2}


def config_of(*networks):
    config = get_config()
    config.networks = networks
    config.macs_ratios, config.params_ratios = (0.5,), ()
    config.train.steps = 40
    config.search.rounds = 3
    config.search.calibration_examples, config.search.reward_examples = 32, 64
    with config.search.options.unlocked():
        config.search.options.update(TINY)
    return config


@pytest.fixture(scope="module")
def file(digits_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("a@b") / "mine.keras"
    digits_model.save(path)
    return path


@pytest.fixture(scope="module")
def run(file, tmp_path_factory):
    """A finished run's config, folder and policy."""
    config = config_of("random_cnn:0@digits", f"{file}@digits")
    folder = tmp_path_factory.mktemp("policy")
    return config, folder, train_policy(config, folder)


def test_named_networks_are_trained_and_files_are_taken_as_they_are(run, file, digits_model):
    _, folder, policy = run
    named, given = policy.record["trained_on"]
    assert named.startswith("random_cnn:0@digits, dense 0.") and given.startswith(f"{file}@digits")
    assert float(given.split("dense ")[1][:5]) > 0.9
    assert (folder / "dense_0.keras").exists() and not (folder / "dense_1.keras").exists()
    kept = keras.models.load_model(file, compile=False).get_weights()
    assert all(map(np.array_equal, kept, digits_model.get_weights()))


def test_every_problem_has_its_rewards_and_the_policy_is_in_the_folder(run):
    _, folder, policy = run
    for rewards in policy.record["trained_on"].values():
        assert rewards["best"] >= max(rewards["uniform"], rewards["policy"]) > 0
    assert load_policy(folder).record["trained_on"] == policy.record["trained_on"]


def test_a_finished_run_hands_back_its_policy(run):
    config, folder, _ = run
    before = (folder / "policy.npz").stat().st_mtime_ns
    again = train_policy(config, folder)
    assert again.record == load_policy(folder).record
    assert (folder / "policy.npz").stat().st_mtime_ns == before


def test_a_network_with_other_weights_is_another_run(run, file, digits_model):
    config, folder, _ = run
    other = keras.models.clone_model(digits_model)
    content = file.read_bytes()
    try:
        other.save(file)
        with pytest.raises(UserError, match="holds a run with other model"):
            train_policy(config, folder)
    finally:
        file.write_bytes(content)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("digits_cnn@mnist", "the data cifar10, digits, not 'digits_cnn@mnist'"),
        ("missing.keras@digits", "there is no model file missing.keras: give the path"),
    ],
)
def test_networks_that_cannot_be_are_refused(tmp_path, network, message):
    with pytest.raises(UserError, match=message):
        train_policy(config_of(network), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.search.update(rounds=1), "needs 2 evaluations or more, not 1"),
        (lambda config: config.update(macs_ratios=(0.001,)), "macs"),
        (lambda config: config.search.options.update(hiden=8), "no option 'hiden'"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_networks_are_trained(tmp_path, change, message):
    config = config_of("random_cnn:0@digits")
    with config.unlocked():
        change(config)
    with pytest.raises(UserError, match=message):
        train_policy(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
