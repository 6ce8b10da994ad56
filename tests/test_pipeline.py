"""The whole way on real images: what a run leaves, and what it refuses before it starts."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfgraphprune as tgp
from tfgraphprune.batches import sample
from tfgraphprune.search.evaluation.evaluator import RewardEvaluator, accuracy_of
from tfgraphprune.shipping import accuracy

pytest.importorskip("tf_agents")

BUDGET = tgp.Budget(macs_ratio=0.5)
SEARCH = tgp.Search(agent="sac", evaluations=12, rivals=("uniform", "random"))
FINETUNE = tgp.FineTune(epochs=2, batch_size=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs") / "digits"


@pytest.fixture(scope="module")
def result(digits_model, digits, folder):
    return tgp.compress(
        digits_model,
        digits.train,
        digits.reward,
        digits.test,
        budget=BUDGET,
        search=SEARCH,
        finetune=FINETUNE,
        freeze=["stem*"],
        workdir=folder,
    )


def test_the_budget_holds_and_the_frozen_layer_is_whole(digits_model, result):
    assert tgp.count_macs(result.model) <= 0.5 * tgp.count_macs(digits_model)
    assert result.model.get_layer("stem").filters == 16
    assert "stem" not in result.plan.kept


def test_channels_are_kept_in_multiples(digits_model, digits):
    found = tgp.compress(
        digits_model, digits.train, digits.reward, budget=BUDGET, channel_multiple=4,
        search=tgp.Search(agent="uniform", rivals=(), evaluations=1),
        finetune=tgp.FineTune(epochs=0),
    )  # fmt: skip
    assert all(len(kept) % 4 == 0 for kept in found.plan.kept.values())
    assert tgp.count_macs(found.model) <= 0.5 * tgp.count_macs(digits_model)


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


def test_metrics_are_those_of_the_models(digits_model, result, digits):
    metrics = result.metrics
    assert metrics["dense"]["accuracy"] == accuracy(digits_model, digits.test)
    assert metrics["pruned"]["accuracy"] == accuracy(result.model, digits.test)
    assert metrics["pruned"]["macs"] == tgp.count_macs(result.model)
    assert metrics["pruned"]["params"] == result.model.count_params()
    assert metrics["tflite"]["float32"]["agreement"] == 1
    assert metrics["tflite"]["float32"]["max_error"] < 1e-4
    assert set(metrics["search"]) == {"sac", "uniform", "random"}


def test_the_plan_is_the_agents_best_and_has_the_reward_of_the_cut_network(
    digits_model, result, digits
):
    graph = tgp.LayerGraph.from_model(digits_model, freeze=["stem*"])
    rows = [row for row in result.history["search"] if row["method"] == "sac"]
    best = max(rows, key=lambda row: row["reward"])
    assert list(result.plan.counts(graph)) == best["counts"]
    small = tgp.prune(digits_model, result.plan)
    tgp.reestimate_batchnorm(small, sample(digits.train, SEARCH.calibration_examples, 0))
    assert accuracy(small, digits.reward) == pytest.approx(accuracy_of(best["reward"], 270))


def test_running_again_loads_the_finished_run(digits_model, digits, result, folder):
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != ".lock"}
    again = tgp.compress(
        digits_model, digits.train, digits.reward, digits.test, budget=BUDGET, search=SEARCH,
        finetune=FINETUNE, freeze=["stem*"], workdir=folder,
    )  # fmt: skip
    assert again.record.to_json() == result.record.to_json()
    after = {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != ".lock"}
    del before["state.json"], after["state.json"]
    assert after == before


def test_saved_and_loaded(result, digits, tmp_path):
    result.save(tmp_path / "run")
    loaded = tgp.load_result(tmp_path / "run")
    x = digits.test[0]
    np.testing.assert_array_equal(
        loaded.model.predict(x, verbose=0), result.model.predict(x, verbose=0)
    )
    assert loaded.plan == result.plan and loaded.metrics == result.metrics
    assert loaded.tflite["int8"] == result.tflite["int8"]
    with pytest.raises(tgp.UserError, match="already holds"):
        result.save(tmp_path / "run")
    result.report.save(tmp_path / "r.html")
    assert "<svg" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("other", [{"seed": 1}, {"fit_fn": lambda model, teacher: model}])
def test_another_run_in_the_folder_is_refused(digits_model, digits, result, folder, other):
    with pytest.raises(tgp.UserError, match="holds a run with other settings"):
        tgp.compress(
            digits_model, digits.train, digits.reward, digits.test, budget=BUDGET, search=SEARCH,
            finetune=FINETUNE, freeze=["stem*"], workdir=folder, **other,
        )  # fmt: skip


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = keras.layers.Conv2D(8, 3, activation="relu", name="conv")
        self.logits = keras.layers.Dense(10, name="logits")

    def call(self, x):
        return self.logits(keras.backend.mean(self.conv(x), (1, 2)))


def test_a_compiled_subclassed_model_comes_back_functional_and_compiled(digits):
    model = Subclassed()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(tgp.UserError, match="has not been called yet"):
        tgp.compress(model, digits.train, digits.reward, budget=BUDGET)
    x, y = digits.train
    model.fit(x, y, verbose=0)
    found = tgp.compress(
        model, (x[:64], y[:64]), digits.reward, budget=BUDGET,
        search=tgp.Search(agent="uniform", rivals=(), evaluations=1),
        finetune=tgp.FineTune(epochs=1),
    )  # fmt: skip
    assert len(found.plan.kept["conv"]) <= 4
    assert found.model.optimizer.name == "Adam" and found.model.loss is model.loss
    tgp.finetune(found.model, (x[:64], y[:64]), epochs=1, teacher=model, verbose=0)
    with pytest.raises(tgp.UserError, match="is subclassed: train what prune makes of it"):
        tgp.finetune(model, digits.train)


def test_without_workdir_or_splits_and_with_the_users_own_training(digits_model, digits):
    seen = []

    def fit_fn(model, teacher):
        seen.append((model, teacher))
        return model

    batches = tf.data.Dataset.from_tensor_slices(digits.train).batch(64)
    result = tgp.compress(
        digits_model, batches, budget=tgp.Budget(params_ratio=0.6, macs_ratio=0.7),
        search=tgp.Search(agent="random", evaluations=3, rivals=()), fit_fn=fit_fn,
    )  # fmt: skip
    assert seen[0][0] is result.model and seen[0][1] is digits_model
    assert result.folder is None and result.tflite["float32"]
    assert tgp.count_params(result.model) <= 0.6 * tgp.count_params(digits_model)
    assert tgp.count_macs(result.model) <= 0.7 * tgp.count_macs(digits_model)


def test_a_file_budget_is_met_by_the_file(digits_model, digits):
    result = tgp.compress(
        digits_model, digits.train, digits.reward, budget=tgp.Budget(file_bytes_ratio=0.7),
        search=tgp.Search(agent="uniform", rivals=()), finetune=tgp.FineTune(epochs=0),
    )  # fmt: skip
    limit = 0.7 * result.metrics["dense"]["file_bytes"]
    assert 0.9 * limit < len(result.tflite["float32"]) <= limit
    # Without epochs the model that is handed back has the reward of the search.
    (row,) = result.history["search"]
    assert accuracy(result.model, digits.reward) == pytest.approx(accuracy_of(row["reward"], 270))


@pytest.mark.parametrize("changes", [{"recovery": "gradual"}, {"recovery": "soft"}, {"stages": 2}])
def test_other_recoveries_run_through(digits_model, digits, changes, tmp_path):
    arguments = {
        "model": digits_model, "train_data": digits.train, "validation_data": digits.reward,
        "budget": BUDGET, "search": tgp.Search(agent="random", rivals=(), evaluations=2),
        "finetune": replace(FINETUNE, epochs=8, **changes), "workdir": tmp_path,
    }  # fmt: skip
    result = tgp.compress(**arguments)
    dense = tgp.count_macs(digits_model)
    assert 0.45 * dense < tgp.count_macs(result.model) <= 0.5 * dense
    assert result.metrics["pruned"]["accuracy"] > 0.5
    cut = tgp.prune(digits_model, result.plan)  # the plan is the whole way's
    assert [w.shape for w in cut.weights] == [w.shape for w in result.model.weights]
    assert [row["epoch"] for row in result.history["finetune"]] == list(range(1, 9))
    assert [row["evaluation"] for row in result.history["search"]] == [1, 2]
    again = tgp.compress(**arguments)
    assert again.plan == result.plan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": tgp.Budget(macs_ratio=0.0001)}, "can only reach"),
        ({"train_data": (np.zeros((4, 8, 8, 1)), np.zeros(3))}, "as many labels"),
        ({"train_data": (np.zeros((40, 8, 8, 1)), np.full(40, 10))}, "labels from 0 to 9"),
        ({"freeze": ["nothing*"]}, "no layer matches"),
        ({"freeze": ["*"]}, "no channel group of this model may be cut"),
        ({"channel_multiple": 0}, "at least 1, not 0"),
        ({"seed": -1}, "seed must be a whole number from 0 to .*, not -1"),
        ({"search": tgp.Search(criterion="l3")}, "criterion must be one of"),
        ({"search": tgp.Search(options={"hiden": 8})}, "no option 'hiden'"),
        ({"search": tgp.Search(policy="nowhere")}, "nowhere"),
        (
            {"finetune": tgp.FineTune(recovery="soft"), "fit_fn": lambda m, t: m},
            "it can't use fit_fn",
        ),
        ({"model": keras.Sequential([keras.layers.Dense(3)])}, "no input shape"),
    ],
)
def test_bad_input_is_refused_before_any_work(digits_model, digits, change, message, tmp_path):
    arguments = {
        "model": digits_model, "train_data": digits.train, "budget": BUDGET, "search": SEARCH,
        **change,
    }  # fmt: skip
    with pytest.raises(tgp.UserError, match=message):
        tgp.compress(**arguments, workdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_labels_outside_the_models_classes_are_refused(digits_model, digits):
    graph = tgp.LayerGraph.from_model(digits_model)
    wrong = (digits.reward[0], digits.reward[1] + 1)
    with pytest.raises(tgp.UserError, match="class indices from 0 to 9"):
        RewardEvaluator(graph, digits.train, wrong)


def test_a_plan_without_a_search_at_limits_and_multiples(digits_model, digits, tmp_path):
    """The policy that comes with the package; settings hold a path."""
    policy = tgp.load_policy("pretrained")
    policy.save(tmp_path / "policy")
    settings = {
        "budget": tgp.Budget(macs_ratio=0.5, params_ratio=0.6), "channel_multiple": 2,
        "finetune": tgp.FineTune(epochs=0),
    }  # fmt: skip
    found, saved = (
        tgp.compress(digits_model, digits.train, digits.reward, search=search, **settings)
        for search in (
            tgp.Search(agent="pretrained", evaluations=0),
            tgp.Search(policy=tmp_path / "policy", evaluations=0),
        )
    )
    assert found.plan.kept == saved.plan.kept and found.history["search"] == []
    assert all(len(kept) % 2 == 0 for kept in found.plan.kept.values())
    assert tgp.count_macs(found.model) <= 0.5 * tgp.count_macs(digits_model)
    assert tgp.count_params(found.model) <= 0.6 * tgp.count_params(digits_model)


def test_a_reward_of_the_users_own_leads_the_search(digits_model, digits):
    def reward(model):
        return -float(np.mean(np.square(model.predict(digits.reward[0][:32], verbose=0))))

    found = tgp.compress(
        digits_model, digits.train, digits.reward, budget=BUDGET, reward=reward,
        search=tgp.Search(evaluations=5, rivals=(), options={"encoder": "features"}),
        finetune=tgp.FineTune(epochs=0),
    )  # fmt: skip
    rows = found.history["search"]
    assert len(rows) == 5 and all(row["reward"] < 0 for row in rows)
    assert reward(found.model) == pytest.approx(max(row["reward"] for row in rows), rel=1e-3)
