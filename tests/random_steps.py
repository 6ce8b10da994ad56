"""The table of steps that random networks are composed of, and what the steps share.

A step takes a draw and a tensor and returns a tensor. It is registered with the ranks that it can
be made on and the kinds of layers and couplings that it shows; it tells the draw where each kind
lies (`see`), so that a sweep can report how often a kind occurs and is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
import tf_keras as keras

L = keras.layers
T = TypeVar("T")
VECTOR, SEQUENCE, IMAGE, VOLUME = 2, 3, 4, 5
"""Ranks of tensors with channels last, the batch included."""

SPATIAL = (SEQUENCE, IMAGE, VOLUME)
ALL_RANKS = (VECTOR, *SPATIAL)
VOCABULARY = 10
"""Number of tokens of integer inputs."""


@dataclass
class Draw:
    """A source of choices, and the notes of what was made with them.

    Attributes:
        integers: draws an integer between two bounds, both included; hypothesis or numpy.
        inputs: the model's inputs so far.
        outputs: tensors that are outputs of the model beside the last one.
        seen: kind and name of the layer that shows it.
        depth: how many nested models are being built.
    """

    integers: Callable[[int, int], int]
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    depth: int = 0

    def sampled_from(self, values: Sequence[T]) -> T:
        """One of the values; shrinks to the first."""
        return values[self.integers(0, len(values) - 1)]

    def booleans(self) -> bool:
        """Yes or no; shrinks to no."""
        return bool(self.integers(0, 1))

    def permutation(self, values: Sequence[T]) -> list[T]:
        """The values in another order."""
        rest, order = list(values), []
        while rest:
            order.append(rest.pop(self.integers(0, len(rest) - 1)))
        return order

    def array(self, *shape: int) -> np.ndarray:
        """A constant without zeros."""
        random = np.random.default_rng(self.integers(0, 99))
        return (random.uniform(0.3, 1.2, shape) * random.choice([-1, 1], shape)).astype("float32")

    def see(self, kind: str, tensor: Any) -> Any:
        """Note that the layer or op that made this tensor shows a kind; returns the tensor."""
        if kind not in KINDS:
            raise KeyError(f"{kind!r} is not registered with any step")
        first = tf.nest.flatten(tensor)[0]
        self.seen.append((kind, first._keras_history.layer.name))
        return tensor


@dataclass(frozen=True)
class Step:
    """A registered step.

    Attributes:
        name: the function's name, with what tells its variants apart.
        ranks: the ranks of tensors that it can be made on.
        make: given a draw and a tensor, returns a tensor.
        outermost: whether it can't be made inside a nested model.
    """

    name: str
    ranks: tuple[int, ...]
    make: Callable[[Draw, Any], Any]
    outermost: bool = False


STEPS: list[Step] = []
"""All steps, more likely ones more than once."""

KINDS: dict[str, None] = {}
"""Every kind of layer and coupling that some step shows, in the order of registration."""


def step(
    ranks: Sequence[int], *kinds: str, likely: int = 1, outermost: bool = False, **variant: Any
) -> Callable:
    """Register a function as a step; more than once for variants that differ in an argument."""

    def register(function: Callable) -> Callable:
        name = "-".join([function.__name__, *map(_named, variant.values())])

        def make(draw: Draw, x: Any) -> Any:
            return function(draw, x, **variant)

        STEPS.extend([Step(name, tuple(ranks), make, outermost)] * likely)
        KINDS.update(dict.fromkeys(kinds))
        return function

    return register


def _named(value: Any) -> str:
    return getattr(value, "__name__", str(value))


def project(draw: Draw, x: Any, channels: int | None = None) -> Any:
    """A layer that mixes all channels into new ones."""
    rank, channels = len(x.shape), channels or draw.integers(3, 8)
    activation = draw.sampled_from(["linear", "relu", "tanh"])
    if rank == VECTOR:
        return L.Dense(channels, activation)(x)
    layer = {SEQUENCE: L.Conv1D, IMAGE: L.Conv2D, VOLUME: L.Conv3D}[rank]
    return layer(channels, 1, activation=activation)(x)


def blocks_of(draw: Draw, x: Any, blocks: int) -> Any:
    """The tensor itself if its channels split evenly, else new channels that do."""
    if x.shape[-1] % blocks == 0 and x.shape[-1] > blocks:
        return x
    return project(draw, x, blocks * draw.integers(2, 3))
