"""Training speed: images a second, dense and pruned, and an epoch's time against the MACs saved.

    python -m benchmarks.training --torch=runs/torch/bin/python

Random images of CIFAR-10's size, batches of 128, crops and flips, SGD, cross-entropy, two cores.
Variants take turns, so that a slow moment of the machine meets them all; figures are medians, and
ratios medians of ratios of neighbours: of each variant's time to that of its dense network.
PyTorch, of which --torch names an environment's Python, trains after them, on images without
augmentation.
"""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

_IMAGES = flags.DEFINE_integer("images", 128 * 16, "Images in a timed epoch.")
_ONLY = flags.DEFINE_multi_string(
    "only", [], "Variants to time; the report keeps the others' figures."
)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Times that each variant is timed.")
_TORCH = flags.DEFINE_string("torch", None, "Python of an environment with PyTorch.")

_RESNET, _MOBILENET, _GROUPED = "resnet20", "mobilenet_v2:0.5", "shufflenet_v1:0.25"

VARIANTS: dict[str, dict[str, Any]] = {
    "dense": {},
    "dense, learning from a teacher": {"teacher": True},
    "dense, mixed_bfloat16": {"precision": "mixed_bfloat16"},
    "dense, jit_compile": {"jit_compile": True},
    "dense, steps_per_execution=8": {"steps_per_execution": 8},
    "half of the MACs, own width": {"ratio": 0.5, "widen": False},
    "half of the MACs, own width, jit_compile": {
        "ratio": 0.5, "widen": False, "jit_compile": True,
    },
    "half of the MACs": {"ratio": 0.5},
    "half of the MACs, jit_compile": {"ratio": 0.5, "jit_compile": True},
    "half of the MACs, steps_per_execution=8": {"ratio": 0.5, "steps_per_execution": 8},
    "half of the MACs, own width, mixed_bfloat16": {
        "ratio": 0.5, "widen": False, "precision": "mixed_bfloat16",
    },
    "half of the MACs, mixed_bfloat16": {"ratio": 0.5, "precision": "mixed_bfloat16"},
    "half of the MACs, mixed_bfloat16, teacher": {
        "ratio": 0.5, "precision": "mixed_bfloat16", "teacher": True,
    },
    "half of the MACs, channels in eights": {"ratio": 0.5, "multiple": 8, "widen": False},
    "0.3 of the MACs, own width": {"ratio": 0.3, "widen": False},
    "0.3 of the MACs": {"ratio": 0.3},
    "MobileNetV2": {"network": _MOBILENET},
    "MobileNetV2, mixed_bfloat16": {"network": _MOBILENET, "precision": "mixed_bfloat16"},
    "MobileNetV2, half of the MACs, own width": {
        "network": _MOBILENET, "ratio": 0.5, "widen": False,
    },
    "MobileNetV2, half of the MACs": {"network": _MOBILENET, "ratio": 0.5},
    "ShuffleNetV1, XLA's kernels": {"network": _GROUPED, "native": False},
    "ShuffleNetV1": {"network": _GROUPED},
    "ShuffleNetV1, half of the MACs": {"network": _GROUPED, "ratio": 0.5},
}  # fmt: skip
FOLDER = Path(__file__).parent.parent / "docs" / "results"
DENSE = {_RESNET: "dense", _MOBILENET: "MobileNetV2", _GROUPED: "ShuffleNetV1"}
"""The variant that the others of a network are compared with."""


def main(argv: list[str]) -> None:
    del argv
    import tfgraphprune as tgp

    images = np.random.default_rng(0).random((_IMAGES.value, 32, 32, 3), np.float32)
    data = images, np.arange(len(images)) % 10
    chosen = _ONLY.value or list(VARIANTS)
    epochs = {name: _epoch(tgp, data, **VARIANTS[name]) for name in chosen}
    times: dict[str, list[float]] = {name: [] for name in epochs}
    for round_ in range(_ROUNDS.value + 1):
        for name, (run, _) in epochs.items():
            started = time.perf_counter()
            run()
            if round_:  # the first traces
                times[name].append(time.perf_counter() - started)
    rows = json.loads((FOLDER / "training.json").read_text()) if _ONLY.value else {}
    for name, (_, macs) in epochs.items():
        dense = DENSE[VARIANTS[name].get("network", _RESNET)]
        ratios = np.array(times[name]) / np.array(times[dense])
        rows[name] = {
            "images_per_second": len(images) / float(np.median(times[name])),
            "time": float(np.median(ratios)),
            "macs": macs,
        }
    if _TORCH.value is not None:
        rows |= _torch(len(images), times[DENSE[_RESNET]])
    print(_write(rows))


