"""A private folder on the device, gone afterwards even if this program or the cable went first."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import select
import shlex
import subprocess
from pathlib import Path, PurePosixPath
from types import TracebackType

from tfgraphprune.errors import UserError
from tfgraphprune.tflite.device.adb import Adb, Ended

BASE = "/data/local/tmp"
"""Where Android lets its shell write and run programs."""

_NO_SUCH_COMMAND = 127
_CLOSING_SECONDS = 5


class DeviceFolder:
    """A folder for one run, made by `with`, of files that are named by the hash of their content.

    A shell on the device waits beside us and removes the folder when its input ends, so also when
    we are killed or unplugged.

    Args:
        adb: the device.

    Attributes:
        path: the folder on the device.
        left: whether the folder could not be removed.
    """

    def __init__(self, adb: Adb):
        self.path = f"{BASE}/tfgraphprune-{secrets.token_hex(8)}"
        self.left = False
        self._adb = adb
        self._leash: subprocess.Popen[bytes] | None = None
        self._there: set[str] = set()

    def __enter__(self) -> DeviceFolder:
        self._leash = self._adb.start(
            f"trap '' HUP INT TERM; umask 077; "
            f"mkdir {shlex.quote(self.path)} && echo made && cat > /dev/null; {self._removal()}"
        )
        try:
            self._wait_until_made(self._leash)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def put(self, local: Path) -> str:
        """Copy a file into the folder, unless the same content is there; returns where it is.

        Raises:
            UserError: no space, a copy that differs, or the device went away.
        """
        digest = hashlib.sha256(local.read_bytes()).hexdigest()
        remote = f"{self.path}/{digest}"
        if remote not in self._there:
            self._copy(local, remote, digest)
            self._there.add(remote)
        return remote

    def put_library(self, local: Path) -> str:
        """Copy a shared library, which is looked up by its own name, into the folder `lib`."""
        folder = f"{self.path}/lib"
        self._adb.shell(f"mkdir -p {shlex.quote(folder)}", "making a folder")
        remote = str(PurePosixPath(folder) / local.name)
        self._copy(local, remote, hashlib.sha256(local.read_bytes()).hexdigest())
        return remote

    def put_bytes(self, name: str, content: bytes, host_folder: Path) -> str:
        """Write a file of ours, over an older one of the same name.

        Args:
            name: its name in the folder.
            content: what to write.
            host_folder: a folder for it on its way.
        """
        local = host_folder / name
        local.write_bytes(content)
        remote = f"{self.path}/{name}"
        self._adb.push(local, remote)
        return remote

    def read(self, remote: str) -> bytes:
        """The content of a file in the folder."""
        return self._adb.pull(remote)

    def run(self, words: list[str], doing: str, timeout_seconds: float | None = None) -> Ended:
        """Run a program in the folder; its arguments are quoted.

        Args:
            words: the program and its arguments.
            doing: what that is, for messages.
            timeout_seconds: how long it may take.
        """
        folder = shlex.quote(self.path)
        # Who is running, for the case that nobody waits for it any more.
        script = (
            f"echo $$ > {folder}/running; cd {folder} && "
            f"LD_LIBRARY_PATH={folder}/lib {shlex.join(words)}\n"
            f"code=$?; rm -f {folder}/running; exit $code"
        )
        return self._adb.shell(script, doing, timeout_seconds)

    def _removal(self) -> str:
        """Commands that end what still runs in the folder, and remove it."""
        # Each command from the host has a session of its own, so its shell leads a group.
        running = shlex.quote(f"{self.path}/running")
        return (
            f'test -f {running} && kill -s KILL -- "-$(cat {running})"; '
            f"rm -rf {shlex.quote(self.path)}"
        )

    def _copy(self, local: Path, remote: str, digest: str) -> None:
        self._adb.push(local, remote)
        quoted, doing = shlex.quote(remote), f"checking the copy of {str(local)!r}"
        ended = self._adb.shell(f"chmod 700 {quoted}; sha256sum {quoted}", doing)
        same = ended.stdout.split()[:1] == [digest]
        if ended.code == _NO_SUCH_COMMAND:  # Androids before 8
            counted = self._adb.shell(f"wc -c < {quoted}", doing).stdout.strip()
            same = counted == str(local.stat().st_size)
        if not same:
            raise UserError(
                f"The copy of {str(local)!r} on the device {self._adb.serial} differs from it "
                f"({ended.last_line}): check the cable and the device's storage and run again."
            )

    def _wait_until_made(self, leash: subprocess.Popen[bytes]) -> None:
        assert leash.stdout is not None and leash.stderr is not None
        doing = f"making {self.path}"
        if not select.select([leash.stdout], [], [], self._adb.timeout_seconds)[0]:
            raise self._adb.lost(doing, "no answer")
        if leash.stdout.readline().strip() == b"made":
            return
        said = leash.stderr.read().decode("utf-8", "replace").strip()
        if "No space left" in said:
            raise UserError(
                f"The storage of the device {self._adb.serial} is full: free some and run again."
            )
        raise self._adb.lost(doing, said)

    def _close(self) -> None:
        leash, self._leash = self._leash, None
        if leash is None:
            return
        # Closes the pipes; the shell on the device reads the end of its input and removes all.
        with contextlib.suppress(subprocess.TimeoutExpired, OSError):
            leash.communicate(timeout=_CLOSING_SECONDS)
        if leash.poll() is None:
            leash.kill()
            leash.communicate()
        try:
            # Once more, because old devices don't hand the end of the input on.
            script = f"{self._removal()}; test ! -e {shlex.quote(self.path)}"
            ended = self._adb.shell(script, "cleaning up")
            self.left = bool(ended.code)
        except UserError:
            # The device is gone, and its own shell cleans up; the error that led here says so.
            self.left = True
