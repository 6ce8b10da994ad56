"""Run TFLite files on an Android phone: outputs against LiteRT here, latency, delegates."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from absl import flags

from tfgraphprune.cli.common import Program, run_program

BACKENDS = ("cpu", "gpu", "npu", "nnapi")
"""As `tfgraphprune.tflite.device.BACKENDS`, without importing TensorFlow."""

OWN_FLAGS: dict[str, Callable[[str], Any]] = {
    "tflite": lambda name: flags.DEFINE_multi_string(
        name, None, "TFLite file; once for each, the first is what others are compared with."
    ),
    "benchmark": lambda name: flags.DEFINE_string(
        name, None, "TFLite's benchmark_model or LiteRT's, built for the phone's processor."
    ),
    "inputs": lambda name: flags.DEFINE_string(
        name, None, "Examples to compare outputs on: .npy, or .npz with an array for each input."
    ),
    "examples": lambda name: flags.DEFINE_integer(name, 8, "How many examples to run."),
    "max_error": lambda name: flags.DEFINE_float(
        name, 0.1, "How far outputs may be from the host's, in their standard deviations."
    ),
    "backend": lambda name: flags.DEFINE_enum(
        name, "cpu", BACKENDS, "Where to run; nnapi is for Androids before 15."
    ),
    "threads": lambda name: flags.DEFINE_integer(name, 1, "CPU threads."),
    "cpu_mask": lambda name: flags.DEFINE_string(
        name, None, "Cores to stay on, in hexadecimal: f0 are cores 4 to 7."
    ),
    "runs": lambda name: flags.DEFINE_integer(name, 50, "Runs in each process of the tool."),
    "repeats": lambda name: flags.DEFINE_integer(name, 5, "Processes for each file, in turns."),
    "min_seconds": lambda name: flags.DEFINE_float(
        name, 1.0, "How long each process measures at least."
    ),
    "cool_seconds": lambda name: flags.DEFINE_float(
        name, 120.0, "How long to wait at most for a throttled phone to cool."
    ),
    "timeout_seconds": lambda name: flags.DEFINE_float(
        name, 300.0, "How long one process may take."
    ),
    "library": lambda name: flags.DEFINE_multi_string(
        name, [], "Shared library for the backend; for npu the first is the delegate."
    ),
    "tool_flag": lambda name: flags.DEFINE_multi_string(
        name, [], "Further flag of the tool, as --tool_flag=--gpu_precision_loss_allowed=false."
    ),
    "profile": lambda name: flags.DEFINE_bool(name, False, "Also time each operation."),
    "serial": lambda name: flags.DEFINE_multi_string(
        name, [], "Serial number of a phone; once for each, if several are attached."
    ),
    "adb": lambda name: flags.DEFINE_string(name, "adb", "The adb client."),
    "adb_port": lambda name: flags.DEFINE_integer(name, None, "Port of the adb server."),
    "adb_timeout_seconds": lambda name: flags.DEFINE_float(
        name, 120.0, "How long one copy or command may take."
    ),
    "json": lambda name: flags.DEFINE_string(
        name, None, "Writes the findings as data into this .json file."
    ),
}

for _name, _define in OWN_FLAGS.items():
    if _name not in flags.FLAGS:
        _define(_name)

PROGRAM = Program(
    "check_on_device",
    __doc__ or "",
    required=("tflite", "benchmark"),
    optional=(*[name for name in OWN_FLAGS if name not in ("tflite", "benchmark")], "overwrite"),
)


def main(values: flags.FlagValues) -> None:
    """Run the files, print the tables, and write the JSON file if asked for."""
    from tfgraphprune.tflite.device import Device, RunSettings
    from tfgraphprune.tflite.device.program import check_files

    check_files(
        values.tflite,
        benchmark=values.benchmark,
        devices=[
            Device(serial, values.adb, values.adb_port, values.adb_timeout_seconds)
            for serial in values.serial or [None]
        ],
        settings=RunSettings(
            backend=values.backend,
            threads=values.threads,
            runs=values.runs,
            min_seconds=values.min_seconds,
            repeats=values.repeats,
            cpu_mask=values.cpu_mask,
            libraries=tuple(values.library),
            tool_flags=tuple(values.tool_flag),
            cool_seconds=values.cool_seconds,
            timeout_seconds=values.timeout_seconds,
        ),
        inputs=values.inputs,
        examples=values.examples,
        max_error=values.max_error,
        profile=values.profile,
        json=values.json,
        overwrite=values.overwrite,
        progress=lambda text: print(text, file=sys.stderr),
    )


if __name__ == "__main__":
    run_program(PROGRAM, main)
