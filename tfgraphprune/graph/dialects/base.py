"""What a dialect of Keras must say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tfgraphprune.graph.kinds import layer_as_activation


@dataclass(frozen=True, eq=False)
class StoredCall:
    """A layer call as Keras stores it.

    Attributes:
        layer: the layer, or an op that looks like one of TensorFlow's.
        args: positional arguments, with symbolic tensors as leaves.
        kwargs: keyword arguments likewise.
        outputs: symbolic tensors, flat.
    """

    layer: Any
    args: tuple
    kwargs: dict
    outputs: tuple


class Dialect(ABC):
    """How one Keras stores, opens and makes models."""

    name: str
    keras: Any
    """The module."""

    def is_model(self, layer: Any) -> bool:
        """Whether this is a model of this Keras."""
        return isinstance(layer, self.keras.Model)

    @abstractmethod
    def has_layer_graph(self, layer: Any) -> bool:
        """Whether a layer is a model that computes what its layer graph says."""

    @abstractmethod
    def stored_calls(self, model: Any) -> Iterator[StoredCall]:
        """The calls of a functional model in topological order."""

    @abstractmethod
    def structure(self, model: Any) -> tuple[Any, Any]:
        """A functional model's inputs as they are handed over, and outputs as returned."""

    @abstractmethod
    def model_inputs(self, model: Any, given: Any) -> list:
        """A value for each input of a functional model, from what it is called on."""

    @abstractmethod
    def call_between(self, inputs: Sequence, outputs: Sequence) -> list[StoredCall]:
        """The calls that lead from symbolic inputs to outputs, each after those it reads.

        Raises:
            ValueError: a tensor from outside is read.
        """

    @abstractmethod
    def own_weights(self, layer: Any) -> list:
        """The weights of a layer that are not those of layers in it."""

    @abstractmethod
    def input_structure(self, model: Any) -> tuple[tuple, dict] | None:
        """Symbolic arguments for a subclassed model; `None` if it was never called."""

    @abstractmethod
    def shapes_of(self, call: StoredCall, values: tuple[tuple, dict]) -> Any:
        """The outputs of a call on other tensors, with their shapes only."""

    @abstractmethod
    def placeholder(self, shape: Sequence, dtype: Any) -> Any:
        """What `shapes_of` reads; shape with the batch."""

    @abstractmethod
    def gather(self, tensor: Any, indices: Sequence[int], axis: int) -> Any:
        """Positions of a tensor along an axis, as a layer call of a functional model."""

    @abstractmethod
    def input_name(self, tensor: Any) -> str:
        """The name of the input layer of one of a functional model's inputs."""

    def split(self, stored: StoredCall) -> Iterator[StoredCall]:
        """A call as it is; with an activation that is itself a layer, that one's call apart."""
        activation = layer_as_activation(stored.layer)
        if activation is None:
            yield stored
            return
        (output,) = stored.outputs
        between = self.keras.Input(batch_shape=tuple(output.shape), dtype=output.dtype)
        yield replace(stored, outputs=(between,))
        yield StoredCall(activation, (between,), {}, (output,))

    def layers_in(self, layer: Any) -> list:
        """All layers in a layer, at any depth."""
        return list(layer._flatten_layers(include_self=False))
