"""A TFLite file run by LiteRT: float arrays in, float arrays out, whatever the file's own types."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tfgraphprune.errors import UserError
from tfgraphprune.tflite.operations import DELEGATE
from tfgraphprune.tflite.quiet import quiet
from tfgraphprune.tflite.signature import SIGNATURE


class Runner:
    """An interpreter of one file.

    Args:
        path: the TFLite file.
        threads: how many threads a run may use.
        inputs: the order in which `run` takes the inputs, by their names in the signature; by
            default, and where the file does not have all of them, the file's own order.
        outputs: likewise, the order in which `run` returns the outputs.
        keep_tensors: whether `tensor` can read what each operation gave; slower, and takes memory
            for all of them.

    Raises:
        UserError: no such file, or not a TFLite file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int = 1,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        keep_tensors: bool = False,
    ):
        self._path = Path(path)
        self._threads = threads
        self._names = (inputs, outputs)
        self._keep_tensors = keep_tensors
        self._resizable = True
        if not self._path.is_file():
            raise UserError(f"The TFLite file {str(path)!r} does not exist: export it first.")
        self._open()

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each input for one run, batch included."""
        return [tuple(int(size) for size in each["shape"]) for each in self._inputs]

    @property
    def input_names(self) -> list[str]:
        """The name of each input in the signature, or of its tensor where there is none."""
        names = [str(each["name"]) for each in self._inputs]
        if SIGNATURE in self._interpreter.get_signature_list():
            details = self._interpreter.get_signature_runner(SIGNATURE).get_input_details()
            by_index = {each["index"]: name for name, each in details.items()}
            names = [
                by_index.get(each["index"], name)
                for each, name in zip(self._inputs, names, strict=True)
            ]
        return names

    def encode(self, arrays: Sequence[np.ndarray]) -> list[bytes]:
        """Inputs as the file's own types in memory, as other runtimes take them; see `shapes`."""
        return [
            _quantize(array, details).tobytes()
            for details, array in zip(self._inputs, arrays, strict=True)
        ]

    def decode(self, content: bytes) -> list[np.ndarray]:
        """Outputs, as another runtime left them in memory, one after the other, as `run` gives.

        Raises:
            UserError: more or fewer bytes than the outputs of a run have.
        """
        dtypes = [np.dtype(each["dtype"]) for each in self._outputs]
        shapes = [tuple(int(size) for size in each["shape"]) for each in self._outputs]
        counts = [int(np.prod(shape)) for shape in shapes]
        sizes = [count * dtype.itemsize for count, dtype in zip(counts, dtypes, strict=True)]
        if len(content) != sum(sizes):
            raise UserError(
                f"The outputs of {str(self._path)!r} have {sum(sizes)} bytes, but {len(content)} "
                "came: run the same file in both places."
            )
        starts = np.cumsum([0, *sizes[:-1]])
        return [
            _dequantize(np.frombuffer(content, dtype, count, int(start)).reshape(shape), details)
            for dtype, count, start, shape, details in zip(
                dtypes, counts, starts, shapes, self._outputs, strict=True
            )
        ]

    @property
    def output_indices(self) -> list[int]:
        """The tensors that are outputs, in the order in which `run` returns them."""
        return [int(each["index"]) for each in self._outputs]

    def nodes(self) -> list[dict[str, Any]]:
        """The operations of the file, with their `op_name`, `inputs` and `outputs`."""
        return [n for n in self._interpreter._get_ops_details() if n["op_name"] != DELEGATE]

    def tensors(self) -> dict[int, dict[str, Any]]:
        """The details of each tensor, by its index."""
        return {int(each["index"]): each for each in self._interpreter.get_tensor_details()}

    def tensor(self, details: dict[str, Any]) -> np.ndarray:
        """What the last run left in a tensor, dequantized; see `keep_tensors`."""
        return _dequantize(self.raw(details), details)

    def raw(self, details: dict[str, Any]) -> np.ndarray:
        """What a tensor holds, as it is."""
        return self._interpreter.get_tensor(details["index"])

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs for a batch of any size.

        The file's batch is resized where its operations allow that; otherwise the examples go
        through in batches of the file's own size.

        Args:
            arrays: one `[n, ...]` array an input; for quantized inputs still in float.

        Returns:
            One `[n, ...]` array an output, dequantized to float32 where the file is quantized.
        """
        count = len(arrays[0])
        if count != self._batch and self._resizable and not self._resize(count):
            self._resizable = False
            self._open()
        if count == self._batch:
            return self._run_once(arrays)
        parts = []
        for start in range(0, count, self._batch):
            rows = np.minimum(np.arange(start, start + self._batch), count - 1)
            used = min(self._batch, count - start)
            outputs = self._run_once([array[rows] for array in arrays])
            parts.append([output[:used] for output in outputs])
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def set_inputs(self, arrays: Sequence[np.ndarray]) -> None:
        """Fill the inputs, quantized where the file wants that, for `invoke`."""
        for details, array in zip(self._inputs, arrays, strict=True):
            self._interpreter.set_tensor(details["index"], _quantize(array, details))

    def invoke(self) -> None:
        """One run on the inputs that were set last."""
        self._interpreter.invoke()

    def reset(self) -> None:
        """Forget what earlier runs left: a fused LSTM would go on from the last state."""
        self._interpreter.reset_all_variables()

    def _run_once(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.reset()
        self.set_inputs(arrays)
        self.invoke()
        return [
            _dequantize(self._interpreter.get_tensor(details["index"]), details)
            for details in self._outputs
        ]

    def _open(self) -> None:
        try:
            with quiet(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that keeping tensors takes memory
                self._interpreter = Interpreter(
                    model_path=str(self._path),
                    num_threads=self._threads,
                    experimental_preserve_all_tensors=self._keep_tensors,
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"{str(self._path)!r} is not a TFLite file that LiteRT can run ({error}): "
                "export it again."
            ) from error
        self._read_details()
        self._batch = self.shapes[0][0]

    def _read_details(self) -> None:
        signature: dict[str, Any] = self._interpreter.get_signature_list().get(SIGNATURE, {})
        runner = self._interpreter.get_signature_runner(SIGNATURE) if signature else None
        wanted_inputs, wanted_outputs = self._names
        self._inputs = _ordered(
            self._interpreter.get_input_details(),
            runner.get_input_details() if runner else {},
            wanted_inputs,
        )
        self._outputs = _ordered(
            self._interpreter.get_output_details(),
            runner.get_output_details() if runner else {},
            wanted_outputs,
        )

    def _resize(self, count: int) -> bool:
        """Whether the file runs with another batch size, set here if so."""
        try:
            with quiet():
                for details, shape in zip(self._inputs, self.shapes, strict=True):
                    self._interpreter.resize_tensor_input(details["index"], [count, *shape[1:]])
                self._interpreter.allocate_tensors()
                self.set_inputs([np.zeros((count, *shape[1:])) for shape in self.shapes])
                self.invoke()
        except (ValueError, RuntimeError):
            return False
        # A reshape to a constant size may swallow the batch without an error.
        results = [self._interpreter.get_tensor(each["index"]) for each in self._outputs]
        if any(result.shape[:1] != (count,) for result in results):
            return False
        self._batch = count
        return True


def _ordered(
    details: list[dict[str, Any]], by_name: dict[str, dict[str, Any]], names: Sequence[str]
) -> list[dict[str, Any]]:
    if names and set(names) == set(by_name):
        return [by_name[name] for name in names]
    return details


def _quantize(array: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    scale, zero_point = details["quantization"]
    dtype = np.dtype(details["dtype"])
    if not scale or not np.issubdtype(dtype, np.integer):
        return np.ascontiguousarray(array, dtype)
    limits = np.iinfo(dtype)
    steps = np.round(np.asarray(array, np.float32) / scale) + zero_point
    return np.clip(steps, limits.min, limits.max).astype(dtype)


def _dequantize(array: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    scale, zero_point = details["quantization"]
    if not scale or not np.issubdtype(array.dtype, np.integer):
        return array
    return (array.astype(np.float32) - zero_point) * np.float32(scale)
