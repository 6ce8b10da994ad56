"""Twelve networks exported as float32, dense and pruned: error, time, size, what XNNPACK leaves.

python -m benchmarks.export                    # writes docs/results/export.md and export.json
python -m benchmarks.export --only=MobileNet*  # prints a part of the table
"""

from __future__ import annotations

import fnmatch
import gc
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from absl import app, flags

import tfgraphprune as tgp

_ONLY = flags.DEFINE_list("only", ["*"], "Names or patterns of networks.")
_RESULTS = Path(__file__).parent.parent / "docs" / "results"
_NETWORKS = (
    "MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "ResNet50", "ResNet50V2",
    "EfficientNetB0", "EfficientNetV2B0", "DenseNet121", "NASNetMobile", "RegNetX002",
    "ConvNeXtTiny",
)  # fmt: skip
_SIZE = 96
_EXAMPLES = 8
_MOST_ERROR = 1.5e-4


def main(argv: list[str]) -> None:
    """Run the networks and write the table."""
    del argv
    rows = []
    for name in (n for n in _NETWORKS if any(fnmatch.fnmatch(n, p) for p in _ONLY.value)):
        rows.append(_measure(name))
        print(rows[-1], flush=True)
    text = _report(rows)
    print(text)
    if _ONLY.value == ["*"]:  # a part must not replace the whole table
        (_RESULTS / "export.json").write_text(json.dumps(rows, indent=1) + "\n")
        (_RESULTS / "export.md").write_text(text)


def _measure(name: str) -> dict[str, Any]:
    import numpy as np
    import tf_keras as keras

    keras.backend.clear_session()
    gc.collect()
    keras.utils.set_random_seed(0)
    build = getattr(keras.applications, name)
    # Logits, not the softmax of random weights, whose values hardly differ.
    dense = build(weights=None, input_shape=(_SIZE, _SIZE, 3), classifier_activation=None)
    images = np.random.default_rng(0).uniform(0, 255, (_EXAMPLES, _SIZE, _SIZE, 3))
    # Moving statistics as training leaves them: with the initial ones values fade or explode.
    tgp.reestimate_batchnorm(dense, (images.astype(np.float32), np.zeros(_EXAMPLES, int)))
    graph = tgp.LayerGraph.from_model(dense)
    small = tgp.prune(dense, tgp.PruningPlan.from_keep_ratios(graph, 0.5))
    data = images.astype(np.float32), np.zeros(_EXAMPLES, int)
    row: dict[str, Any] = {"network": name}
    with tempfile.TemporaryDirectory() as folder:
        for kind, model in (("dense", dense), ("pruned", small)):
            started = time.perf_counter()
            report = tgp.export_tflite(model, Path(folder) / f"{kind}.tflite")
            seconds = time.perf_counter() - started
            check = tgp.verify_tflite(report.path, model, data)
            row[kind] = {
                "max_error": check.max_error,
                "mean_error": check.mean_error,
                "seconds": round(seconds, 2),
                "bytes": report.bytes,
                "outside_xnnpack": dict(report.outside_xnnpack or {}),
            }
            if check.max_error > _MOST_ERROR and kind == "dense":
                row["float64"] = _errors_of_rounding(build, model, report.path, data[0])
    return row


def _errors_of_rounding(build: Any, model: Any, path: Path, images: Any) -> dict[str, float]:
    """How far Keras and the file each are from the same network in float64."""
    import numpy as np
    import tf_keras as keras

    from tfgraphprune.tflite.runtime import Runner

    ours, theirs = model.predict_on_batch(images), Runner(path).run([images])[0]
    keras.backend.set_floatx("float64")
    try:
        exact = build(weights=None, input_shape=images.shape[1:], classifier_activation=None)
        exact.set_weights(model.get_weights())
        truth = exact.predict_on_batch(images.astype(np.float64))
    finally:
        keras.backend.set_floatx("float32")
    spread = truth.std()
    return {
        "keras": float(np.abs(ours - truth).max() / spread),
        "tflite": float(np.abs(theirs - truth).max() / spread),
    }


def _report(rows: list[dict[str, Any]]) -> str:
    kinds = ("dense", "pruned")
    wrong = [r["network"] for r in rows if any(r[k]["max_error"] > _MOST_ERROR for k in kinds)]
    lines = [
        "# Export",
        "",
        f"`python -m benchmarks.export`: float32 files at {_SIZE} x {_SIZE} x 3, random weights,",
        "dense and with half of each channel group, on 2 cores that other work shared. Error:",
        f"largest |TFLite - Keras| of the logits on {_EXAMPLES} random images, in their standard",
        "deviations. Seconds: all of `export_tflite`. Outside: operations that XNNPACK leaves.",
        "",
        f"{len(rows) - len(wrong)} of {len(rows)} networks within {_MOST_ERROR:.1e}"
        + (f"; not {', '.join(wrong)}." if wrong else "."),
        "",
        "| network | error | pruned | seconds | pruned | MB | pruned | outside |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        dense, small = row["dense"], row["pruned"]
        outside = ", ".join(f"{k} {v}" for k, v in dense["outside_xnnpack"].items()) or "-"
        lines.append(
            f"| {row['network']} | {dense['max_error']:.1e} | {small['max_error']:.1e} "
            f"| {dense['seconds']:.1f} | {small['seconds']:.1f} | {dense['bytes'] / 1e6:.1f} "
            f"| {small['bytes'] / 1e6:.1f} | {outside} |"
        )
    lines += [
        f"\n{row['network']}, dense, in float32 beside the same network in float64: Keras "
        f"{row['float64']['keras']:.1e}, TFLite {row['float64']['tflite']:.1e}."
        for row in rows
        if "float64" in row
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app.run(main)
