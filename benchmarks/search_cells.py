"""One cell of benchmarks/search.py: a method on a network at a budget, in a process of its own."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from scipy.stats import spearmanr

import tfgraphprune as tgp
from configs.universal_policy import get_config
from tfgraphprune.batches import sample
from tfgraphprune.cost import resolve_limits
from tfgraphprune.cost.projection import Projection
from tfgraphprune.models import load_npz_weights, network_by_name
from tfgraphprune.policy_training import train_policy
from tfgraphprune.search.evaluation.evaluator import RewardEvaluator, accuracy_of
from tfgraphprune.search.loop import run_search
from tfgraphprune.search.plan_problem import PlanProblem
from tfgraphprune.search.policy import load_policy
from tfgraphprune.search.registry import searcher_class, training_examples
from tfgraphprune.shipping import accuracy
from tfgraphprune.training.data import load_tfds
from tfgraphprune.training.finetune import finetune
from tfgraphprune.training.recovery import recover

REWARD, CALIBRATION = 1000, 500
SMALL = {"vgg16_bn:0.25": 8, "mobilenet_v2:0.5": 8}
"""Networks without public weights, and the epochs of their training here."""


class Cells:
    """Computes cells.

    Args:
        data_dir: of TensorFlow Datasets, with CIFAR-10.
        weights: folder with `resnet20_cifar10_adapted.npz` and the like.
        workdir: where policies and small networks are kept.
    """

    def __init__(self, data_dir: str, weights: str, workdir: str):
        self._data_dir, self._weights = data_dir, Path(weights)
        self._workdir = Path(workdir)

    @functools.cached_property
    def splits(self) -> Any:
        return load_tfds("cifar10", self._data_dir, download=False)

    def dense(self, network: str) -> dict[str, Any]:
        """Train a small network, kept in the workdir."""
        model = network_by_name(network, 10, (32, 32, 3))
        keras.utils.set_random_seed(0)
        started = time.perf_counter()
        folder, file = self._network(network)
        finetune(
            model, self.splits.train, epochs=SMALL[network], batch_size=128, augment="crop_flip",
            validation_data=self.splits.reward, checkpoint_dir=folder, verbose=2,
        )  # fmt: skip
        model.save(file)
        return {
            "reward_accuracy": accuracy(model, self.splits.reward),
            "seconds": time.perf_counter() - started,
        }

    def search(
        self,
        network: str,
        ratio: float,
        method: str,
        seed: int,
        evaluations: int = 200,
        options: dict[str, Any] | None = None,
        reestimate: bool = True,
        tune: bool = False,
    ) -> dict[str, Any]:
        """The rows of a search, and for `tune` the test accuracy after one epoch."""
        model = self.model(network)
        graph = tgp.LayerGraph.from_model(model)
        problem = self.problem(graph, ratio, method, seed, reestimate)
        started = time.perf_counter()
        history = run_search(
            problem, method, evaluations=evaluations, seed=seed, options=options, progress=False
        )
        row: dict[str, Any] = {
            "rewards": [r["reward"] for r in history.rows],
            "answers": ["probe" not in r and "error" not in r for r in history.rows],
            "images": [r["images"] for r in history.rows],
            "seconds": time.perf_counter() - started,
            "counts": list(history.best_counts),
        }
        if history.policy is not None:
            name = f"{network}_{ratio}_{method}_{seed}".replace(":", "_")
            history.policy.save(self._workdir / "policies" / name, overwrite=True)
        if not reestimate:  # its plan, judged as all others are
            fair = self.problem(graph, ratio, "uniform", seed, True)
            row["reward_reestimated"] = fair.reward(history.best_counts)
        if tune:
            row["test"] = self._tuned(
                model, graph, problem.evaluator.plan(history.best_counts), seed
            )
        return row

    def universal(
        self, name: str, seed: int, options: dict[str, Any], networks: str | None
    ) -> dict[str, Any]:
        """Train a policy on many networks as the shipped one was, or on those of another one."""
        config = get_config()
        if networks is not None:
            folder = self._workdir / "universal" / networks
            config.networks = tuple(
                f"{folder / f'dense_{number}.keras'}@{text.rpartition('@')[2]}"
                for number, text in enumerate(config.networks)
            )
        config.seed = seed
        config.data.cifar10.dir, config.data.cifar10.download = self._data_dir, False
        with config.search.options.unlocked():
            config.search.options.update(options)
        started = time.perf_counter()
        policy = train_policy(config, self._workdir / "universal" / name)
        policy.save(self._workdir / "policies" / name, overwrite=True)
        trained_on = {
            text.rpartition("/")[2]: found for text, found in policy.record["trained_on"].items()
        }
        return {"trained_on": trained_on, "seconds": time.perf_counter() - started}

    def precision(self, network: str, plans: int = 20) -> dict[str, Any]:
        """Rewards in bfloat16 against those in float32: 20 plans, from equal to random ratios."""
        graph = tgp.LayerGraph.from_model(self.model(network))
        calibration = sample(self.splits.train, CALIBRATION, 0)
        reward = tuple(part[:REWARD] for part in self.splits.reward)
        exact, fast = (
            RewardEvaluator(graph, calibration, reward, precision=p) for p in ("float32", "auto")
        )
        projection = Projection.of(graph, resolve_limits(tgp.Budget(macs_ratio=0.5), graph), 0.1)
        random = np.random.default_rng(0)
        rewards, seconds, agree = [], [], []
        for number in range(plans):
            scores = 3 * number / plans * random.uniform(-1, 1, len(graph.prunable_groups))
            counts, _ = projection.project(scores)
            outputs, took = [], []
            for evaluator in (exact, fast):
                started = time.perf_counter()
                outputs.append(evaluator.logits(counts))
                took.append(time.perf_counter() - started)
            rewards.append([float(np.mean(o.argmax(-1) == reward[1])) for o in outputs])
            agree.append(float(np.mean(outputs[0].argmax(-1) == outputs[1].argmax(-1))))
            seconds.append(took)
        table, times = np.array(rewards), np.array(seconds)[1:]  # the first plan traces
        return {
            "dtype": fast.precision,
            "rank_correlation": float(spearmanr(*table.T).statistic),
            "mean_difference": float(np.abs(table[:, 0] - table[:, 1]).mean()),
            "largest_difference": float(np.abs(table[:, 0] - table[:, 1]).max()),
            "equal_predictions": float(np.mean(agree)),
            "float32_ms": float(1e3 * np.median(times[:, 0])),
            "fast_ms": float(1e3 * np.median(times[:, 1])),
            "speed_up": float(np.median(times[:, 0] / times[:, 1])),
        }

    def speed(self, network: str, precision: str) -> dict[str, Any]:
        """Where the time of a search by SAC goes; to be run alone, on all threads."""
        started = time.perf_counter()
        problem = self.problem(
            tgp.LayerGraph.from_model(self.model(network)), 0.5, "sac", 0, True, precision
        )
        made = time.perf_counter()
        rewards: list[float] = []
        measured = problem.reward

        def reward(*arguments: Any) -> float:
            before = time.perf_counter()
            found = measured(*arguments)
            rewards.append(time.perf_counter() - before)
            return found

        problem.reward = reward  # type: ignore[method-assign]
        run_search(problem, "sac", evaluations=200, progress=False)
        total = time.perf_counter() - started
        typical = float(np.median(rewards))
        return {
            "dtype": problem.evaluator.precision,
            "threads": tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count(),
            "total": total,
            "features": made - started,
            "rewards": typical * len(rewards),
            "tracing": sum(rewards) - typical * len(rewards),
            "agent": total - (made - started) - sum(rewards),
            "a_reward": typical,
        }

    def large(self, first_look: int, plans: int = 5) -> dict[str, Any]:
        """Seconds of one reward of ResNet-50 at 224 x 224; to be run alone, on all threads.

        Its weights and images are random, as only time is looked at.
        """
        random = np.random.default_rng(0)
        graph = tgp.LayerGraph.from_model(keras.applications.ResNet50(weights=None))
        images = random.random((CALIBRATION + REWARD, 224, 224, 3), np.float32)
        labels = random.integers(0, 1000, len(images))
        calibration, reward = (
            (images[part], labels[part]) for part in (slice(CALIBRATION), slice(CALIBRATION, None))
        )
        evaluator = RewardEvaluator(
            graph, calibration, reward, first_look=first_look, precision="auto"
        )  # fmt: skip
        limits = resolve_limits(tgp.Budget(macs_ratio=0.5), graph)
        started = time.perf_counter()
        problem = PlanProblem.of(graph, limits, evaluator, reward, images=calibration[0])
        features = time.perf_counter() - started
        seconds: dict[float, list[float]] = {-np.inf: [], np.inf: []}
        for plan in range(plans + 1):
            counts = problem.execute(random.uniform(-1, 1, len(graph.prunable_groups))).counts
            for best, times in seconds.items():
                started = time.perf_counter()
                evaluator.reward(counts, best)
                if plan:  # the first traces
                    times.append(time.perf_counter() - started)
        return {
            "dtype": evaluator.precision,
            "threads": tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count(),
            "groups": len(graph.prunable_groups),
            "features": features,
            "first_look": float(np.median(seconds[np.inf])),
            "all_images": float(np.median(seconds[-np.inf])),
        }

    def zero_shot(self, network: str, ratio: float, policy: str, seed: int) -> dict[str, Any]:
        """The reward of a policy's plan on a network that it has not seen."""
        graph = tgp.LayerGraph.from_model(self.model(network))
        problem = self.problem(graph, ratio, "sac", seed, True)
        started = time.perf_counter()
        action = load_policy(self.policy_path(policy)).action(problem.graph)
        counts = problem.execute(action).counts
        seconds = time.perf_counter() - started
        return {"rewards": [problem.reward(counts)], "counts": list(counts), "seconds": seconds}

    def policy_path(self, policy: str) -> str:
        return policy if policy == "pretrained" else str(self._workdir / "policies" / policy)

    def _network(self, network: str) -> tuple[Path, Path]:
        """Folder of a small network's checkpoints, and the file of the trained one."""
        folder = self._workdir / "networks" / network.replace(":", "_")
        return folder, folder.parent / f"{folder.name}.keras"

    def model(self, network: str) -> Any:
        """A trained dense network."""
        if network in SMALL:
            return keras.models.load_model(self._network(network)[1], compile=False)
        model = network_by_name(network, 10, (32, 32, 3))
        load_npz_weights(model, self._weights / f"{network}_cifar10_adapted.npz")
        return model

    def problem(
        self,
        graph: Any,
        ratio: float,
        method: str,
        seed: int,
        reestimate: bool,
        precision: str = "auto",
    ) -> PlanProblem:
        """The search problem; without re-estimation there are no calibration images."""
        images, labels = self.splits.train
        calibration = sample((images, labels), CALIBRATION, seed)
        training = sample((images, labels), training_examples(method), seed)
        reward = tuple(part[:REWARD] for part in self.splits.reward)
        used = calibration if reestimate else tuple(part[:0] for part in calibration)
        limits = resolve_limits(tgp.Budget(macs_ratio=ratio), graph)
        return PlanProblem.of(
            graph, limits, RewardEvaluator(graph, used, reward, precision=precision),
            training,
            images=calibration[0] if searcher_class(method).reads_graph else None,
        )  # fmt: skip

    def _tuned(self, model: Any, graph: Any, plan: Any, seed: int) -> float:
        tuning = tgp.FineTune(
            epochs=1, batch_size=128, augment="crop_flip", precision="mixed_bfloat16"
        )
        calibration = sample(self.splits.train, CALIBRATION, seed)
        found = recover(graph, plan, tuning, self.splits.train, calibration, seed=seed)
        return accuracy(found.model, self.splits.test)


def summary(row: dict[str, Any]) -> dict[str, float]:
    """Figures of a cell's rewards: best so far, mean of the last, area under the curve.

    The area is over images forwarded, up to those of 200 evaluations, as a mean reward; before
    the first answer the reward counts as 0.
    """
    rewards = np.array(row["rewards"])
    answers = np.array(row.get("answers", [True] * len(rewards)))
    best = np.maximum.accumulate(np.where(answers, rewards, 0.0))
    found: dict[str, float] = {"best": float(best[-1])}
    for count in (50, 100, 200):
        found[f"best_at_{count}"] = float(best[min(count, len(best)) - 1])
    found["last_50"] = float(rewards[answers][-50:].mean())
    if "images" in row:
        total = 200 * (REWARD + CALIBRATION)
        images = np.minimum(np.array(row["images"]), total)
        spans = np.diff(np.append(images, total))
        found["area"] = float((best * spans).sum() / total)
        found["images"] = float(row["images"][-1])
    found["accuracy"] = float(accuracy_of(found["best"], REWARD))
    return found
