"""Stands in for `benchmark_model` on the loopback device: runs files with LiteRT, prints its text.

The environment variable STAND_IN makes it another tool: `litert` (the newer one), `bare` (lists no
flags), `cpu_only` (the GPU takes nothing), `off` (wrong outputs), `full` (no outputs), `once` (only
those of the first process), `quiet` (no timings), `fails`, `sleeps`.
"""

import os
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter

MODE = os.environ.get("STAND_IN", "").split(",")
CLASSIC = (
    "graph num_threads num_runs warmup_runs min_secs input_layer input_layer_shape "
    "input_layer_value_files output_filepath enable_op_profiling op_profiling_output_mode "
    "op_profiling_output_file use_gpu external_delegate_path"
)
LITERT = (
    "graph num_threads num_runs warmup_runs min_secs use_cpu use_gpu use_npu dispatch_library_path"
)
PROFILE = """Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
ModifyGraphWithDelegate, 1.9, 1.9, 95.0%, 95.0%, 900, 1, ModifyGraphWithDelegate/0

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
TfLiteXNNPackDelegate, 0.02, 0.018, 90.0%, 90.0%, 0, 1, [logits, of the head]:7
SOFTMAX, 0.003, 0.002, 10.0%, 100.0%, 0, 1, [probabilities]:8

============================== Top by Computation Time ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
TfLiteXNNPackDelegate, 0.02, 0.018, 90.0%, 90.0%, 0, 1, [logits, of the head]:7

Number of nodes executed: 2
============================== Summary by node type ==============================
node type, count, avg_ms, avg %, cdf %, mem KB, times called
TfLiteXNNPackDelegate, 1, 0.018, 90.0%, 90.0%, 0, 1

Timings (microseconds): count=50 first=23 curr=20 min=19 max=25 avg=20 std=1
"""


def say(text):
    """Both tools log to the standard error."""
    print(text, file=sys.stderr)


def main():
    if sys.argv[1:] == ["--help"]:
        known = LITERT if "litert" in MODE else "" if "bare" in MODE else CLASSIC
        for name in known.split():
            say(f"\t--{name}=          \tstring\toptional\tof {name}")
        sys.exit(1)
    flags = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:])
    known = LITERT if "litert" in MODE else CLASSIC
    unknown = set(flags) - set(known.split())
    if unknown or "fails" in MODE:
        say(f"ERROR: Unconsumed cmdline flags: {sorted(unknown)}\nBenchmarking failed.")
        sys.exit(1)
    if "sleeps" in MODE:
        time.sleep(60)
    interpreter = Interpreter(flags["graph"], num_threads=int(flags["num_threads"]))
    inputs = interpreter.get_input_details()
    if "input_layer_shape" in flags:
        for each, shape in zip(inputs, flags["input_layer_shape"].split(":"), strict=True):
            interpreter.resize_tensor_input(each["index"], [*map(int, shape.split(","))])
    interpreter.allocate_tensors()
    files = {}
    for pair in filter(None, flags.get("input_layer_value_files", "").split(",")):
        name, file = pair.split(":")
        files[name] = file
    names = flags.get("input_layer", "").split(",")
    for each, name in zip(inputs, names, strict=False):
        if name in files:
            values = np.fromfile(files[name], each["dtype"])
            interpreter.set_tensor(each["index"], values.reshape(each["shape"]))
    times = []
    for _ in range(int(flags["num_runs"])):
        started = time.perf_counter()
        interpreter.invoke()
        times.append((time.perf_counter() - started) * 1e6)
    first = not os.path.exists("ran")
    open("ran", "w").close()
    wanted = "full" not in MODE and (first or "once" not in MODE)
    if "output_filepath" in flags and wanted:
        with open(flags["output_filepath"], "wb") as file:
            for each in interpreter.get_output_details():
                values = interpreter.get_tensor(each["index"])
                file.write((values + 3 if "off" in MODE else values).astype(each["dtype"]))
    if "op_profiling_output_file" in flags:
        with open(flags["op_profiling_output_file"], "w") as file:
            file.write(PROFILE)
    if "quiet" in MODE:
        return
    gpu = flags.get("use_gpu") == "true"
    delegate = "TfLiteGpuDelegateV2" if gpu and "cpu_only" not in MODE else "TfLiteXNNPackDelegate"
    say(f"INFO: Replacing 9 out of 11 node(s) with delegate ({delegate}) node, yielding 3 "
        "partitions for the whole graph.")  # fmt: skip
    average = sum(times) / len(times)
    say(f"count=3 first={times[0]:.0f} curr=99 min=99 max=99 avg=99 std=0")
    say(f"count={len(times)} first={times[0]:.0f} curr={times[-1]:.0f} min={min(times):.0f} "
        f"max={max(times):.0f} avg={average:g} std={np.std(times):.0f}")  # fmt: skip
    if "litert" in MODE:
        say("INFO: [benchmark_litert_model.h:60] Model initialization: 1.50 ms")
        say("INFO: [benchmark_litert_model.h:61] Warmup (first):       0.25 ms")
        say(f"INFO: [benchmark_litert_model.h:63] Inference (avg):      {average / 1e3:.2f} ms "
            f"({len(times)} runs)")  # fmt: skip
        say("INFO: [benchmark_litert_model.h:80] Overall footprint:    4.50 MB")
        return
    say(f"Inference timings in us: Init: 1500, First inference: 250, Warmup (avg): 99, "
        f"Inference (avg): {average:g}")  # fmt: skip
    say("Memory footprint delta from the start of the tool (MB): init=2.5 overall=4.5")


if __name__ == "__main__":
    main()
