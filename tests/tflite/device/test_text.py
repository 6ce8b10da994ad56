"""What the tools print, and what they are told: without any phone."""

import pytest

import tfgraphprune as tgp
from tfgraphprune.cli import check_on_device as program
from tfgraphprune.tflite.device import BACKENDS, RunSettings
from tfgraphprune.tflite.device.adb import Ended
from tfgraphprune.tflite.device.benchmark import (
    Tool,
    command_line,
    parity_line,
    profile_flags,
    read_help,
)
from tfgraphprune.tflite.device.output import (
    Delegation,
    Timing,
    parse_delegations,
    parse_timing,
)
from tfgraphprune.tflite.device.profile import OpTime, parse_profile

CLASSIC = """INFO: Loaded model [/data/local/tmp/m.tflite]
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds
INFO: count=9 first=64791 curr=57000 min=56000 max=64791 avg=57758.2 std=2000
INFO: count=50 first=58154 curr=53809 min=53077 max=60727 avg=55043.2 std=1562
INFO: Inference timings in us: Init: 18777, First inference: 64791, Warmup (avg): 57758.2, \
Inference (avg): 55043.2
INFO: Memory footprint delta from the start of the tool (MB): init=24.1 overall=31.5
"""
LITERT = """INFO: [benchmark_litert_model.h:58] ========== BENCHMARK RESULTS ==========
INFO: [benchmark_litert_model.h:59] Model initialization: 12.34 ms
INFO: [benchmark_litert_model.h:60] Warmup (first):       2.50 ms
INFO: [benchmark_litert_model.h:62] Warmup (avg):         1.50 ms (4 runs)
INFO: [benchmark_litert_model.h:64] Inference (avg):      1.23 ms (50 runs)
INFO: [benchmark_litert_model.h:68] Inference (min):      1.20 ms
INFO: [benchmark_litert_model.h:90] Overall footprint:    8.25 MB
"""
TIMINGS = {
    "TFLite": (CLASSIC, Timing(55.0432, 50, 18.777, 64.791, 31.5)),
    "TFLite without counts": (
        "Inference timings in us: Init: 1e+06, First inference: 5, Warmup (avg): 3, "
        "Inference (avg): 4.5e+06",
        Timing(4500.0, 0, 1000.0, 0.005),
    ),
    "TFLite with a median": (
        "count=50 first=9 curr=9 min=8 max=10 avg=9.5 std=1 p5=8 median=9 p95=10",
        Timing(0.009, 50),
    ),
    "one run": ("count=1 curr=812", Timing(0.812, 1)),
    "runs that are all the same": ("count=3 curr=7 (all same)", Timing(0.007, 3)),
    "LiteRT": (LITERT, Timing(1.23, 50, 12.34, 2.5, 8.25)),
    "LiteRT with counts": ("count=50 avg=1234.5\n" + LITERT, Timing(1.2345, 50, 12.34, 2.5, 8.25)),
}


@pytest.mark.parametrize(("text", "timing"), TIMINGS.values(), ids=TIMINGS)
def test_timings(text, timing):
    assert parse_timing(text) == timing


@pytest.mark.parametrize("text", ["", "count=0", "ERROR: failed"])
def test_no_timings(text):
    with pytest.raises(tgp.UserError, match="no timings"):
        parse_timing(text)


DELEGATIONS = {
    "two, one of them told twice": (
        "Replacing 29 out of 65 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 3 "
        "partitions for the whole graph.\n"
        "VERBOSE: Replacing 25 out of 37 node(s) with delegate (TfLiteXNNPackDelegate) node, "
        "yielding 2 partitions for subgraph 0.\n"
        "VERBOSE: Replacing 25 out of 37 node(s) with delegate (TfLiteXNNPackDelegate) node, "
        "yielding 2 partitions for subgraph 0.\n",
        (
            Delegation("TfLiteGpuDelegateV2", 29, 65, 3),
            Delegation("TfLiteXNNPackDelegate", 25, 37, 2),
        ),
    ),
    "whole": (
        "Explicitly applied GPU delegate, and the model graph will be completely executed by the "
        "delegate.",
        (Delegation("GPU", None, None, 1),),
    ),
    "part": (
        "INFO: Explicitly applied EXTERNAL delegate, and the model graph will be partially "
        "executed by the delegate w/ 2 delegate kernels.",
        (Delegation("EXTERNAL", None, None, None),),
    ),
    "none": (
        "Though GPU delegate is explicitly applied, the model graph will not be executed by the "
        "delegate.",
        (),
    ),
}


@pytest.mark.parametrize(("text", "found"), DELEGATIONS.values(), ids=DELEGATIONS)
def test_delegations(text, found):
    assert parse_delegations(text) == found


def test_delegations_in_words():
    told = [str(each) for _, found in DELEGATIONS.values() for each in found]
    assert told == [
        "TfLiteGpuDelegateV2: 29 of 65 nodes, 3 parts",
        "TfLiteXNNPackDelegate: 25 of 37 nodes, 2 parts",
        "GPU: all nodes",
        "EXTERNAL: some nodes",
    ]


PROFILE = """Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
AllocateTensors, 0, 1.9, 1.9, 95.0%, 95.0%, 900, 1, AllocateTensors/0

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
TfLiteXNNPackDelegate, 0, 0.02, 1.8e-05, 90.5%, 90.5%, 0, 1, [one, two, three]:7
RESHAPE, 0.1, 0.003, 0, -nan%, inf%, 0, 2, []:8

============================== Top by Computation Time ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
RESHAPE, 0.1, 0.003, 0, 9.5%, 9.5%, 0, 2, []:8

Number of nodes executed: 2
============================== Summary by node type ==============================
node type, count, avg_ms, avg %, cdf %, mem KB, times called
RESHAPE, 1, 0.018, 90.0%, 90.0%, 0, 1

Timings (microseconds): count=50 first=23 curr=20 min=19 max=25 avg=20 std=1
Delegate internal:
============================== Run Order ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
Convolution (NHWC, F32) IGEMM, 0, 0.01, 0.01, 100%, 100%, 0, 1, Delegate/Convolution (NHWC, F32):0
"""