def _torch(images: int, ours: list[float]) -> dict[str, Any]:
    """PyTorch's figures, and its times by those of our dense network."""
    rows = {}
    program = Path(__file__).with_name("torch_training.py")
    for name, kind in (("PyTorch", "float32"), ("PyTorch, bfloat16", "bfloat16")):
        done = subprocess.run(
            [_TORCH.value, str(program), kind, str(images), str(_ROUNDS.value)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        seconds = float(np.median(json.loads(done.stdout)))
        rows[name] = {
            "images_per_second": images / seconds,
            "time": seconds / float(np.median(ours)),
            "macs": 1.0,
        }
    return rows


def _epoch(
    tgp: Any,
    data: Any,
    network: str = _RESNET,
    ratio: float = 1.0,
    multiple: int = 1,
    teacher: bool = False,
    precision: str = "float32",
    widen: bool = True,
    jit_compile: bool = False,
    steps_per_execution: int = 1,
    native: bool = True,
) -> Any:
    """A function that trains for an epoch, and the share of MACs."""
    import tf_keras as keras

    from tfgraphprune.models import network_by_name
    from tfgraphprune.training.augment import epoch_dataset
    from tfgraphprune.training.grouped import native_groups
    from tfgraphprune.training.objectives import learner
    from tfgraphprune.training.precision import in_precision
    from tfgraphprune.training.widening import widened

    keras.utils.set_random_seed(0)
    dense = network_by_name(network, 10, (32, 32, 3))
    model = dense
    if ratio < 1:
        graph = tgp.LayerGraph.from_model(dense, channel_multiple=multiple)
        plan = tgp.rank_globally(graph, tgp.Budget(macs_ratio=ratio))
        model = tgp.prune(dense, plan)
    share = tgp.count_macs(model) / tgp.count_macs(dense)
    if ratio < 1 and widen:
        wide = widened(graph, plan, model, data)
        model = wide.model if wide else model
    if precision != "float32":
        model = in_precision(model, precision)
    taught = learner(model, dense if teacher else None, 0.5, 4.0, 0.0)
    taught.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9), metrics=["accuracy"],
        jit_compile=jit_compile, steps_per_execution=steps_per_execution,
    )  # fmt: skip

    def run() -> None:
        batches = epoch_dataset(data, batch_size=128, seed=0, epoch=0, augment="crop_flip")
        with native_groups(model) if native else nullcontext():
            taught.fit(batches, verbose=0)

    return run, share


def _write(rows: dict[str, Any]) -> str:
    lines = [
        "# Training speed", "",
        f"Made by `python -m benchmarks.training --rounds={_ROUNDS.value} --torch=PYTHON`, where",
        "PYTHON has PyTorch 2.13: ResNet-20 unless another network is named, MobileNetV2 of half",
        "the width, ShuffleNetV1 of a quarter, batches of 128 images, float32 unless said",
        "otherwise, Zen 4 with 2 virtual cores. *Own width* is without the channels of zeros that",
        "are added up to multiples of sixteen (docs/recovery.md); *XLA's kernels* are those that",
        "tf_keras takes for grouped convolutions. *PyTorch* (channels last) trains ResNet-20 on",
        "images without augmentation. Rows measured again, with `--only`, are of other days:",
        "compare times, which are by the dense network of the same day, rather than images/s.",
        f"Medians of {_ROUNDS.value} rounds of {_IMAGES.value} images.", "",
        "| | images/s | MACs | time of an epoch | speed-up / MACs saved |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, row in rows.items():
        speed = 1 / row["time"] * row["macs"]
        lines.append(
            f"| {name} | {row['images_per_second']:.0f} | {row['macs']:.2f} | {row['time']:.2f} | "
            f"{speed:.2f} |"
        )
    text = "\n".join([*lines, ""])
    (FOLDER / "training.md").write_text(text)
    (FOLDER / "training.json").write_text(json.dumps(rows, indent=1) + "\n")
    return text


if __name__ == "__main__":
    app.run(main)
