"""The real `adb` client with a server of its own, phones on the loopback, files to run on them."""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.tflite.device.daemon import Daemon
from tfgraphprune.tflite.device import Device, RunSettings

GETPROP = """#!/bin/sh
case "$1" in
ro.product.manufacturer) echo Acme;;
ro.product.model) echo "Phone 3";;
ro.build.version.release) echo 14;;
ro.build.version.sdk) echo 34;;
ro.board.platform) echo loop;;
ro.product.cpu.abilist) echo x86_64,arm64-v8a;;
*) echo;;
esac
"""
QUICK = RunSettings(runs=3, warmup=0, min_seconds=0, repeats=2, cool_seconds=0)


@pytest.fixture(scope="session")
def adb_client():
    """The client's path; `make test` installs Debian's package where it runs as root."""
    return shutil.which("adb") or pytest.skip("there is no adb client: apt-get install adb")


@pytest.fixture(scope="session")
def adb_port(adb_client, tmp_path_factory):
    """The port of a server for these tests alone, with keys of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "TMPDIR"):  # its keys and its log
            patch.setenv(name, str(home))
        for name in ("ANDROID_SERIAL", "ADB_VENDOR_KEYS", "ADB_SERVER_SOCKET"):
            patch.delenv(name, raising=False)
        subprocess.run(
            [adb_client, "-P", str(port), "start-server"], check=True, capture_output=True
        )
        yield port
        subprocess.run([adb_client, "-P", str(port), "kill-server"], capture_output=True)


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path, monkeypatch):
    """Where this machine's temporary files go; in the end, none is left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert [*folder.iterdir()] == []


@pytest.fixture
def make_phone(adb_client, adb_port, tmp_path):
    """`make_phone(**attributes)`: a daemon that the server knows; in the end, nothing is on it."""
    phones = []

    def make(wait=True, **attributes):
        phone = Daemon(tmp_path / f"phone{len(phones)}", **attributes)
        phones.append(phone)
        phone.add_command("getprop", GETPROP)
        phone.add_command("dumpsys", "#!/bin/sh\necho Thermal Status: 0\n")
        command = [adb_client, "-P", str(adb_port), "connect", phone.serial]
        subprocess.run(command, capture_output=True, timeout=20)
        deadline = time.monotonic() + 10
        while wait and state(adb_client, adb_port, phone) != "device":
            assert time.monotonic() < deadline, state(adb_client, adb_port, phone)
            time.sleep(0.05)
        return phone

    yield make
    for phone in phones:
        command = [adb_client, "-P", str(adb_port), "disconnect", phone.serial]
        subprocess.run(command, capture_output=True, timeout=20)
        phone.unplug()
        deadline = time.monotonic() + 10
        while [*phone.storage.iterdir()] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [*phone.storage.iterdir()] == []


def state(adb_client, adb_port, phone):
    """What the server says of a phone."""
    command = [adb_client, "-P", str(adb_port), "-s", phone.serial, "get-state"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return ended.stdout.strip() or ended.stderr.strip()


@pytest.fixture
def phone(make_phone):
    """One phone that works."""
    return make_phone()


@pytest.fixture
def to(adb_port):
    """`to(phone)`: how the library reaches a phone."""

    def reach(phone=None, **settings):
        settings = {"port": adb_port, "wait_seconds": 1.0, "timeout_seconds": 30.0} | settings
        return Device(serial=phone and phone.serial, **settings)

    return reach


@pytest.fixture(scope="session")
def benchmark(tmp_path_factory) -> Path:
    """The stand-in for the benchmark tool, run by this Python."""
    source = ROOT / "tests" / "tflite" / "device" / "stand_in_benchmark.py"
    path = tmp_path_factory.mktemp("tool") / "benchmark_model"
    path.write_text(f"#!{sys.executable}\n{source.read_text()}")
    return path


@pytest.fixture(scope="session")
def files(digits_model, digits, tmp_path_factory):
    """The digits network and its half as TFLite files, by name; the first is the dense one."""
    import tfgraphprune as tgp

    folder = tmp_path_factory.mktemp("files")
    graph = tgp.LayerGraph.from_model(digits_model)
    small = tgp.prune(digits_model, tgp.PruningPlan.from_keep_ratios(graph, 0.5))
    integer = {"quantization": "int8", "integer_io": True, "representative_data": digits.train}
    exports = {"dense": (digits_model, {}), "small": (small, {}), "int8": (digits_model, integer)}
    return {
        name: tgp.export_tflite(model, folder / f"{name}.tflite", **options).path
        for name, (model, options) in exports.items()
    }
