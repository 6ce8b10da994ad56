"""What goes wrong with phones: one sentence each, and nothing left on either side.

That the phone's storage is empty afterwards is asserted by the fixture that makes it.
"""

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tfgraphprune as tgp
from tests.tflite.device.conftest import QUICK
from tfgraphprune.tflite.device import Device, check_on_device
from tfgraphprune.tflite.device.program import check_files


def elf(machine):
    return b"\x7fELF\x02\x01\x01" + bytes(11) + machine.to_bytes(2, "little") + bytes(44)


@pytest.fixture
def refused(to, benchmark, files):
    """`refused(phone, **changes)`: the one sentence."""

    def run(phone=None, **changes):
        options = {"benchmark": benchmark, "device": to(phone), "settings": QUICK} | changes
        with pytest.raises(tgp.UserError) as caught:
            check_on_device(options.pop("paths", {"dense": files["dense"]}), **options)
        sentence = str(caught.value)
        assert "\n" not in sentence and sentence.endswith(".")
        return sentence

    return run


def test_no_client(refused):
    assert "apt-get install adb" in refused(device=Device(adb="no-such-adb"))


def test_no_device(refused):
    assert refused().startswith("No Android device is attached")


def test_a_client_that_fails(refused, tmp_path):
    client = tmp_path / "adb"
    client.write_text("#!/bin/sh\necho cannot bind >&2\nexit 1\n")
    client.chmod(0o755)
    assert "(cannot bind)" in refused(device=Device(adb=str(client)))


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"authorise": False}, "accept the question about USB debugging"),
        ({"answers": False}, "is offline"),
    ],
    ids=["unauthorised", "offline"],
)
def test_a_phone_that_is_not_ready(refused, make_phone, attributes, sentence):
    assert sentence in refused(make_phone(wait=False, **attributes))


def test_a_phone_that_asks_first(make_phone, to, benchmark, files):
    phone = make_phone(authorise=True)
    run = {"benchmark": benchmark, "device": to(phone), "settings": QUICK}
    assert check_on_device({"dense": files["dense"]}, **run).files[0].latency.median_ms > 0


TOOLS = {
    "missing": (None, "There is no benchmark tool"),
    "for another processor": (elf(40), "is built for armeabi-v7a, but"),
    "broken": (elf(62), "can't run the benchmark tool"),
    "another program": (b"#!/bin/sh\necho '--name= of something' >&2\n", "has no flag --graph"),
}


@pytest.mark.parametrize(("content", "sentence"), TOOLS.values(), ids=TOOLS)
def test_a_tool_that_can_not_be_used(refused, phone, tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "tool").write_bytes(content)
    assert sentence in refused(phone, benchmark=tmp_path / "tool")


MODES = {
    "fails": ("fails", "failed on the device .* with exit code 1 "),
    "no timings": ("quiet", "printed no timings"),
    "no outputs": ("full", "wrote no outputs"),
    "no outputs the second time": ("once", "wrote no outputs"),
    "no inputs": ("litert", "can't be given inputs"),
}


@pytest.mark.parametrize(("mode", "sentence"), MODES.values(), ids=MODES)
def test_a_tool_that_fails(phone, to, benchmark, files, digits, monkeypatch, mode, sentence):
    monkeypatch.setenv("STAND_IN", mode)
    run = {"benchmark": benchmark, "device": to(phone), "settings": QUICK}
    with pytest.raises(tgp.UserError, match=sentence):
        check_on_device({"dense": files["dense"]}, inputs=digits.test[0], examples=2, **run)


def test_no_profile_from_litert(refused, phone, monkeypatch):
    monkeypatch.setenv("STAND_IN", "litert")
    assert "writes no op profile" in refused(phone, profile=True)


@pytest.mark.parametrize("space", [100, 10_000])
def test_full_storage(refused, make_phone, space):
    assert "storage of the device" in refused(make_phone(space=space))


def test_a_phone_whose_folder_can_not_be_made(refused, phone):
    phone.add_command("mkdir", "#!/bin/sh\necho 'mkdir: No space left on device' >&2\nexit 1\n")
    assert "is full" in refused(phone)
    phone.add_command("mkdir", "#!/bin/sh\necho 'mkdir: Read-only file system' >&2\nexit 1\n")
    assert "Read-only" in refused(phone)


