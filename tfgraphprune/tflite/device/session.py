"""A device with the benchmark tool on it, ready to run files, and clean again afterwards."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tfgraphprune.errors import UserError
from tfgraphprune.tflite.device.adb import Adb, Device, Ended, connect
from tfgraphprune.tflite.device.benchmark import (
    RunSettings,
    Tool,
    check_abi,
    command_line,
    read_help,
)
from tfgraphprune.tflite.device.facts import DeviceFacts, read_facts, wait_until_cool
from tfgraphprune.tflite.device.folder import DeviceFolder
from tfgraphprune.tflite.device.output import Timing, parse_timing

_LAST_NNAPI_LEVEL = 34


@dataclass(frozen=True)
class Measured:
    """What the processes of one file printed, in the order in which they ran."""

    timings: list[Timing] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)


@dataclass
class Session:
    """See `open_session`.

    Attributes:
        adb: the device.
        facts: what it says of itself.
        folder: the folder of this session on it.
        tool: the benchmark tool there.
        settings: how files are run.
        throttled: how many processes were started though the device was throttled.
    """

    adb: Adb
    facts: DeviceFacts
    folder: DeviceFolder
    tool: Tool
    settings: RunSettings
    libraries: Sequence[str]
    progress: Callable[[str], None]
    throttled: int = 0

    def words(self, local: Path) -> list[str]:
        """Put a file on the device; the command line that measures it."""
        return command_line(self.tool, self.folder.put(local), self.settings, self.libraries)

    def run(self, words: list[str]) -> Ended:
        """Run a command line on the device.

        Raises:
            UserError: it failed, took too long, or the device went away.
        """
        seconds = self.settings.timeout_seconds
        ended = self.folder.run(words, "running the benchmark tool", seconds)
        if ended.code:
            full = "No space left" in ended.text
            raise UserError(
                f"The benchmark tool failed on the device {self.adb.serial} with exit code "
                f"{ended.code} ({_reason(ended)}): "
                + ("free some storage there." if full else "see whether it can run this file.")
            )
        return ended

    def measure(self, commands: Mapping[str, list[str]]) -> dict[str, Measured]:
        """Run command lines in turns, in an order that is reversed each time.

        Args:
            commands: what measures each file, by its name.
        """
        measured = {name: Measured() for name in commands}
        order = list(commands)
        for repeat in range(self.settings.repeats):
            for name in order:
                self.progress(f"{self.adb.serial}: {name}, {repeat + 1} of {self.settings.repeats}")
                if wait_until_cool(self.adb, self.settings.cool_seconds, self.progress):
                    self.throttled += 1
                ended = self.run(commands[name])
                measured[name].timings.append(parse_timing(ended.text))
                measured[name].logs.append(ended.text)
            order.reverse()
        return measured


@contextlib.contextmanager
def open_session(
    device: Device,
    benchmark: str | os.PathLike[str],
    settings: RunSettings,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Session]:
    """Connect, and put the tool and its libraries into a folder that goes when the block ends.

    Args:
        device: which one.
        benchmark: the tool on this machine, built for the device.
        settings: how files are run.
        progress: is told what happens.

    Raises:
        UserError: no such device, one that isn't ready, or a tool that can't be used on it.
    """
    adb = connect(device)
    facts = read_facts(adb)
    check_abi(Path(benchmark), facts.abis, adb.serial)
    if settings.backend == "nnapi" and facts.api_level > _LAST_NNAPI_LEVEL:
        raise UserError(
            f"NNAPI is for Androids before 15, but {adb.serial} has Android {facts.android}: use "
            "gpu, or npu with the delegate of the chip's maker."
        )
    with DeviceFolder(adb) as folder:
        path = folder.put(Path(benchmark))
        libraries = [folder.put_library(Path(each)) for each in settings.libraries]
        ended = folder.run([path, "--help"], "asking the benchmark tool for its flags")
        tool = read_help(path, ended, adb.serial)
        yield Session(adb, facts, folder, tool, settings, libraries, progress)


def _reason(ended: Ended) -> str:
    """The line that names an error, or else the last one."""
    lines = [line.strip() for line in ended.text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "fail" in line.lower()]
    return (errors or lines or ["no message"])[-1]
