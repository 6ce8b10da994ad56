"""KerasHub's backbones under Keras 3: cut, saved, loaded, trained one step, against the masked one.

    pip install --target=FOLDER --no-deps keras-hub==0.29.1 tokenizers sentencepiece \
        tensorflow-text huggingface_hub filelock hf-xet regex
    PYTHONPATH=FOLDER:. python -m benchmarks.keras_hub_backbones

KerasHub is in a folder of its own as it needs packages that nothing else here does. A process in
which `tf.keras` is Keras 3; writes docs/results/keras_hub.md and .json.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf
from keras_hub import models as hub

import tfgraphprune as tgp

KINDS = ("half of each group", "a tenth to all", "random")


def backbones() -> dict[str, Callable[[], Any]]:
    """Small ones, from their constructors."""
    image = {"image_shape": (64, 64, 3)}
    return {
        "ResNetBackbone": lambda: hub.ResNetBackbone(
            input_conv_filters=[64], input_conv_kernel_sizes=[7],
            stackwise_num_filters=[64, 128, 256, 512], stackwise_num_blocks=[2, 2, 2, 2],
            stackwise_num_strides=[1, 2, 2, 2], block_type="basic_block", **image,
        ),
        "DenseNetBackbone": lambda: hub.DenseNetBackbone(
            stackwise_num_repeats=[6, 12, 24, 16], compression_ratio=0.5, growth_rate=32, **image
        ),
        "VGGBackbone": lambda: hub.VGGBackbone(
            stackwise_num_repeats=[2, 2, 3, 3, 3],
            stackwise_num_filters=[64, 128, 256, 512, 512], **image,
        ),
        "XceptionBackbone": lambda: hub.XceptionBackbone(
            stackwise_conv_filters=[[32, 64], [128, 128], [256, 256], [728, 728]],
            stackwise_pooling=[True, True, True, False], image_shape=(96, 96, 3),
        ),
        "BertBackbone": lambda: hub.BertBackbone(
            vocabulary_size=50, num_layers=2, num_heads=4, hidden_dim=16, intermediate_dim=32,
            max_sequence_length=12,
        ),
    }  # fmt: skip


def main() -> None:
    rows = []
    for name, build in backbones().items():
        keras.utils.clear_session()
        rows.append(measure(name, build()))
        print(rows[-1], flush=True)
    folder = Path(__file__).parent.parent / "docs" / "results"
    (folder / "keras_hub.json").write_text(json.dumps(rows, indent=1) + "\n")
    (folder / "keras_hub.md").write_text(_table(rows))


def measure(name: str, model: Any) -> dict[str, Any]:
    """A row of the table."""
    random = np.random.default_rng(0)
    _randomise(model, random)
    x = _inputs(model, random)
    started = time.perf_counter()
    graph = tgp.LayerGraph.from_model(model)
    read = time.perf_counter() - started
    outputs = [g for g in graph.channel_groups if any(a.role == "out" for a in g.axes)]
    cut = [g for g in outputs if g.prunable]
    inner = sum(g.size for g in outputs if g.reason != "output of the model")
    row: dict[str, Any] = {
        "model": name, "layers": len(graph.nodes), "groups": len(graph.prunable_groups),
        "free_share": sum(g.size for g in cut) / inner, "read_seconds": read,
        "params": model.count_params(), "errors": {},
        "frozen": {g.name: g.reason for g in outputs if not g.prunable},
    }  # fmt: skip
    dense = _outputs(model, x)
    for kind in KINDS:
        plan = _plan(graph, kind, random)
        small, masked = tgp.prune(model, plan), tgp.masked(model, plan)
        assert isinstance(small, keras.Model)
        row["errors"][kind] = _error(_outputs(masked, x), _outputs(small, x))
        if kind == KINDS[0]:
            row["params_after"] = small.count_params()
            row["changed"] = _error(dense, _outputs(small, x))
            row["loads"] = _loads(small, x)
            row["trains"] = _trains(small, x)
    return row


def _plan(graph: Any, kind: str, random: np.random.Generator) -> tgp.PruningPlan:
    if kind == "half of each group":
        return tgp.PruningPlan.from_keep_ratios(graph, 0.5)
    kept = {}
    for group in graph.prunable_groups:
        share = random.uniform(0.1, 1) if kind == "a tenth to all" else random.uniform(0.3, 0.7)
        count = max(1, round(share * group.size))
        kept[group.name] = random.permutation(group.size)[:count].tolist()
    return tgp.PruningPlan.from_indices(graph, kept)


def _randomise(model: Any, random: np.random.Generator) -> None:
    for variable in model.weights:
        name, shape = variable.path.split("/")[-1], tuple(variable.shape)
        if "variance" in name:
            value = random.uniform(0.5, 2, shape)
        elif len(shape) <= 1:
            value = random.uniform(0.1, 0.6, shape) * random.choice([-1, 1], shape)
        else:
            value = random.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
        variable.assign(value.astype(variable.dtype))


def _inputs(model: Any, random: np.random.Generator) -> Any:
    def draw(tensor: Any) -> np.ndarray:
        shape = (4, *(8 if size is None else size for size in tensor.shape[1:]))
        if "int" in str(tensor.dtype):
            return random.integers(0, 2, shape)
        return random.normal(size=shape).astype("float32")

    return tf.nest.map_structure(draw, model.input)


def _outputs(model: Any, x: Any) -> list[np.ndarray]:
    return [np.asarray(t) for t in tf.nest.flatten(model(x, training=False))]


def _error(expected: list[np.ndarray], found: list[np.ndarray]) -> float:
    pairs = zip(expected, found, strict=True)
    return max(float(np.abs(a - b).max() / (a.std() + 1e-9)) for a, b in pairs)


def _loads(model: Any, x: Any) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return _error(_outputs(model, x), _outputs(keras.models.load_model(path), x)) < 1e-5


def _trains(model: Any, x: Any) -> bool:
    with tf.GradientTape() as tape:
        loss = sum(tf.reduce_mean(t**2) for t in tf.nest.flatten(model(x, training=True)))
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    return all(g is None or np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients)


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# KerasHub's backbones under Keras 3",
        "",
        f"`python -m benchmarks.keras_hub_backbones` with keras-hub {keras_hub.__version__} and",
        f"Keras {keras.__version__}; random weights. Error: largest |pruned - masked| over three",
        "plans, in standard deviations of the output, float32. The pruned models are of Keras 3,",
        "were saved, loaded with equal outputs, and had finite gradients.",
        "",
        "| model | layers | groups | free | parameters | after | error | read s | loads | trains |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['model']} | {row['layers']} | {row['groups']} | {row['free_share']:.1%} "
            f"| {row['params']:,} | {row['params_after']:,} | {max(row['errors'].values()):.1e} "
            f"| {row['read_seconds']:.2f} | {row['loads']} | {row['trains']} |"
        )
    lines += ["", "Frozen beside the models' outputs:", ""]
    for row in rows:
        for group, reason in row["frozen"].items():
            if reason != "output of the model":
                lines.append(f"- {row['model']}, {group}: {reason}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
