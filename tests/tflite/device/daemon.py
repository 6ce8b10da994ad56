"""A small ADB daemon on the loopback, so that the real `adb` client can be tested without a phone.

It speaks shell v1 and v2 and sync v1 and v2. Its file system is a folder: `/data/local/tmp` in
commands and paths is replaced by a folder below it, and what a phone's shell has beside POSIX
stands in the folder `bin`.
"""

import contextlib
import os
import queue
import signal
import socket
import struct
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

from tests.tflite.device.sync_service import CHUNK, Gone, Sync

VERSION, MAX_DATA = 0x01000001, 256 * 1024
STORAGE = "/data/local/tmp"
FEATURES = ("shell_v2", "cmd", "stat_v2", "ls_v2", "fixed_push_mkdir")
TOKEN, KEY = 1, 3


@dataclass
class Daemon:
    """One device.

    Attributes:
        root: the folder that stands for its file system; made if missing.
        features: what it can, as its banner says; without shell_v2 there are no exit codes.
        authorise: False never accepts a key, None asks for none, True accepts the first one.
        answers: False lets hosts connect and says nothing, like a hung device.
        space: bytes that fit on its storage.
        drop_after: bytes of a push after which the cable comes off, for good.
    """

    root: Path
    features: tuple[str, ...] = FEATURES
    authorise: bool | None = None
    answers: bool = True
    space: int = 1 << 40
    drop_after: int | None = None
    commands: list[str] = field(default_factory=list)
    pushed: list[int] = field(default_factory=list)

    def __post_init__(self):
        self.storage.mkdir(parents=True, exist_ok=True)
        (self.root / "bin").mkdir(exist_ok=True)
        self._sockets = [socket.create_server(("127.0.0.1", 0))]
        self.serial = f"127.0.0.1:{self._sockets[0].getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def storage(self) -> Path:
        """Where `/data/local/tmp` is on this machine."""
        return self.root / "data" / "local" / "tmp"

    def add_command(self, name, text):
        """Put a program where the device's shell finds it."""
        path = self.root / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def local(self, text):
        """A path or command with the device's storage replaced by the folder."""
        return text.replace(STORAGE, str(self.storage))

    def unplug(self):
        """Hang up, and take no more calls."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._sockets[0].accept()
                self._sockets.append(connection)
                if self.answers:
                    threading.Thread(target=Host(self, connection).serve, daemon=True).start()


class Host:
    """One connection: packets in and out, and the streams that they belong to."""

    def __init__(self, device, connection):
        self.device = device
        self._connection = connection
        self._lock = threading.Lock()
        self._streams = {}

    def serve(self):
        """Answer until the other side, or the device, hangs up."""
        handlers = {b"CNXN": self._connect, b"AUTH": self._authorise, b"OPEN": self._open}
        with contextlib.suppress(OSError, Gone):
            while True:
                name, first, second, length, _, _ = struct.unpack("<4s5I", self._read(24))
                data = self._read(length)
                if name in handlers:
                    handlers[name](first, data)
                elif second in self._streams:
                    self._streams[second].take(name, data)
        for stream in [*self._streams.values()]:
            stream.take(b"CLSE", b"")

    def send(self, name, first, second, data=b""):
        """Write one packet."""
        magic = struct.unpack("<I", name)[0] ^ 0xFFFFFFFF
        with self._lock:
            self._connection.sendall(
                struct.pack("<4s5I", name, first, second, len(data), sum(data), magic) + data
            )

    def _read(self, count):
        parts = b""
        while len(parts) < count:
            part = self._connection.recv(count - len(parts))
            if not part:
                raise Gone
            parts += part
        return parts

    def _connect(self, *_):
        if self.device.authorise is not None:
            self.send(b"AUTH", TOKEN, 0, os.urandom(20))
            return
        features = ",".join(self.device.features)
        self.send(b"CNXN", VERSION, MAX_DATA, f"device::features={features}".encode())

    def _authorise(self, kind, _):
        if kind == KEY and self.device.authorise:
            self.device.authorise = None
            self._connect()
        elif kind != KEY:  # a signature by a key that was never accepted
            self._connect()

    def _open(self, remote, data):
        stream = Stream(self, len(self._streams) + 1, remote)
        self._streams[stream.number] = stream
        self.send(b"OKAY", stream.number, remote)
        service = data.rstrip(b"\0").decode()
        run = self._sync if service == "sync:" else self._shell
        threading.Thread(target=self._guarded, args=(run, stream, service), daemon=True).start()

    def _guarded(self, run, stream, service):
        with contextlib.suppress(Gone, OSError):
            run(stream, service)
        with contextlib.suppress(OSError):
            self.send(b"CLSE", stream.number, stream.remote)

    def _sync(self, stream, _):
        Sync(self.device, stream).serve()

    def _shell(self, stream, service):
        kind, _, command = service.partition(":")
        framed = "v2" in kind.split(",")
        self.device.commands.append(command)
        environment = {**os.environ, "PATH": f"{self.device.root}/bin:{os.environ['PATH']}"}
        process = subprocess.Popen(
            ["/bin/sh", "-c", self.device.local(command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if framed else subprocess.STDOUT,
            cwd=self.device.root,
            env=environment,
            bufsize=0,
            start_new_session=True,
        )
        threading.Thread(target=_feed, args=(process, stream, framed), daemon=True).start()
        outputs = [(1, process.stdout), *([(2, process.stderr)] if framed else [])]
        pumps = [threading.Thread(target=_pump, args=(stream, framed, *o)) for o in outputs]
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        code = process.wait()
        if framed:
            stream.send(struct.pack("<BIB", 3, 1, code & 0xFF))


def _pump(stream, framed, number, pipe):
    with contextlib.suppress(Gone, OSError):
        while data := pipe.read(CHUNK):
            if framed:
                data = struct.pack("<BI", number, len(data)) + data
            else:  # a terminal's line ends
                data = data.replace(b"\n", b"\r\n")
            stream.send(data)


def _feed(process, stream, framed):
    """The host's input; when the host is gone the shell is told as a phone's daemon tells it."""
    try:
        while True:
            if not framed:
                process.stdin.write(stream.read(1))
                continue
            number, length = struct.unpack("<BI", stream.read(5))
            data = stream.read(length)
            if number == 0:
                process.stdin.write(data)
            elif number == 4:
                process.stdin.close()
    except (Gone, OSError, ValueError):
        if process.poll() is None:
            process.send_signal(signal.SIGHUP)
        process.stdin.close()


class Stream:
    """Bytes both ways; a packet that we send waits until the one before was acknowledged."""

    def __init__(self, host, number, remote):
        self.number, self.remote = number, remote
        self._host, self._rest, self._gone = host, b"", False
        self._received, self._free = queue.Queue(), threading.Semaphore(1)

    def take(self, name, data):
        """Handle a packet for this stream."""
        if name == b"WRTE":
            self._received.put(data)
            self._host.send(b"OKAY", self.number, self.remote)
        elif name == b"CLSE":
            self._gone = True
            self._received.put(None)
        if name != b"WRTE":
            self._free.release()

    def send(self, data):
        """Write all bytes."""
        for start in range(0, len(data), MAX_DATA):
            self._free.acquire()
            if self._gone:
                self._free.release()
                raise Gone
            self._host.send(b"WRTE", self.number, self.remote, data[start : start + MAX_DATA])

    def read(self, count):
        """Read exactly so many bytes."""
        while len(self._rest) < count:
            part = self._received.get()
            if part is None:
                self._received.put(None)
                raise Gone
            self._rest += part
        data, self._rest = self._rest[:count], self._rest[count:]
        return data
