"""Latency on this machine: samples that are paired in time, several numbers of threads."""

import pytest

import tfgraphprune as tgp
from tfgraphprune.tflite import Latency, host_latency, host_latency_by_threads, latency_ratio


def test_latency_is_paired(files):
    paths = {kind: files[kind].path for kind in ("float32", "float16")}
    latency = host_latency(paths, runs=20, warmup=2)
    assert latency["float32"].runs == len(latency["float32"].samples_ms) == 20
    assert 0 < latency["float32"].p10_ms <= latency["float32"].median_ms
    slow = Latency(4, 4, 4, 3, (2.0, 4.0, 9.0))
    fast = Latency(2, 2, 2, 3, (1.0, 2.0, 3.0))
    assert latency_ratio(slow, fast) == 2


def test_several_numbers_of_threads(files):
    paths = {kind: files[kind].path for kind in ("float32", "int8")}
    found = host_latency_by_threads(paths, (1, 2), runs=5, warmup=1)
    assert [*found] == [1, 2] and [*found[2]] == ["float32", "int8"]
    assert all(each.runs == 5 for row in found.values() for each in row.values())


WRONG = {
    "no files": ({"paths": {}}, "at least one TFLite file"),
    "no threads": ({"threads": ()}, "different numbers, at least one"),
    "twice": ({"threads": (2, 2)}, "different numbers"),
    "zero threads": ({"threads": (0, 1)}, "threads must be at least 1"),
    "zero runs": ({"runs": 0}, "runs must be at least 1"),
}


@pytest.mark.parametrize(("settings", "message"), WRONG.values(), ids=WRONG)
def test_bad_settings_are_refused(files, settings, message):
    with pytest.raises(tgp.UserError, match=message):
        host_latency_by_threads(**{"paths": {"int8": files["int8"].path}, **settings})
