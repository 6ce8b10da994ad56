"""One cell of benchmarks/recovery.py, in a process of its own."""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import tf_keras as keras

import tfgraphprune as tgp
from benchmarks.recovery_protocol import FAMILIES
from tfgraphprune.batches import sample
from tfgraphprune.models import load_npz_weights, network_by_name
from tfgraphprune.search.plan_search import search_plan
from tfgraphprune.shipping import accuracy
from tfgraphprune.training.data import load_tfds
from tfgraphprune.training.recovery import recover

BATCH, CALIBRATION, REWARD = 128, 512, 1000
SEARCHED = Path(__file__).parent.parent / "docs" / "results" / "plans"
"""SAC's plans that the table's rows were made with, for those that are not searched again."""


class Cells:
    """Computes cells.

    Args:
        data_dir: of TensorFlow Datasets, with CIFAR-10.
        weights: folder with `resnet20_cifar10_adapted.npz` and the like.
        workdir: where plans and networks are kept.
    """

    def __init__(self, data_dir: str, weights: str, workdir: Path):
        self._data_dir, self._weights, self._workdir = data_dir, Path(weights), workdir

    @functools.cached_property
    def splits(self) -> Any:
        return load_tfds("cifar10", self._data_dir, download=False)

    def plan(self, network: str, ratio: float, seed: int) -> dict[str, Any]:
        """SAC's plan of 200 evaluations."""
        started = time.perf_counter()
        graph = tgp.LayerGraph.from_model(self._network(network))
        found = self._search(graph, ratio, tgp.Search(agent="sac", rivals=()), seed)
        found.plan.save(self._plan_file(network, ratio, seed), overwrite=True)
        return {"reward": found.methods["sac"]["best_reward"], **_since(started)}

    def train(self, network: str, epochs: int) -> dict[str, Any]:
        """The dense network of a family without public weights."""
        started = time.perf_counter()
        keras.utils.set_random_seed(0)
        model = network_by_name(network, 10, (32, 32, 3))
        folder = self._workdir / "networks" / network.replace(":", "_")
        tgp.finetune(
            model, self.splits.train, epochs=epochs, batch_size=BATCH, augment="crop_flip",
            checkpoint_dir=folder, verbose=2, precision=_precision(network),
        )  # fmt: skip
        model.save(folder.parent / f"{folder.name}.keras")
        return {"reward": accuracy(model, self.splits.reward), **_since(started)}

    def dense_on(self, network: str, epochs: int, seed: int) -> dict[str, Any]:
        """The dense network after as many epochs more, on the same images."""
        started = time.perf_counter()
        model = self._network(network)
        tgp.finetune(
            model, self.splits.train, epochs=epochs, batch_size=BATCH, augment="crop_flip",
            seed=seed, verbose=2, precision=_precision(network),
        )  # fmt: skip
        return {**self._judged(model), "compute": float(epochs), **_since(started)}

    def recover(
        self,
        network: str,
        ratio: float,
        epochs: int,
        plan: str,
        seed: int,
        settings: dict[str, Any],
    ) -> dict[str, Any]:
        """Test accuracy after a recovery."""
        model = self._network(network)
        graph = tgp.LayerGraph.from_model(model)
        chosen = self._plan(network, graph, ratio, plan, seed)
        tuning = tgp.FineTune(
            epochs=epochs, batch_size=BATCH, augment="crop_flip",
            precision=_precision(network, settings["recovery"]), **settings,
        )  # fmt: skip
        started = time.perf_counter()
        found = recover(
            graph, chosen, tuning, self.splits.train,
            sample(self.splits.train, CALIBRATION, seed), seed=seed,
        )  # fmt: skip
        share = tgp.count_macs(found.model) / tgp.count_macs(model)
        return {
            **self._judged(found.model),
            "plan": hashlib.sha256(json.dumps(chosen.to_dict()).encode()).hexdigest()[:8],
            "macs": share,
            "epochs": len(found.rows),
            "compute": _compute(settings["recovery"], len(found.rows), share),
            **_since(started),
        }

    def least_squares(self, ratio: float) -> dict[str, Any]:
        """Reward accuracy of a uniform cut: as it is, re-estimated, corrected."""
        model = self._network("resnet20")
        graph = tgp.LayerGraph.from_model(model)
        plan = self._plan("resnet20", graph, ratio, "uniform", 0)
        calibration = sample(self.splits.train, CALIBRATION, 0)
        cut = tgp.prune(model, plan)
        found = {"dense": accuracy(model, self.splits.reward)}
        found["cut"] = accuracy(cut, self.splits.reward)
        tgp.reestimate_batchnorm(cut, calibration)
        found["reestimated"] = accuracy(cut, self.splits.reward)
        started = time.perf_counter()
        fitted = tgp.reconstruct(model, plan, calibration)
        return {
            **found, "reconstructed": accuracy(fitted, self.splits.reward), **_since(started),
        }  # fmt: skip

    def int8(self, network: str) -> dict[str, Any]:
        """Test accuracy in float32, in int8 after training, and in int8 with awareness of it."""
        model = self._network(network)
        started = time.perf_counter()
        aware = tgp.quantize_aware(
            model, self.splits.train, epochs=1, batch_size=BATCH, augment="crop_flip",
            teacher=model,
        )  # fmt: skip
        found = {"test": accuracy(model, self.splits.test)}
        with tempfile.TemporaryDirectory() as folder:
            for name, network_, data in (
                ("int8", model, sample(self.splits.train, 300, 0)), ("aware", aware.model, None),
            ):  # fmt: skip
                path = Path(folder) / f"{name}.tflite"
                tgp.export_tflite(network_, path, quantization="int8", representative_data=data)
                check = tgp.verify_tflite(path, model, self.splits.test)
                found[name] = check.accuracy_tflite
        return {**found, **_since(started)}

    def _judged(self, model: Any) -> dict[str, float]:
        return {
            "test": accuracy(model, self.splits.test),
            "reward": accuracy(model, self.splits.reward),
        }

    def _network(self, network: str) -> Any:
        if network in FAMILIES:
            name = f"{network.replace(':', '_')}.keras"
            return keras.models.load_model(self._workdir / "networks" / name, compile=False)
        model = network_by_name(network, 10, (32, 32, 3))
        load_npz_weights(model, self._weights / f"{network}_cifar10_adapted.npz")
        return model

    def _plan_file(self, network: str, ratio: float, seed: int) -> Path:
        folder = self._workdir / "plans"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{network}_{ratio}_{seed}.json"

    def _plan(self, network: str, graph: Any, ratio: float, plan: str, seed: int) -> Any:
        if plan == "sac":
            file = self._plan_file(network, ratio, seed)
            return tgp.PruningPlan.load(file if file.exists() else SEARCHED / file.name)
        numbers = {"evaluations": 0} if plan == "pretrained" else {"evaluations": 1}
        search = tgp.Search(agent=plan, rivals=(), **numbers)
        return self._search(graph, ratio, search, seed).plan

    def _search(self, graph: Any, ratio: float, search: Any, seed: int) -> Any:
        held = tuple(part[:REWARD] for part in self.splits.reward)
        return search_plan(
            graph.model, graph, self.splits.train, held, tgp.Budget(macs_ratio=ratio), search,
            seed=seed, progress=False,
        )  # fmt: skip


def _precision(network: str, recovery: str = "") -> str:
    if recovery in ("gradual", "refill"):  # tfmot's wrappers know no other
        return "float32"
    return FAMILIES.get(network, "mixed_bfloat16")


def _compute(recovery: str, epochs: int, share: float) -> float:
    """Forward and backward passes, in epochs of the dense network; teachers are not counted."""
    if recovery == "gradual":  # tfmot's masks leave the shapes as they are
        return float(epochs)
    if recovery in ("soft", "refill"):  # the whole network in the first half
        return epochs - epochs // 2 + epochs // 2 * share
    return epochs * share


def _since(started: float) -> dict[str, float]:
    return {"seconds": time.perf_counter() - started}
