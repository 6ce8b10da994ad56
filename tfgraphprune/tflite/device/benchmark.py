"""The benchmark tools of TFLite and LiteRT: what they can do, and their command lines."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfgraphprune.errors import UserError
from tfgraphprune.tflite.device.adb import Ended

BACKENDS = ("cpu", "gpu", "npu", "nnapi")

_ELF_MACHINES = {3: "x86", 40: "armeabi-v7a", 62: "x86_64", 183: "arm64-v8a"}
_CANNOT_RUN = (126, 127)


@dataclass(frozen=True)
class RunSettings:
    """How a file is run on a device.

    Attributes:
        backend: `cpu`, `gpu`, `npu`, or `nnapi` for Androids before 15.
        threads: CPU threads.
        runs: runs in each process of the tool.
        warmup: runs before those.
        min_seconds: how long each process measures at least, whatever `runs` says.
        repeats: processes for each file; files take turns.
        cpu_mask: cores to stay on, as `taskset` writes them in hexadecimal: `f0` are cores 4 to 7.
        libraries: shared libraries that the backend needs; for `npu` the first is the delegate.
        tool_flags: further flags of the tool, such as `--gpu_precision_loss_allowed=false`.
        cool_seconds: how long to wait at most, before each process, for a device that says that it
            is throttled.
        timeout_seconds: how long one process may take.
    """

    backend: str = "cpu"
    threads: int = 1
    runs: int = 50
    warmup: int = 5
    min_seconds: float = 1.0
    repeats: int = 5
    cpu_mask: str | None = None
    libraries: Sequence[str | os.PathLike[str]] = ()
    tool_flags: Sequence[str] = ()
    cool_seconds: float = 120.0
    timeout_seconds: float = 300.0

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise UserError(f"backend must be one of {', '.join(BACKENDS)}, not {self.backend!r}.")
        least = {"threads": 1, "runs": 1, "warmup": 0, "min_seconds": 0, "repeats": 1}
        least |= {"cool_seconds": 0, "timeout_seconds": 1}
        for name, number in least.items():
            if not getattr(self, name) >= number:
                raise UserError(f"{name} must be at least {number}, not {getattr(self, name)!r}.")
        if self.cpu_mask is not None and not re.fullmatch(r"(0x)?[0-9a-fA-F]+", self.cpu_mask):
            raise UserError(f"cpu_mask must be a hexadecimal mask as f0, not {self.cpu_mask!r}.")
        for flag in self.tool_flags:
            if not flag.startswith("--"):
                raise UserError(f"tool_flags must be flags such as --use_gpu=true, not {flag!r}.")
        for path in self.libraries:
            if not Path(path).is_file():
                raise UserError(f"The library {os.fspath(path)!r} does not exist: build or get it.")


@dataclass(frozen=True)
class Tool:
    """A benchmark tool on the device.

    Attributes:
        path: where it is there.
        litert: whether it is LiteRT's `benchmark_litert_model` and not TFLite's `benchmark_model`.
        flags: the names of the flags that it lists; empty where it lists none.
    """

    path: str
    litert: bool
    flags: frozenset[str]

    def knows(self, flag: str) -> bool:
        """Whether the tool has a flag; of one that lists none it is assumed."""
        return flag in self.flags or not self.flags


def check_abi(tool: Path, abis: Sequence[str], serial: str) -> None:
    """Refuse a program for another processor than the device's.

    Args:
        tool: the program on this machine.
        abis: what the device runs, as `ro.product.cpu.abilist` says; empty: it didn't say.
        serial: the device, for the message.

    Raises:
        UserError: the file isn't there, or is for other devices.
    """
    if not tool.is_file():
        raise UserError(
            f"There is no benchmark tool {str(tool)!r}: build or download benchmark_model for "
            "Android, see docs/on-device.md."
        )
    with tool.open("rb") as file:
        header = file.read(20)
    # Scripts run too, where the device has their interpreter.
    if header[:4] != b"\x7fELF" or not abis:
        return
    machine = int.from_bytes(header[18:20], "little")
    abi = _ELF_MACHINES.get(machine, f"machine {machine}")
    if abi not in abis:
        raise UserError(
            f"{str(tool)!r} is built for {abi}, but the device {serial} runs {', '.join(abis)}: "
            "use the one for the device."
        )


def read_help(path: str, ended: Ended, serial: str) -> Tool:
    """What a tool is, from how `--help` ended and what that printed.

    Raises:
        UserError: it can't be run on the device, or is no benchmark tool.
    """
    if ended.code in _CANNOT_RUN:
        raise UserError(
            f"The device {serial} can't run the benchmark tool ({ended.last_line}): use one that "
            "was built for its processor and its Android."
        )
    flags = frozenset(re.findall(r"--(\w+)=", ended.text))
    if flags and "graph" not in flags:
        raise UserError(
            "The benchmark tool has no flag --graph: give TFLite's benchmark_model or LiteRT's "
            "benchmark_litert_model."
        )
    return Tool(path, litert="dispatch_library_path" in flags, flags=flags)


def command_line(
    tool: Tool, graph: str, settings: RunSettings, libraries: Sequence[str] = ()
) -> list[str]:
    """The words that measure a file.

    Args:
        tool: the tool.
        graph: the file on the device.
        settings: how to run it.
        libraries: where the libraries are on the device.

    Raises:
        UserError: the tool doesn't have the backend, or a library for it is missing.
    """
    words = ["taskset", settings.cpu_mask.removeprefix("0x")] if settings.cpu_mask else []
    words += [tool.path, f"--graph={graph}", f"--num_threads={settings.threads}"]
    words += [f"--num_runs={settings.runs}", f"--warmup_runs={settings.warmup}"]
    words.append(f"--min_secs={settings.min_seconds:g}")
    return [*words, *_backend_flags(tool, settings, libraries), *settings.tool_flags]


def parity_line(
    words: Sequence[str], shapes: Sequence[Sequence[int]], inputs: Sequence[str], output: str
) -> list[str]:
    """The words that run a file once on given inputs and keep its outputs.

    The tool goes by the order of the inputs, whatever they are called.

    Args:
        words: a command line that measures the file.
        shapes: the shape of each input.
        inputs: the file of each input on the device.
        output: where the outputs go there, one after the other.
    """
    names = [f"input_{position}" for position in range(len(inputs))]
    files = [f"{name}:{file}" for name, file in zip(names, inputs, strict=True)]
    once = ("--num_runs=", "--warmup_runs=", "--min_secs=")
    return [
        *(word for word in words if not word.startswith(once)),
        "--num_runs=1",
        "--warmup_runs=0",
        "--min_secs=0",
        f"--input_layer={','.join(names)}",
        f"--input_layer_shape={':'.join(','.join(map(str, shape)) for shape in shapes)}",
        f"--input_layer_value_files={','.join(files)}",
        f"--output_filepath={output}",
    ]


def profile_flags(tool: Tool, output: str) -> list[str]:
    """The flags that write the time of each operation as CSV.

    Raises:
        UserError: the tool can't.
    """
    if tool.litert or not tool.knows("enable_op_profiling"):
        raise UserError(
            "This benchmark tool writes no op profile: use TFLite's benchmark_model, or leave "
            "profile out."
        )
    flags = ["--enable_op_profiling=true"]
    if "op_profiling_output_mode" in tool.flags:
        return [*flags, "--op_profiling_output_mode=csv", f"--op_profiling_output_file={output}"]
    return [*flags, f"--profiling_output_csv_file={output}"]


def _backend_flags(tool: Tool, settings: RunSettings, libraries: Sequence[str]) -> list[str]:
    backend = settings.backend
    if backend == "cpu":
        return []
    if backend == "npu" and tool.litert:
        folder = os.path.dirname(libraries[0]) if libraries else ""
        return ["--use_npu=true", *([f"--dispatch_library_path={folder}"] if folder else [])]
    if backend == "npu":
        if not libraries:
            raise UserError(
                "TFLite's benchmark_model reaches an NPU through its maker's delegate: give that "
                "with --library (libraries=[...]), or use benchmark_litert_model."
            )
        return [f"--external_delegate_path={libraries[0]}"]
    flag = f"use_{backend}"
    if not tool.knows(flag):
        raise UserError(
            f"The benchmark tool has no flag --{flag}: use one that was built with that backend."
        )
    return [f"--{flag}=true"]
