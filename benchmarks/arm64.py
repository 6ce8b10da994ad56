"""Files of dense and pruned networks on an emulated ARM64 processor, against this machine.

    python -m benchmarks.arm64 --root=FOLDER

FOLDER holds an ARM64 Python 3.11 and LiteRT's ARM64 wheel, which an emulator runs (`qemu-user`).
On Debian 12 it is made by

    dpkg --add-architecture arm64 && apt-get update && apt-get install qemu-user
    apt-get download python3.11-minimal:arm64 libpython3.11-minimal:arm64 \
        libpython3.11-stdlib:arm64 libc6:arm64 libstdc++6:arm64 libgcc-s1:arm64 zlib1g:arm64 \
        libexpat1:arm64 libffi8:arm64 libssl3:arm64 libbz2-1.0:arm64 liblzma5:arm64 libuuid1:arm64
    for file in *_arm64.deb; do dpkg-deb -x $file FOLDER; done
    pip install --target FOLDER/packages --no-deps --only-binary=:all: --python-version 3.11 \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
        --platform manylinux2014_aarch64 ai-edge-litert==2.1.6 numpy flatbuffers protobuf tqdm \
        typing_extensions absl-py ml_dtypes backports.strenum

LiteRT 2.2 and 2.3 crash under Debian 12's qemu 7.2 as soon as they load a file; 1.4 to 2.1 do not,
but XNNPACK of 2.1.6 computes wrong int8 values on its `--cpu=max`.

The networks are trained on the digits of scikit-learn, whose test images are run. An emulator says
nothing about time.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

_ROOT = flags.DEFINE_string("root", None, "Folder of an ARM64 Python and its packages.")
_QEMU = flags.DEFINE_string("qemu", "qemu-aarch64", "The emulator.")
_CPU = flags.DEFINE_string("cpu", "cortex-a72", "The processor that it stands for.")

NETWORKS = ("digits_cnn", "resnet20", "mobilenet_v2:0.25")
IMAGES = 64
_RUNNER = Path(__file__).parent / "arm64_runner.py"
_RESULTS = Path(__file__).parent.parent / "docs" / "results"


def emulated(qemu: str, cpu: str, root: str | None) -> tuple[list[str], str]:
    """The command of the emulated Python, and the folder of its packages.

    Raises:
        SystemExit: the emulator or the folder is missing.
    """
    found = shutil.which(qemu)
    if found is None:
        raise SystemExit(f"there is no emulator {qemu}: install qemu-user, or name it by --qemu.")
    python = Path(root or ".") / "usr" / "bin" / "python3.11"
    if root is None or not python.is_file():
        raise SystemExit(f"there is no ARM64 Python {python}: make --root as the docstring says.")
    return [found, "-cpu", cpu, "-L", root, str(python)], str(Path(root) / "packages")


def run(
    command: list[str], packages: str, model: Path, images: np.ndarray, kernels: str
) -> np.ndarray:
    """What a file makes of images, in another process."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.npy", Path(folder) / "out.npy"
        np.save(source, images)
        arguments = [packages, str(model), str(source), str(target), kernels]
        done = subprocess.run(
            [*command, str(_RUNNER), *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{command[0]} failed on {model.name}: {done.stderr[-500:]}")
        return np.load(target)


def compared(host: np.ndarray, device: np.ndarray) -> dict[str, Any]:
    """How far outputs of the emulated processor are from this machine's."""
    apart = np.abs(host.astype(np.float64) - device.astype(np.float64))
    return {
        "values": int(host.size),
        "differing": int((host != device).sum()),
        "largest": float(apart.max()),
        "spread": float(host.astype(np.float64).std()),
        "classes": float((host.argmax(-1) == device.argmax(-1)).mean()),
    }


def files(folder: Path) -> Iterator[tuple[str, str, str, Path, np.ndarray]]:
    """Network, version, kind, file and images."""
    import tf_keras as keras

    import tfgraphprune as tgp
    from tfgraphprune.models import network_by_name
    from tfgraphprune.training.data import load_digits

    digits = load_digits(0)
    train, reward, test = (
        (x.repeat(3, -1), y) for x, y in (digits.train, digits.reward, digits.test)
    )
    for network in NETWORKS:
        keras.utils.set_random_seed(0)
        dense = network_by_name(network, 10, (8, 8, 3))
        tgp.finetune(dense, train, epochs=15, verbose=0)
        small = tgp.compress(
            dense, train, reward, budget=tgp.Budget(macs_ratio=0.5),
            search=tgp.Search(agent="knapsack", rivals=(), evaluations=1),
            finetune=tgp.FineTune(epochs=5),
        ).model  # fmt: skip
        for version, model in (("dense", dense), ("pruned", small)):
            for kind in ("float32", "int8"):
                path = folder / f"{network.replace(':', '_')}_{version}_{kind}.tflite"
                data = train if kind == "int8" else None
                tgp.export_tflite(
                    model, path, quantization=kind, representative_data=data,
                    integer_io=kind == "int8",
                )  # fmt: skip
                yield network, version, kind, path, _as_input(path, test[0][:IMAGES])


def _as_input(path: Path, images: np.ndarray) -> np.ndarray:
    """Images in the numbers that a file takes."""
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(str(path)).get_input_details()[0]
    if details["dtype"] != np.int8:
        return images.astype(np.float32)
    scale, zero = details["quantization"]
    return np.clip(np.round(images / scale) + zero, -128, 127).astype(np.int8)


def table(rows: list[dict[str, Any]]) -> str:
    """The report."""
    lines = [
        "# Files on an emulated ARM64 processor", "",
        "Made by `python -m benchmarks.arm64 --root=FOLDER` (see there): LiteRT's ARM64 wheel",
        "(2.1.6) under qemu-aarch64, a Cortex-A72, against the x86 one (2.3.0): networks trained",
        f"on digits and cut to half of their MACs by the knapsack, {IMAGES} test images. Largest:",
        "in units of the outputs' spread for float32, in steps of the output for int8. No phone,",
        "no times. As `--cpu=max` int8 outputs were wrong; LiteRT 2.2 and 2.3 do not run in qemu",
        "7.2.", "",
        "| network | version | file | kernels | values | differing | largest | same class |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        unit = 1.0 if row["kind"] == "int8" else row["spread"]
        lines.append(
            f"| {row['network']} | {row['version']} | {row['kind']} | {row['kernels']} | "
            f"{row['values']} | {row['differing']} | {row['largest'] / unit:.2g} | "
            f"{row['classes']:.1%} |"
        )
    return "\n".join([*lines, ""])


def main(argv: list[str]) -> None:
    """Run all files on both, and write the report."""
    command, packages = emulated(_QEMU.value, _CPU.value, _ROOT.value)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for network, version, kind, path, images in files(Path(folder)):
            for kernels in ("xnnpack", "plain"):
                host = run([sys.executable], "", path, images, kernels)
                device = run(command, packages, path, images, kernels)
                named = {"network": network, "version": version, "kind": kind, "kernels": kernels}
                rows.append({**named, **compared(host, device)})
                print(rows[-1], flush=True)
    text = table(rows)
    (_RESULTS / "arm64.md").write_text(text)
    (_RESULTS / "arm64.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    app.run(main)
