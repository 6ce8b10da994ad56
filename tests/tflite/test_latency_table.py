"""The table asks a clock once for each operator, and keeps what it was told."""

import json

import pytest

import tfgraphprune as tgp
from tfgraphprune.tflite.latency import Latency
from tfgraphprune.tflite.latency_table import LatencyTable
from tfgraphprune.tflite.operators import Operator

CONV = Operator("conv", 8, 8, 8, 16, (3, 3), padding="same")


def _latency(ms):
    return Latency(ms, ms, ms, 1, (ms,))


class Clock:
    """Files take as long as they are large; counts what it is asked."""

    def __init__(self):
        self.asked = 0

    def __call__(self, paths):
        self.asked += len(paths)
        sizes = {name: path.stat().st_size / 1000 for name, path in paths.items()}
        return {name: Latency(ms, ms, ms, 1, (ms,)) for name, ms in sizes.items()}


def test_what_is_known_is_not_measured_again(tmp_path):
    clock, file = Clock(), tmp_path / "table.json"
    table = LatencyTable(clock, "phone", file, progress=False)
    other = Operator("conv", 8, 8, 8, 32, (3, 3), padding="same")
    first, second, again = table.milliseconds([CONV, other, CONV])
    assert 0 < first == again < second and clock.asked == 3 == len(table)
    assert LatencyTable(clock, "phone", file).milliseconds([other, CONV]) == [second, first]
    assert clock.asked == 3
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]


def test_the_time_to_start_a_network_is_not_the_operators():
    def clock(paths):
        return {name: _latency(5.0 + ("conv" in name)) for name in paths}

    assert LatencyTable(clock, progress=False).milliseconds([CONV]) == [pytest.approx(1.0)]


def test_every_size_is_its_own_entry():
    table = LatencyTable(Clock(), progress=False)
    table.milliseconds(
        [
            CONV,
            Operator("conv", 8, 8, 8, 16, (3, 3), padding="valid"),
            Operator("conv", 8, 8, 8, 16, (3, 3), (2, 1), padding="same"),
            Operator("conv", 8, 8, 8, 16, (3, 3), dilations=(2, 2), padding="same"),
            Operator("conv", 8, 8, 8, 16, (3, 3), padding="same", blocks=2),
            Operator("conv", 8, 4, 8, 16, (3, 3), padding="same"),
            Operator("depthwise", 8, 8, 8, 16, (3, 3), padding="same"),
        ]
    )
    assert len(table) == 1 + 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "is no latency table"),
        (json.dumps([1]), "is no latency table"),
        (json.dumps({"device": "tablet", "milliseconds": {}}), "of tablet, not of phone"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, content, message):
    file = tmp_path / "table.json"
    file.write_text(content)
    with pytest.raises(tgp.UserError, match=message):
        LatencyTable(Clock(), "phone", file)
    assert file.read_text() == content


def test_real_times_are_positive_and_rise_with_the_work():
    table = LatencyTable(progress=False)
    small, large = table.milliseconds(
        [CONV, Operator("conv", 64, 64, 64, 64, (3, 3), padding="same")]
    )
    assert 0 < small < large
