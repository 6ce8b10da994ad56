"""One Android device through the real `adb` client: which one, shell commands, files both ways."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfgraphprune.errors import UserError

_POLL_SECONDS = 0.2

_STATES = {
    "unauthorized": "has not allowed this computer yet: unlock it, accept the question about USB "
    "debugging, and run again",
    "authorizing": "is still asking whether it may be used: unlock it, accept the question about "
    "USB debugging, and run again",
    "offline": "is offline: plug it in again, or run adb reconnect, and run again",
}
"""What to do about the states in which adb knows a device but can't use it."""


@dataclass(frozen=True)
class Device:
    """How to reach one device.

    Attributes:
        serial: as `adb devices` lists it; None takes the only one that is attached.
        adb: name or path of the client.
        port: port of the adb server; None is adb's own default, 5037. A server that isn't there
            is started by the client and stays, as after any adb command.
        timeout_seconds: how long a single step, such as a push, may take.
        wait_seconds: how long to wait for the device to be ready.
    """

    serial: str | None = None
    adb: str = "adb"
    port: int | None = None
    timeout_seconds: float = 120.0
    wait_seconds: float = 5.0


@dataclass(frozen=True)
class Ended:
    """How a command on the device ended: its exit code, and what it wrote."""

    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """Both outputs, as one text."""
        return f"{self.stdout}\n{self.stderr}"

    @property
    def last_line(self) -> str:
        """The last line that says anything, for messages."""
        return _last_line(self.stdout, self.stderr)


