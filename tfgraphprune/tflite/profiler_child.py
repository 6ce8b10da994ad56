"""Runs a TFLite file under LiteRT's C profiler, as a program of its own, and prints the events.

Run by its path with the standard library only: `python profiler_child.py LIBRARY MODEL RUNS`. The
library's interface has no promise of staying as it is, and what does not fit may end the process,
which must not be the user's.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
from typing import Any

_CPU = 1
_WORDS = 13
"""Of an event: tag, type, start, duration, memory before and after, metadata, source."""

_TYPES = {1 << bit for bit in range(9)}
_POINTER = ctypes.c_void_p
_ZERO = ctypes.c_size_t(0)


def main() -> None:
    """Print a list of `[name, type, microseconds, node]`, one an event, as JSON."""
    library, model, runs = sys.argv[1:]
    events = _Session(ctypes.CDLL(library), model).profile(int(runs))
    # What LiteRT logs goes to stderr; a line of its own keeps the data apart all the same.
    print("\n" + json.dumps(events), flush=True)
    os._exit(0)  # the objects of the library are left to the end of the process


class _Session:
    def __init__(self, library: ctypes.CDLL, model: str):
        self._library = library
        environment, loaded, options, extra = (_POINTER() for _ in range(4))
        # The library keeps the text and calls this when it no longer needs it.
        self._text = ctypes.create_string_buffer(b"enable_profiling = true\n")
        self._release = ctypes.CFUNCTYPE(None, _POINTER)(lambda _: None)
        self._call("CreateEnvironment", ctypes.c_int(0), None, ctypes.byref(environment))
        self._call("CreateModelFromFile", environment, model.encode(), ctypes.byref(loaded))
        self._call("CreateOptions", ctypes.byref(options))
        self._call("SetOptionsHardwareAccelerators", options, ctypes.c_int(_CPU))
        self._call(
            "CreateOpaqueOptions", b"runtime_options_string", ctypes.cast(self._text, _POINTER),
            self._release, ctypes.byref(extra),
        )  # fmt: skip
        self._call("AddOpaqueOptions", options, extra)
        self._compiled, self._profiler = _POINTER(), _POINTER()
        self._call(
            "CreateCompiledModel", environment, loaded, options, ctypes.byref(self._compiled)
        )
        self._call("CompiledModelGetProfiler", self._compiled, ctypes.byref(self._profiler))
        signature = _POINTER()
        self._call("GetModelSignature", loaded, _ZERO, ctypes.byref(signature))
        self._buffers = [self._side(environment, signature, side) for side in ("Input", "Output")]

    def profile(self, runs: int) -> list[list[Any]]:
        """Warm up, then record the runs."""
        for _ in range(3):
            self._run()
        self._call("ResetProfiler", self._profiler)
        self._call("StartProfiler", self._profiler)
        for _ in range(runs):
            self._run()
        self._call("StopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("GetNumProfilerEvents", self._profiler, ctypes.byref(count))
        size = 8 * _WORDS
        memory = (ctypes.c_char * (count.value * 2 * size))()  # room for an event of more words
        self._call("GetProfilerEvents", self._profiler, count, memory)
        content = memory.raw
        return [_event(content[i * size : (i + 1) * size]) for i in range(count.value)]

    def _run(self) -> None:
        inputs, outputs = self._buffers
        self._call(
            "RunCompiledModel", self._compiled, _ZERO, ctypes.c_size_t(len(inputs)), inputs,
            ctypes.c_size_t(len(outputs)), outputs,
        )  # fmt: skip

    def _side(self, environment: Any, signature: Any, side: str) -> Any:
        """A buffer for each input or each output."""
        count = ctypes.c_size_t()
        self._call(f"GetNumSignature{side}s", signature, ctypes.byref(count))
        buffers = (_POINTER * count.value)()
        for index in range(count.value):
            at = ctypes.c_size_t(index)
            tensor, needs, buffer = _POINTER(), _POINTER(), _POINTER()
            kind = (ctypes.c_char * 256)()  # more than a ranked tensor type takes
            self._call(f"GetSignature{side}TensorByIndex", signature, at, ctypes.byref(tensor))
            self._call("GetRankedTensorType", tensor, kind)
            self._call(
                f"GetCompiledModel{side}BufferRequirements", self._compiled, _ZERO, at,
                ctypes.byref(needs),
            )  # fmt: skip
            self._call(
                "CreateManagedTensorBufferFromRequirements", environment, kind, needs,
                ctypes.byref(buffer),
            )  # fmt: skip
            buffers[index] = buffer
        return buffers

    def _call(self, name: str, *arguments: Any) -> None:
        function = getattr(self._library, f"LiteRt{name}", None)
        if function is None:
            sys.exit(f"the library has no LiteRt{name}")
        function.restype = ctypes.c_int
        if status := function(*arguments):
            sys.exit(f"LiteRt{name} failed with {status}")


def _event(content: bytes) -> list[Any]:
    words = struct.unpack(f"<{_WORDS}Q", content)
    kind = words[1] & 0xFFFFFFFF
    if kind not in _TYPES:
        sys.exit("the library's events have another form")
    return [ctypes.string_at(words[0]).decode(), kind, words[3], words[10] & 0xFFFFFFFF]


if __name__ == "__main__":
    main()
