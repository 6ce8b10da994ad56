"""The whole way on real images: what a run leaves, and what it refuses before it starts."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.models import digits_cnn
from tfgraphprune.search.evaluator import RewardEvaluator, accuracy_of
from tfgraphprune.search.plan_search import sample
from tfgraphprune.shipping import accuracy
from tfgraphprune.training.data import load_digits

pytest.importorskip("tf_agents")

BUDGET = tgp.Budget(macs_ratio=0.5)
SEARCH = tgp.Search(agent="sac", evaluations=12, rivals=("uniform", "random"))
FINETUNE = tgp.FineTune(epochs=2, batch_size=32)


@pytest.fixture(scope="module")
def splits():
    return load_digits(0)


@pytest.fixture(scope="module")
def dense(splits):
    keras.utils.set_random_seed(0)
    model = digits_cnn()
    tgp.finetune(model, splits.train, epochs=6, optimizer="adam", batch_size=32, verbose=0)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs") / "digits"


@pytest.fixture(scope="module")
def result(dense, splits, folder):
    return tgp.compress(
        dense,
        splits.train,
        splits.reward,
        splits.test,
        budget=BUDGET,
        search=SEARCH,
        finetune=FINETUNE,
        freeze=["stem*"],
        workdir=folder,
    )


def test_the_budget_holds_and_the_frozen_layer_is_whole(dense, result):
    assert tgp.count_macs(result.model) <= 0.5 * tgp.count_macs(dense)
    assert result.model.get_layer("stem").filters == 16
    assert "stem" not in result.plan.kept


def test_all_files_are_there(result, folder):
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "plan.json", "model.keras", "model_float32.tflite", "model_int8.tflite", "report.html",
        "metrics.jsonl", "config.json", "state.json", "checkpoints", "tensorboard",
    }  # fmt: skip
    assert list((folder / "tensorboard").rglob("events.out.tfevents.*"))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    stages = [row["stage"] for row in rows]
    assert stages.count("search sac") == stages.count("search random") == 12
    assert stages.count("search uniform") == 1 and stages.count("finetune") == 2
    config = json.loads((folder / "config.json").read_text())
    assert config["seed"] == 0 and config["versions"]["tensorflow"] == tf.__version__


def test_metrics_are_those_of_the_models(dense, result, splits):
    metrics = result.metrics
    assert metrics["dense"]["accuracy"] == accuracy(dense, splits.test)
    assert metrics["pruned"]["accuracy"] == accuracy(result.model, splits.test)
    assert metrics["pruned"]["macs"] == tgp.count_macs(result.model)
    assert metrics["pruned"]["params"] == result.model.count_params()
    assert metrics["tflite"]["float32"]["agreement"] == 1
    assert metrics["tflite"]["float32"]["max_error"] < 1e-4
    assert set(metrics["search"]) == {"sac", "uniform", "random"}


def test_the_plan_is_the_agents_best_and_its_reward_that_of_the_cut_network(dense, result, splits):
    graph = tgp.LayerGraph.from_model(dense, freeze=["stem*"])
    rows = [row for row in result.history["search"] if row["method"] == "sac"]
    best = max(rows, key=lambda row: row["reward"])
    assert list(result.plan.counts(graph)) == best["counts"]
    small = tgp.prune(dense, result.plan)
    tgp.reestimate_batchnorm(small, sample(splits.train, SEARCH.calibration_examples, 0))
    assert accuracy(small, splits.reward) == pytest.approx(accuracy_of(best["reward"], 270))


def test_running_again_loads_the_finished_run(dense, splits, result, folder):
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != ".lock"}
    again = tgp.compress(
        dense, splits.train, splits.reward, splits.test, budget=BUDGET, search=SEARCH,
        finetune=FINETUNE, freeze=["stem*"], workdir=folder,
    )  # fmt: skip
    assert again.record == result.record or again.metrics == result.metrics
    after = {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != ".lock"}
    del before["state.json"], after["state.json"]
    assert after == before


def test_saved_and_loaded(result, splits, tmp_path):
    result.save(tmp_path / "run")
    loaded = tgp.load_result(tmp_path / "run")
    x = splits.test[0]
    np.testing.assert_array_equal(
        loaded.model.predict(x, verbose=0), result.model.predict(x, verbose=0)
    )
    assert loaded.plan == result.plan and loaded.metrics == result.metrics
    assert loaded.tflite["int8"] == result.tflite["int8"]
    with pytest.raises(tgp.UserError, match="already holds"):
        result.save(tmp_path / "run")
    result.report.save(tmp_path / "r.html")
    assert "<svg" in (tmp_path / "r.html").read_text()


def test_another_run_in_the_folder_is_refused(dense, splits, result, folder):
    with pytest.raises(tgp.UserError, match="holds a run with other settings"):
        tgp.compress(
            dense, splits.train, splits.reward, splits.test, budget=BUDGET, search=SEARCH,
            finetune=FINETUNE, workdir=folder, seed=1,
        )  # fmt: skip


def test_without_workdir_or_splits_and_with_the_users_own_training(dense, splits):
    seen = []

    def fit_fn(model, teacher):
        seen.append((model, teacher))
        return model

    batches = tf.data.Dataset.from_tensor_slices(splits.train).batch(64)
    result = tgp.compress(
        dense, batches, budget=tgp.Budget(params_ratio=0.6, macs_ratio=0.7),
        search=tgp.Search(agent="random", evaluations=3, rivals=()), fit_fn=fit_fn,
    )  # fmt: skip
    assert seen[0][0] is result.model and seen[0][1] is dense
    assert result.folder is None and result.tflite["float32"]
    assert tgp.count_params(result.model) <= 0.6 * tgp.count_params(dense)
    assert tgp.count_macs(result.model) <= 0.7 * tgp.count_macs(dense)


def test_a_file_budget_is_met_by_the_file(dense, splits):
    limit = 45_000
    result = tgp.compress(
        dense, splits.train, splits.reward, budget=tgp.Budget(file_bytes=limit),
        search=tgp.Search(agent="uniform", rivals=()), finetune=tgp.FineTune(epochs=0),
    )  # fmt: skip
    assert 0.85 * limit < len(result.tflite["float32"]) <= limit


def test_gradual_recovery_runs_through(dense, splits):
    result = tgp.compress(
        dense, splits.train, splits.reward, budget=BUDGET,
        search=tgp.Search(agent="uniform", rivals=()),
        finetune=replace(FINETUNE, recovery="gradual"),
    )  # fmt: skip
    assert tgp.count_macs(result.model) <= 0.5 * tgp.count_macs(dense)
    assert result.metrics["pruned"]["accuracy"] > 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": tgp.Budget(macs_ratio=0.0001)}, "can only reach"),
        ({"train_data": (np.zeros((4, 8, 8, 1)), np.zeros(3))}, "as many labels"),
        ({"freeze": ["nothing*"]}, "no layer matches"),
        ({"freeze": ["*"]}, "no channel group of this model may be cut"),
        ({"model": keras.Sequential([keras.layers.Dense(3)])}, "no input shape"),
    ],
)
def test_bad_input_is_refused_before_any_work(dense, splits, change, message, tmp_path):
    arguments = {"model": dense, "train_data": splits.train, "budget": BUDGET, **change}
    with pytest.raises(tgp.UserError, match=message):
        tgp.compress(**arguments, search=SEARCH, workdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_labels_outside_the_models_classes_are_refused(dense, splits):
    graph = tgp.LayerGraph.from_model(dense)
    wrong = (splits.reward[0], splits.reward[1] + 1)
    with pytest.raises(tgp.UserError, match="class indices from 0 to 9"):
        RewardEvaluator(graph, splits.train, wrong)