class Adb:
    """A device that was ready when `connect` looked."""

    def __init__(self, client: Sequence[str], serial: str, timeout_seconds: float):
        self.serial = serial
        self._client = [*client]
        self.timeout_seconds = timeout_seconds

    def shell(self, script: str, doing: str, timeout_seconds: float | None = None) -> Ended:
        """Run a POSIX shell script on the device; what comes from users must be quoted in it.

        The exit code is read from a line of our own, because old devices report none; where that
        line is missing, the device went away.

        Args:
            script: the commands.
            doing: what that is, for messages: "while ...".
            timeout_seconds: how long it may take; None is the device's own.

        Raises:
            UserError: it took too long, or the device went away.
        """
        mark = f"ended-{secrets.token_hex(8)}:"
        # The mark is put together on the device, so that an echo of the command isn't one.
        whole = f"(\n{script}\n)\nprintf '\\n%s%d\\n' {mark} $?"
        ended = self._run(["shell", whole], doing, timeout_seconds)
        stdout, found, code = ended.stdout.replace("\r\n", "\n").rpartition(f"\n{mark}")
        if not found or not code.strip().isdigit():
            raise self.lost(doing, ended.last_line)
        return Ended(int(code), stdout, ended.stderr)

    def start(self, script: str) -> subprocess.Popen[bytes]:
        """Start a shell script that reads its input until we close it, or are gone."""
        return subprocess.Popen(
            [*self._client, "-s", self.serial, "shell", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            # Ctrl-C is for us: we clean up, and for that the script must still be there.
            start_new_session=True,
        )

    def push(self, local: Path, remote: str) -> None:
        """Copy a file to the device.

        Raises:
            UserError: no space, not allowed, or the device went away.
        """
        # Absolute, because a name that starts with a dash would be an option.
        doing = f"copying {str(local)!r}"
        ended = self._run(["push", str(local.absolute()), remote], doing)
        if ended.code:
            raise self._failed_copy(doing, ended)

    def pull(self, remote: str) -> bytes:
        """The content of a file on the device.

        Raises:
            UserError: there is no such file, or the device went away.
        """
        with tempfile.TemporaryDirectory(prefix="tfgraphprune-") as folder:
            local = Path(folder) / "pulled"
            doing = f"reading {remote}"
            ended = self._run(["pull", remote, str(local)], doing)
            if ended.code or not local.is_file():
                raise self._failed_copy(doing, ended)
            return local.read_bytes()

    def lost(self, doing: str, detail: str = "") -> UserError:
        """The error for a device that stopped answering."""
        try:
            state = device_states(self._client, self.timeout_seconds).get(self.serial, "gone")
        except UserError:
            state = "unknown to adb"
        reason = f" ({detail})" if detail else ""
        return UserError(
            f"The device {self.serial} went away while {doing}{reason}, it is now "
            f"{'back' if state == 'device' else state}: check the cable or the network and run "
            "again."
        )

    def _failed_copy(self, doing: str, ended: Ended) -> UserError:
        if "No space left" in ended.text:
            return UserError(
                f"The storage of the device {self.serial} is full while {doing}: free some and "
                "run again."
            )
        if "remote" in ended.last_line or "does not exist" in ended.last_line:
            return UserError(
                f"The device {self.serial} refused {doing} ({ended.last_line}): check that "
                "/data/local/tmp can be written there."
            )
        return self.lost(doing, ended.last_line)

    def _run(self, words: Sequence[str], doing: str, timeout_seconds: float | None = None) -> Ended:
        timeout = self.timeout_seconds if timeout_seconds is None else timeout_seconds
        try:
            return _run_client([*self._client, "-s", self.serial, *words], timeout)
        except subprocess.TimeoutExpired as error:
            raise UserError(
                f"The device {self.serial} took more than {timeout:g} s while {doing}: check that "
                "it is awake, or allow more time."
            ) from error


def connect(device: Device) -> Adb:
    """Find the device, and wait a moment until it is ready.

    Raises:
        UserError: no client, no such device, several and none chosen, or one that isn't ready.
    """
    executable = shutil.which(device.adb)
    if executable is None:
        raise UserError(
            f"There is no adb client {device.adb!r}: install Android's platform-tools (on Debian "
            "apt-get install adb), or say where it is with --adb (adb=...)."
        )
    client = [executable, *([] if device.port is None else ["-P", str(device.port)])]
    deadline = time.monotonic() + device.wait_seconds
    while True:
        states = device_states(client, device.timeout_seconds)
        serial, problem = _choose(states, device.serial)
        if not problem:
            return Adb(client, serial, device.timeout_seconds)
        if time.monotonic() >= deadline:
            raise UserError(problem)
        time.sleep(_POLL_SECONDS)


def device_states(client: Sequence[str], timeout_seconds: float) -> dict[str, str]:
    """The state of each device that the adb server knows, by serial.

    Args:
        client: the client and its options.
        timeout_seconds: how long the answer may take.

    Raises:
        UserError: the client can't reach or start its server.
    """
    try:
        ended = _run_client([*client, "devices"], timeout_seconds)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"The adb server did not answer within {timeout_seconds:g} s: run adb kill-server and "
            "try again."
        ) from error
    if ended.code:
        raise UserError(
            f"adb can't list devices ({ended.last_line}): run adb kill-server, or choose another "
            "--adb_port (port=...)."
        )
    rows = (line.split("\t", 1) for line in ended.stdout.splitlines() if "\t" in line)
    return {serial.strip(): state.strip() for serial, state in rows}


def _choose(states: dict[str, str], wanted: str | None) -> tuple[str, str]:
    """A serial, and what is wrong with it, or an empty text."""
    known = ", ".join(states) or "none"
    if wanted is None and not states:
        return "", (
            "No Android device is attached: plug one in with USB debugging allowed in its "
            "developer options, or run adb connect ADDRESS."
        )
    if wanted is None and len(states) > 1:
        return "", f"Several devices are attached ({known}): choose with --serial (serial=...)."
    serial = next(iter(states)) if wanted is None else wanted
    if serial not in states:
        return "", (
            f"The device {serial!r} is not attached (attached: {known}): plug it in, or run adb "
            "connect ADDRESS."
        )
    state = states[serial]
    if state == "device":
        return serial, ""
    advice = _STATES.get(state, f"is in the state {state!r}: start Android on it and run again")
    return serial, f"The device {serial} {advice}."


def _run_client(words: Sequence[str], timeout_seconds: float) -> Ended:
    ended = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_seconds
    )
    return Ended(
        ended.returncode,
        ended.stdout.decode("utf-8", "replace"),
        ended.stderr.decode("utf-8", "replace"),
    )


def _last_line(*texts: str) -> str:
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