def test_a_profile_with_commas_in_types_and_names():
    first, second, inside = parse_profile(PROFILE)
    assert first == OpTime("TfLiteXNNPackDelegate", "[one, two, three]:7", 1.8e-05, 90.5, 1, False)
    assert (second.kind, second.times_called) == ("RESHAPE", 2)
    name = "Delegate/Convolution (NHWC, F32):0"
    assert inside == OpTime("Convolution (NHWC, F32) IGEMM", name, 0.01, 100.0, 1, True)


def test_columns_go_by_the_header():
    old = PROFILE.replace("node type, start, first", "node type, first")
    with pytest.raises(tgp.UserError, match="can't be read"):
        parse_profile(old.replace("TfLiteXNNPackDelegate, 0, 0.02", "RESHAPE"))
    found = parse_profile(old.replace("Delegate, 0, 0.02", "Delegate, 0.02").replace(", 0.1,", ","))
    assert found[0].average_ms == 1.8e-05


@pytest.mark.parametrize("text", ["", PROFILE.partition("Operator-wise")[0]])
def test_no_profile(text):
    with pytest.raises(tgp.UserError, match="no operations"):
        parse_profile(text)


OLD = Tool("/t/tool", False, frozenset())
NEW = Tool(
    "/t/tool", False, frozenset("graph op_profiling_output_mode enable_op_profiling".split())
)
LITERT_TOOL = Tool("/t/tool", True, frozenset("graph use_gpu dispatch_library_path".split()))
START = "/t/tool --graph=/t/m --num_threads=2 --num_runs=50 --warmup_runs=5 --min_secs=1"
LINES = {
    "cpu": (OLD, {}, START),
    "big cores": (OLD, {"cpu_mask": "0xF0"}, f"taskset F0 {START}"),
    "gpu": (OLD, {"backend": "gpu"}, f"{START} --use_gpu=true"),
    "gpu with a flag": (
        LITERT_TOOL,
        {"backend": "gpu", "tool_flags": ("--gpu_backend=cl",)},
        f"{START} --use_gpu=true --gpu_backend=cl",
    ),
    "nnapi": (OLD, {"backend": "nnapi"}, f"{START} --use_nnapi=true"),
    "npu": (OLD, {"backend": "npu"}, f"{START} --external_delegate_path=/t/lib/a.so"),
    "npu of LiteRT": (
        LITERT_TOOL,
        {"backend": "npu"},
        f"{START} --use_npu=true --dispatch_library_path=/t/lib",
    ),
}


@pytest.mark.parametrize(("tool", "options", "line"), LINES.values(), ids=LINES)
def test_command_lines(tool, options, line):
    settings = RunSettings(threads=2, **options)
    assert " ".join(command_line(tool, "/t/m", settings, ["/t/lib/a.so", "/t/lib/b.so"])) == line


def test_a_command_line_on_inputs():
    line = parity_line(
        [*START.split(), "--use_gpu=true"], [(1, 8, 8, 1), (1, 3)], ["/a", "/b"], "/o"
    )
    assert " ".join(line) == (
        "/t/tool --graph=/t/m --num_threads=2 --use_gpu=true --num_runs=1 --warmup_runs=0 "
        "--min_secs=0 --input_layer=input_0,input_1 --input_layer_shape=1,8,8,1:1,3 "
        "--input_layer_value_files=input_0:/a,input_1:/b --output_filepath=/o"
    )


@pytest.mark.parametrize(
    ("tool", "last"), [(OLD, "profiling_output_csv"), (NEW, "op_profiling_output")]
)
def test_profile_flags(tool, last):
    assert profile_flags(tool, "/t/p")[-1] == f"--{last}_file=/t/p"


def test_backends_that_a_tool_lacks():
    with pytest.raises(tgp.UserError, match="its maker's delegate"):
        command_line(OLD, "/t/m", RunSettings(backend="npu"))
    with pytest.raises(tgp.UserError, match="no flag --use_nnapi"):
        command_line(LITERT_TOOL, "/t/m", RunSettings(backend="nnapi"))


def test_help_tells_the_tools_apart():
    listed = "\t--graph=    \tstring\n\t--dispatch_library_path=\tstring\n"
    assert read_help("p", Ended(1, "", listed), "s").litert
    assert not read_help("p", Ended(1, listed.partition("\t--disp")[0], ""), "s").litert


BAD_SETTINGS = {
    "backend": {"backend": "tpu"},
    "threads": {"threads": 0},
    "repeats": {"repeats": 0},
    "min_seconds": {"min_seconds": -1.0},
    "cool_seconds": {"cool_seconds": float("nan")},
    "cpu_mask": {"cpu_mask": "f0; reboot"},
    "tool_flags": {"tool_flags": ("use_gpu",)},
    "library": {"libraries": ("none.so",)},
}


@pytest.mark.parametrize(("word", "settings"), BAD_SETTINGS.items(), ids=BAD_SETTINGS)
def test_bad_settings(word, settings):
    with pytest.raises(tgp.UserError, match=word):
        RunSettings(**settings)


def test_backends_are_those_of_the_library():
    assert program.BACKENDS == BACKENDS
