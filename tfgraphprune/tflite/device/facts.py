"""What a device says of itself: model, Android, processor, and how hot it is."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass

from tfgraphprune.tflite.device.adb import Adb

_PROPERTIES = {
    "maker": "ro.product.manufacturer",
    "model": "ro.product.model",
    "android": "ro.build.version.release",
    "api_level": "ro.build.version.sdk",
    "chip": "ro.soc.model",
    "board": "ro.board.platform",
    "abis": "ro.product.cpu.abilist",
}
_POLL_SECONDS = 5.0


@dataclass(frozen=True)
class DeviceFacts:
    """A device; empty texts where it didn't say.

    Attributes:
        serial: as adb lists it.
        name: maker and model.
        android: version, such as 14.
        api_level: its number for programs, such as 34; 0 if unknown.
        chip: the system on a chip.
        abis: what programs it runs, the best first.
    """

    serial: str
    name: str
    android: str
    api_level: int
    chip: str
    abis: tuple[str, ...]


def read_facts(adb: Adb) -> DeviceFacts:
    """Ask a device what it is.

    Raises:
        UserError: the device went away.
    """
    script = "\n".join(f"getprop {shlex.quote(name)}" for name in _PROPERTIES.values())
    lines = [line.strip() for line in adb.shell(script, "asking what it is").stdout.split("\n")]
    told = dict(zip(_PROPERTIES, [*lines, *[""] * len(_PROPERTIES)], strict=False))
    return DeviceFacts(
        serial=adb.serial,
        name=f"{told['maker']} {told['model']}".strip(),
        android=told["android"],
        api_level=int(told["api_level"]) if told["api_level"].isdigit() else 0,
        chip=told["chip"] or told["board"],
        abis=tuple(abi for abi in told["abis"].split(",") if abi),
    )


def thermal_status(adb: Adb) -> int | None:
    """How far the device is throttled: 0 not, 1 light, up to 6; None where it doesn't say.

    Androids before 10 don't. The numbers are those of `PowerManager.getCurrentThermalStatus`.

    Raises:
        UserError: the device went away.
    """
    said = adb.shell("dumpsys thermalservice 2>/dev/null", "reading its temperature").stdout
    match = re.search(r"Thermal Status: (\d+)", said)
    return int(match[1]) if match else None


def wait_until_cool(adb: Adb, cool_seconds: float, progress: Callable[[str], None]) -> int | None:
    """Wait until the device isn't throttled, but no longer than a time; returns its last status.

    Args:
        adb: the device.
        cool_seconds: the time.
        progress: is told when there is something to wait for.
    """
    deadline = time.monotonic() + cool_seconds
    status = thermal_status(adb)
    if status and cool_seconds:
        progress(f"{adb.serial} is throttled (thermal status {status}): waiting until it is cool")
    while status and time.monotonic() < deadline:
        time.sleep(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic())))
        status = thermal_status(adb)
    return status