@pytest.mark.parametrize("bytes_before", [0, 8_000], ids=["in the tool", "in the file"])
def test_a_phone_that_vanishes_while_it_is_given_a_file(refused, make_phone, bytes_before):
    phone = make_phone(drop_after=bytes_before)
    sentence = refused(phone)
    assert f"The device {phone.serial} went away while copying" in sentence


def test_a_phone_that_vanishes_while_it_runs(refused, phone, monkeypatch):
    monkeypatch.setenv("STAND_IN", "sleeps")

    def unplug():
        while not any("--graph=" in command for command in phone.commands):
            time.sleep(0.01)
        time.sleep(0.2)  # until the tool sleeps
        phone.unplug()

    watcher = threading.Thread(target=unplug, daemon=True)
    watcher.start()
    started = time.monotonic()
    assert "went away while running the benchmark tool" in refused(phone)
    assert time.monotonic() - started < 50
    watcher.join()


def test_a_run_that_takes_too_long_is_ended(refused, phone, monkeypatch):
    monkeypatch.setenv("STAND_IN", "sleeps")
    settings = replace(QUICK, timeout_seconds=1.0)
    assert "took more than 1 s while running" in refused(phone, settings=settings)
    inside = str(phone.storage).encode()
    deadline = time.monotonic() + 10
    while running := [p for p in commands() if inside in p]:
        assert time.monotonic() < deadline, running
        time.sleep(0.1)


def commands():
    """The command line of every process here."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            continue


def test_nnapi_only_for_old_androids(refused, phone):
    text = (phone.root / "bin" / "getprop").read_text()
    phone.add_command("getprop", text.replace("echo 34", "echo 35"))
    sentence = refused(phone, settings=replace(QUICK, backend="nnapi"))
    assert "NNAPI is for Androids before 15" in sentence


BAD_INPUTS = {
    "another shape": (np.zeros((4, 9, 9, 1)), "takes numbers of shape"),
    "text": (np.full((4, 8, 8, 1), "a"), "takes numbers of shape"),
    "nothing": (np.zeros((0, 8, 8, 1)), "give at least as many"),
    "other names": ({"a": np.zeros((4, 8, 8, 1)), "b": np.zeros(4)}, "takes the inputs image"),
}


@pytest.mark.parametrize(("inputs", "sentence"), BAD_INPUTS.values(), ids=BAD_INPUTS)
def test_bad_inputs_are_refused_before_a_phone_is_looked_for(refused, inputs, sentence):
    assert sentence in refused(device=Device(adb="no-such-adb"), inputs=inputs)


def test_bad_files_are_refused_before_a_phone_is_looked_for(refused, tmp_path):
    nowhere = Device(adb="no-such-adb")
    (tmp_path / "broken.tflite").write_bytes(b"no")
    assert "is not a TFLite file" in refused(
        device=nowhere, paths={"a": tmp_path / "broken.tflite"}
    )
    assert "does not exist" in refused(device=nowhere, paths={"a": tmp_path / "none.tflite"})
    assert "is empty" in refused(device=nowhere, paths={})
    assert "examples must be" in refused(device=nowhere, examples=0)


def test_bad_files_of_the_program(files, tmp_path):
    (tmp_path / "there.json").write_text("mine")
    (tmp_path / "text.npy").write_text("no")
    np.savez(tmp_path / "empty.npz")
    cases = {
        "exists": {"json": tmp_path / "there.json"},
        "make it first": {"json": tmp_path / "none" / "r.json"},
        "Can't read examples": {"inputs": tmp_path / "text.npy"},
        "at least one": {"inputs": tmp_path / "empty.npz"},
    }
    for sentence, options in cases.items():
        with pytest.raises(tgp.UserError, match=sentence):
            check_files(
                [files["dense"]],
                benchmark="b",
                devices=[Device(adb="none")],
                settings=QUICK,
                **options,
            )
    assert (tmp_path / "there.json").read_text() == "mine"
