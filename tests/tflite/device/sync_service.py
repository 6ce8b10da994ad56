"""The file service of the ADB daemon for tests, versions 1 and 2: status, lists, both ways."""

import contextlib
import os
import stat
import struct
from pathlib import Path

CHUNK = 64 * 1024


class Gone(Exception):
    """The host, or the device, hung up."""


class Sync:
    """Serves one stream of a device."""

    def __init__(self, device, stream):
        self._device, self._stream = device, stream

    def serve(self):
        """Answer requests until the host is done."""
        while True:
            name, length = struct.unpack("<4sI", self._stream.read(8))
            if name == b"QUIT":
                return
            path = self._device.local(self._stream.read(length).decode())
            if name in (b"STA2", b"LST2"):
                self._stream.send(_stat_v2(name, path, os.stat if name == b"STA2" else os.lstat))
            elif name == b"STAT":
                with contextlib.suppress(OSError):
                    found = os.lstat(path)
                    fields = found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime)
                    self._stream.send(struct.pack("<4s3I", name, *fields))
                    continue
                self._stream.send(struct.pack("<4s3I", name, 0, 0, 0))
            elif name in (b"LIST", b"LIS2"):
                self._list(name, path)
            elif name == b"RECV":
                self._give(path)
            elif name == b"SEND":
                self._take(path)
            else:
                self._fail(f"unknown command {name!r}")
                return

    def _list(self, name, path):
        for each in sorted(os.listdir(path)) if os.path.isdir(path) else []:
            whole, text = os.path.join(path, each), each.encode()
            if name == b"LIS2":
                row = _stat_v2(b"DNT2", whole, os.lstat)
            else:
                found = os.lstat(whole)
                fields = found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime)
                row = struct.pack("<4s3I", b"DENT", *fields)
            self._stream.send(row + struct.pack("<I", len(text)) + text)
        empty = 72 if name == b"LIS2" else 16
        self._stream.send(b"DONE" + bytes(empty))

    def _give(self, path):
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            self._fail(f"open failed: {error.strerror}")
            return
        for start in range(0, len(content), CHUNK):
            part = content[start : start + CHUNK]
            self._stream.send(struct.pack("<4sI", b"DATA", len(part)) + part)
        self._stream.send(struct.pack("<4sI", b"DONE", 0))

    def _take(self, path):
        path, _, mode = path.rpartition(",")
        taken, problem = 0, ""
        used = sum(f.stat().st_size for f in self._device.storage.rglob("*") if f.is_file())
        try:
            file = open(path, "wb")  # noqa: SIM115
        except OSError as error:
            file, problem = open(os.devnull, "wb"), f"couldn't create file: {error.strerror}"  # noqa: SIM115
        with file:
            while True:
                name, length = struct.unpack("<4sI", self._stream.read(8))
                if name == b"DONE":
                    break
                data = self._stream.read(length)
                taken += length
                if self._device.drop_after is not None and taken > self._device.drop_after:
                    file.write(data)
                    self._device.unplug()
                    raise Gone
                if used + taken > self._device.space:
                    problem = problem or "write failed: No space left on device"
                elif not problem:
                    file.write(data)
        self._device.pushed.append(taken)
        if problem:
            self._fail(problem)
            return
        os.chmod(path, stat.S_IMODE(int(mode)))
        self._stream.send(struct.pack("<4sI", b"OKAY", 0))

    def _fail(self, text):
        self._stream.send(struct.pack("<4sI", b"FAIL", len(text)) + text.encode())


def _stat_v2(name, path, function):
    try:
        s = function(path)
    except OSError as error:
        return struct.pack("<4sI2Q4I4Q", name, error.errno, *[0] * 10)
    times = int(s.st_atime), int(s.st_mtime), int(s.st_ctime)
    owner = s.st_mode, s.st_nlink, s.st_uid, s.st_gid
    return struct.pack("<4sI2Q4I4Q", name, 0, s.st_dev, s.st_ino, *owner, s.st_size, *times)
