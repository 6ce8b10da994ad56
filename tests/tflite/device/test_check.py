"""The whole way on a phone that isn't one: real `adb`, a daemon on the loopback, LiteRT behind."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import tf_keras as keras

import tfgraphprune as tgp
from tests.support import fresh_environment
from tests.tflite.device.conftest import QUICK
from tfgraphprune.tflite import host_latency, latency_ratio
from tfgraphprune.tflite.device import check_on_device, device_latency, facts
from tfgraphprune.tflite.device.adb import connect
from tfgraphprune.tflite.device.folder import DeviceFolder
from tfgraphprune.tflite.device.program import check_files


@pytest.fixture
def check(phone, to, benchmark, files):
    """`check(**changes)`: the dense network on the phone, on the quick."""

    def run(paths=None, **changes):
        options = {"benchmark": benchmark, "device": to(phone), "settings": QUICK} | changes
        return check_on_device(paths or {"dense": files["dense"]}, **options)

    return run


def test_export_push_run_pull_parity_report(check, files, digits, phone):
    said = []
    report = check(files, inputs=digits.test[0], profile=True, progress=said.append)
    dense, small, _ = report.files
    assert report.device.name == "Acme Phone 3" and report.device.api_level == 34
    assert [file.name for file in report.files] == ["dense", "small", "int8"]
    for file in report.files:
        assert file.parity.max_error == 0 and file.parity.examples == 8
        assert file.parity.agreement == 1
        assert (file.latency.runs, file.runs) == (2, 3) and file.latency.median_ms > 0
        assert (file.init_ms, file.first_ms, file.memory_mb) == (1.5, 0.25, 4.5)
        assert [str(each) for each in file.delegations] == [
            "TfLiteXNNPackDelegate: 9 of 11 nodes, 3 parts"
        ]
        assert [each.name for each in file.profile] == [
            "[logits, of the head]:7",
            "[probabilities]:8",
        ]
    assert dense.ratio == 1 and small.bytes < dense.bytes
    assert small.ratio == latency_ratio(small.latency, dense.latency)
    assert report.notes == () and report.check(max_error=0.0) is report
    assert len(phone.pushed) == 1 + 3 + 8 * 3
    turns = [line.split()[1] for line in said[3:]]
    assert turns == ["dense,", "small,", "int8,", "int8,", "small,", "dense,"]
    assert json.loads(json.dumps(report.to_dict()))["files"][1]["name"] == "small"
    assert "small: TfLiteXNNPackDelegate: 9 of 11 nodes" in report.table()


def test_latency_in_the_style_of_the_host(phone, to, benchmark, files):
    paths = {name: files[name] for name in ("dense", "small")}
    found = device_latency(paths, benchmark=benchmark, device=to(phone), settings=QUICK)
    here = host_latency(paths, runs=2)
    assert found.keys() == here.keys()
    assert all(type(found[name]) is type(here[name]) for name in here)
    assert latency_ratio(found["small"], found["dense"]) > 0


def test_a_file_given_twice_is_pushed_once(check, files, phone):
    check({"one": files["dense"], "two": files["dense"]})
    assert len(phone.pushed) == 2  # and the tool


def test_litert_prints_another_dialect(check, monkeypatch):
    monkeypatch.setenv("STAND_IN", "litert")
    file = check().files[0]
    assert (file.init_ms, file.first_ms, file.memory_mb) == (1.5, 0.25, 4.5)
    assert file.latency.median_ms > 0


def test_a_tool_that_lists_no_flags_is_taken_for_the_old_one(check, digits, monkeypatch):
    monkeypatch.setenv("STAND_IN", "bare")
    assert check(inputs=digits.test[0], examples=1).files[0].parity.max_error == 0


def test_without_exit_codes_of_the_shell(make_phone, to, benchmark, files, monkeypatch, digits):
    old = make_phone(features=("stat_v2",))
    run = {"benchmark": benchmark, "device": to(old), "settings": QUICK, "inputs": digits.test[0]}
    report = check_on_device({"dense": files["dense"]}, **run)
    assert report.files[0].parity.max_error == 0
    monkeypatch.setenv("STAND_IN", "fails")
    with pytest.raises(tgp.UserError, match="exit code 1"):
        check_on_device({"dense": files["dense"]}, **run)


def test_the_gpu_that_takes_nothing_is_noted(check, monkeypatch):
    settings = replace(QUICK, backend="gpu")
    report = check(settings=settings)
    assert report.notes == () and report.files[0].delegations[0].delegate == "TfLiteGpuDelegateV2"
    monkeypatch.setenv("STAND_IN", "cpu_only")
    assert "may be those of the CPU" in check(settings=settings).notes[0]


def test_a_throttled_phone_is_left_to_cool(check, phone, monkeypatch, tmp_path):
    monkeypatch.setattr(facts, "_POLL_SECONDS", 0.01)
    count = tmp_path / "asked"
    phone.add_command(
        "dumpsys",
        f"#!/bin/sh\necho . >> {count}\n"
        f"test $(wc -l < {count}) -gt 3 && echo Thermal Status: 0 || echo Thermal Status: 2\n",
    )
    said = []
    assert check(settings=replace(QUICK, cool_seconds=20), progress=said.append).notes == ()
    assert len(count.read_text().split()) == 3 + 2
    assert sum("thermal status 2" in line for line in said) == 1
    count.unlink()
    assert "2 processes started while" in check(settings=QUICK).notes[0]


def test_names_and_serials_run_nothing(check, files, phone, to, tmp_path, benchmark, digits):
    folder = tmp_path / "-a $(touch pwned) `touch pwned` 'b\" ; touch pwned"
    folder.mkdir()
    hostile = folder / "$(touch pwned) & touch pwned; '.tflite"
    hostile.write_bytes(files["dense"].read_bytes())
    tool = folder / "benchmark; touch pwned"
    tool.write_bytes(benchmark.read_bytes())
    library = folder / "lib$(touch pwned)'; touch pwned.so"
    library.write_bytes(b"library")
    settings = replace(QUICK, backend="npu", libraries=(library,))
    with pytest.raises(tgp.UserError, match="is not attached"):
        check(device=replace(to(phone), serial="$(touch pwned)"))
    report = check(
        {str(hostile): hostile}, benchmark=tool, settings=settings, inputs=digits.test[0]
    )
    assert report.files[0].name == str(hostile)
    assert [*tmp_path.rglob("pwned")] == [] and not os.path.exists("pwned")


def test_parity_that_fails_is_told_after_all_is_done(
    phone, to, benchmark, files, digits, tmp_path, monkeypatch
):
    monkeypatch.setenv("STAND_IN", "off")
    np.savez(tmp_path / "images.npz", image=digits.test[0])
    shown = []
    with pytest.raises(tgp.ToleranceError, match="standard deviations"):
        check_files(
            [files["dense"]], benchmark=benchmark, devices=[to(phone)], settings=QUICK,
            inputs=tmp_path / "images.npz", json=tmp_path / "r.json", show=shown.append,
        )  # fmt: skip
    found = json.loads((tmp_path / "r.json").read_text())["devices"][0]["files"][0]
    assert found["parity"]["max_error"] > 0.1 and len(shown) == 1


def test_the_program_on_two_phones(make_phone, adb_port, benchmark, files, digits, tmp_path):
    phones = make_phone(), make_phone()
    np.save(tmp_path / "images.npy", digits.test[0])
    command = [
        sys.executable, "-m", "tfgraphprune.cli.check_on_device", f"--adb_port={adb_port}",
        f"--tflite={files['dense']}", f"--tflite={files['small']}", f"--benchmark={benchmark}",
        f"--inputs={tmp_path / 'images.npy'}", "--json=r.json", "--runs=2", "--repeats=1",
        "--min_seconds=0", "--cool_seconds=0",
    ]  # fmt: skip
    run = {"capture_output": True, "text": True, "cwd": tmp_path, "env": fresh_environment()}
    ended = subprocess.run(command, **run)
    assert ended.returncode == 1 and "Several devices are attached" in ended.stderr
    assert not (tmp_path / "r.json").exists()
    ended = subprocess.run([*command, *(f"--serial={each.serial}" for each in phones)], **run)
    assert ended.returncode == 0, ended.stderr
    devices = json.loads((tmp_path / "r.json").read_text())["devices"]
    assert [each["device"]["serial"] for each in devices] == [each.serial for each in phones]
    assert ended.stdout.count("Acme Phone 3, Android 14, loop") == 2


def test_without_sha256sum_copies_are_compared_by_size(check, phone):
    phone.add_command("sha256sum", "#!/bin/sh\nexit 127\n")  # as on old Androids
    assert check().files[0].latency.median_ms > 0
    phone.add_command("wc", "#!/bin/sh\necho 5\n")
    with pytest.raises(tgp.UserError, match="differs from it"):
        check()


def test_several_inputs_by_name_and_several_outputs(check, tmp_path):
    left, right = keras.Input((4,), name="left"), keras.Input((3, 2), name="right")
    joined = keras.layers.Concatenate()([left, keras.layers.Flatten()(right)])
    outputs = [keras.layers.Dense(2, name="a")(joined), keras.layers.Dense(5, name="b")(joined)]
    path = tgp.export_tflite(keras.Model([left, right], outputs), tmp_path / "m.tflite").path
    random = np.random.default_rng(0)
    inputs = {"right": random.normal(size=(3, 3, 2)), "left": random.normal(size=(3, 4))}
    parity = check({"m": path}, inputs=inputs).files[0].parity
    assert (parity.max_error, parity.examples) == (0, 3)


def test_five_megabytes_there_and_back(phone, to, tmp_path):
    content = np.random.default_rng(0).bytes(5_000_003)
    (tmp_path / "big").write_bytes(content)
    with DeviceFolder(connect(to(phone))) as folder:
        remote = folder.put(tmp_path / "big")
        assert folder.read(remote) == content
        ended = folder.run(["sh", "-c", "echo out; echo err >&2; exit 7"], "trying")
        assert (ended.code, ended.stdout.strip(), ended.stderr.strip()) == (7, "out", "err")
    assert not folder.left


def test_a_killed_program_leaves_nothing_on_the_phone(phone, to, adb_port):
    code = (
        "import time\n"
        "from tfgraphprune.tflite.device.adb import Device, connect\n"
        "from tfgraphprune.tflite.device.folder import DeviceFolder\n"
        f"with DeviceFolder(connect(Device({phone.serial!r}, port={adb_port}))):\n"
        "    print('there', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=fresh_environment()
    )
    with process:
        assert process.stdout.readline() == b"there\n"
        assert len([*phone.storage.iterdir()]) == 1
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while [*phone.storage.iterdir()] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [*phone.storage.iterdir()] == []
