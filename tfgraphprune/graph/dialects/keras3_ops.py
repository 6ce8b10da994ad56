"""Ops of Keras 3 as seen by the rules, which are written for TensorFlow's."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from keras.src.ops.operation import Operation

# Class of the op: the symbol of TensorFlow's, and its names for the op's settings.
_OPS: dict[str, tuple[str, dict[str, str]]] = {
    "BroadcastTo": ("broadcast_to", {"shape": "shape"}),
    "Concatenate": ("concat", {"axis": "axis"}),
    "DepthToSpace": ("nn.depth_to_space", {}),
    "Einsum": ("einsum", {"subscripts": "equation"}),
    "ExpandDims": ("expand_dims", {"axis": "axis"}),
    "Flip": ("reverse", {"axis": "axis"}),
    "GetItem": ("__operators__.getitem", {}),
    "Matmul": ("linalg.matmul", {}),
    "Pad": ("pad", {"pad_width": "paddings", "mode": "mode"}),
    "Repeat": ("repeat", {"repeats": "repeats", "axis": "axis"}),
    "Reshape": ("reshape", {"newshape": "shape"}),
    "Resize": ("image.resize", {}),
    "Roll": ("roll", {"shift": "shift", "axis": "axis"}),
    "Softmax": ("nn.softmax", {"axis": "axis"}),
    "SpaceToDepth": ("nn.space_to_depth", {}),
    "Split": ("split", {"indices_or_sections": "num_or_size_splits", "axis": "axis"}),
    "Squeeze": ("squeeze", {"axis": "axis"}),
    "Stack": ("stack", {"axis": "axis"}),
    "Take": ("gather", {"axis": "axis"}),
    "Tile": ("tile", {"repeats": "multiples"}),
    "Transpose": ("transpose", {"axes": "perm"}),
    "Unstack": ("unstack", {"axis": "axis"}),
    "MaxPool": ("nn.max_pool", {}),
    "AveragePool": ("nn.avg_pool", {}),
}
_OPS |= {
    name: (f"math.reduce_{symbol}", {"axis": "axis", "keepdims": "keepdims"})
    for name, symbol in {
        "Mean": "mean", "Max": "max", "Min": "min", "Sum": "sum", "Std": "std", "Var": "variance",
        "Amax": "max", "Amin": "min",
    }.items()
}  # fmt: skip
_ELEMENTWISE = (
    "Absolute Add Cast Ceil Celu Clip ConvertToTensor Copy Cos Divide DivideNoNan Elu Erf Exp "
    "Expm1 Floor FloorDivide Gelu HardShrink HardSigmoid HardSilu HardTanh LeakyRelu Log Log1p "
    "LogSigmoid Maximum Minimum Mod Multiply Negative OnesLike Power Reciprocal Relu Relu6 Round "
    "Rsqrt Selu Sigmoid Sign Silu Sin SoftShrink Softplus Softsign Sqrt Square Squareplus "
    "StopGradient Subtract Tanh TanhShrink Threshold TrueDivide Where ZerosLike"
).split()
_OPS |= {name: ("math.add", {}) for name in _ELEMENTWISE}


class KerasOp:
    """An op of Keras 3 with the symbol and the argument names of TensorFlow's.

    Args:
        operation: the op; not called itself.
        name: of the op that a call makes; by default the same.
    """

    def __init__(self, operation: Operation, name: str = ""):
        self.operation = operation
        self.name = name or operation.name
        self.weights: list = []
        kind = type(operation).__name__
        known = type(operation).__module__.startswith("keras.")
        self.symbol, self._names = _OPS[kind] if known and kind in _OPS else (f"keras.{kind}", {})

    @property
    def data_format(self) -> str | None:
        """Where the channels are, of ops that have them in a certain place."""
        return getattr(self.operation, "data_format", None)

    def tensorflow_arguments(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """The arguments of a call as TensorFlow would take them."""
        settings = {there: getattr(self.operation, here) for here, there in self._names.items()}
        if self.symbol == "einsum":
            return (settings.pop("equation"), *args), {**settings, **kwargs}
        if self.symbol == "__operators__.getitem":
            return (args[0], _as_dictionaries(args[1])), kwargs
        if self.symbol == "split" and not isinstance(settings["num_or_size_splits"], int):
            size = args[0].shape[settings["axis"]]
            ends = [*np.ravel(settings["num_or_size_splits"]).tolist(), size]
            starts = [0, *ends[:-1]]
            settings["num_or_size_splits"] = [b - a for a, b in zip(starts, ends, strict=True)]
        if self.symbol == "reverse":
            settings["axis"] = np.ravel(settings["axis"]).tolist()
        if self.symbol == "pad":
            settings["paddings"] = np.asarray(settings["paddings"]).tolist()
            if settings["mode"] == "constant" and kwargs.get("constant_values") is None:
                kwargs = {name: v for name, v in kwargs.items() if name != "constant_values"}
        return args, {**settings, **kwargs}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make the op with these settings, and call it."""
        operation, args, kwargs = self._made(args, kwargs)
        return operation(*args, **kwargs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Shapes only."""
        operation, args, kwargs = self._made(args, kwargs)
        return operation.compute_output_spec(*args, **kwargs)

    def _made(self, args: tuple, kwargs: dict) -> tuple[Operation, tuple, dict]:
        settings = {
            here: kwargs.pop(there) for here, there in self._names.items() if there in kwargs
        }
        if self.symbol == "einsum":
            settings["subscripts"], args = args[0], args[1:]
        elif self.symbol == "__operators__.getitem":
            args = (args[0], _as_slices(args[1]))
        sections = settings.get("indices_or_sections")
        if isinstance(sections, list | tuple):
            settings["indices_or_sections"] = list(itertools.accumulate(sections))[:-1]
        config = {**self.operation.get_config(), **settings, "name": self.name}
        return type(self.operation).from_config(config), tuple(args), kwargs

    def get_config(self) -> dict[str, Any]:
        """What `from_config` takes."""
        return {"operation": self.operation, "name": self.name}

    @classmethod
    def from_config(cls, config: dict) -> KerasOp:
        """The op under another name."""
        return cls(**config)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Like `__call__`; its signature says nothing."""
        return self(*args, **kwargs)

    def get_weights(self) -> list:
        """An op has none."""
        return []

    def set_weights(self, weights: list) -> None:
        """An op has none."""


def _as_dictionaries(key: Any) -> Any:
    """Slices as TensorFlow's layers keep them."""
    if isinstance(key, tuple | list):
        return tuple(map(_as_dictionaries, key))
    if isinstance(key, slice):
        return {"start": key.start, "stop": key.stop, "step": key.step}
    return key


def _as_slices(key: Any) -> Any:
    if isinstance(key, tuple | list):
        return tuple(map(_as_slices, key))
    return slice(key["start"], key["stop"], key["step"]) if isinstance(key, dict) else key
