"""Makes a model anew, call by call, at the sizes that a plan leaves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.errors import UserError
from tfgraphprune.graph.axes import taken
from tfgraphprune.graph.composites import reads_variable
from tfgraphprune.graph.labels import Kept, Labels, Shape
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.graph.reader import Call, Program, is_tensor
from tfgraphprune.graph.rules import is_op, rule_for
from tfgraphprune.graph.trace import WeightAxis
from tfgraphprune.pruning.remaking import (
    config_of,
    counted,
    remade,
    trainable_alike,
    without_sizes,
)

Swap = Callable[[Any, tuple[str, ...]], Any]
"""Given a layer of the model and its path, a layer to be put in its place, or `None`."""


def distributed_as(model: Any) -> contextlib.AbstractContextManager:
    """The scope of the `tf.distribute` strategy under which a model was built, if there is one.

    What is built outside of it would train on one replica, and each worker for itself.
    """
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is None or tf.distribute.has_strategy():
        return contextlib.nullcontext()
    return strategy.scope()


class Rebuild:
    """A model made anew; shared layers and shared nested models are made once.

    Args:
        graph: of the model.
        kept: what stays.
        swap: replaces layers; their weights must begin with those of the layer replaced.
        flat: whether nested models, and layers made of layers, give way to the layers inside, named
            `outer.inner`.

    Attributes:
        model: the new model, functional, of the same name and structure.
        layers: its layers, by the path of the layer that each stands for.
    """

    def __init__(self, graph: LayerGraph, kept: Kept, swap: Swap | None = None, flat: bool = False):
        self._graph = graph
        self._kept = kept
        self._swap = swap
        self._flat = flat
        self._made: dict[int, Any] = {}
        self._variables: dict[int, Any] = {}
        self._frozen = False
        self._axes: dict[tuple, list[tuple[WeightAxis, np.ndarray]]] = {}
        for axis in graph.weight_axes():
            positions = kept.positions(axis.ids)
            self._axes.setdefault((axis.path, axis.weight), []).append((axis, positions))
        self.layers: dict[tuple[str, ...], Any] = {}
        with distributed_as(graph.model):
            self.model = self._model(graph.program, graph.input_labels(), graph.model.name)

    def _model(self, program: Program, inputs: list[Labels], name: str) -> Any:
        dialect = program.dialect
        starts = [
            dialect.keras.Input(
                _cut_shape(tensor.shape[1:], labels.shape, self._kept.shape(labels)),
                batch_size=tensor.shape[0],
                name=dialect.input_name(tensor),
                dtype=tensor.dtype,
            )
            for tensor, labels in zip(program.inputs, inputs, strict=True)
        ]
        names = {call.label for call in program.calls}
        outputs = program.interpret(
            starts, lambda call, args, kwargs: self._visit(call, args, kwargs, call.label, names)
        )
        return dialect.keras.Model(
            tf.nest.pack_sequence_as(program.nested_inputs, starts),
            tf.nest.pack_sequence_as(program.nested_outputs, outputs),
            name=name,
        )

    def _visit(self, call: Call, args: tuple, kwargs: dict, name: str, names: set[str]) -> Any:
        inside = self._graph.inside(call.key)
        if call.is_model:
            assert inside is not None
            if self._flat:
                return self._inlined(call, inside, args, kwargs, name, names)
            if id(call.layer) not in self._made:
                inputs = self._graph.inputs_of(call.key)
                with self._inside(call.layer):
                    self._made[id(call.layer)] = self._model(inside, inputs, name)
            return self._made[id(call.layer)](*args, **kwargs)
        if inside is not None:
            return self._composite(call, inside, args, kwargs, name, names)
        inputs, outputs = self._graph.labels(call.key)
        whole = self._kept.all_of([*inputs, *outputs]) and not self._cut(call)
        rule = rule_for(call.layer)
        # Rules give sizes that are known only by now, and no Ellipsis, which tf_keras can't save.
        dots = any(leaf is Ellipsis for leaf in tf.nest.flatten((args, kwargs)))
        if not whole or dots or call.shapes is not None:
            values = dict(zip(map(id, call.inputs), _tensors((args, kwargs)), strict=True))
            args, kwargs = tf.nest.map_structure(
                lambda leaf: values.get(id(leaf), leaf),
                rule.arguments(call, inputs, outputs, self._kept),
            )
        if reads_variable(call):  # of a layer that was made before
            args, kwargs = tf.nest.map_structure(
                lambda leaf: self._variables.get(id(leaf), leaf), (args, kwargs)
            )
        layer = self._made.get(id(call.layer))
        if layer is None:
            changed = {} if whole else rule.config(call, outputs, self._kept)
            layer, variables = self._layer(call, whole, changed, name)
            weights = self._cut_weights(call.layer)
            results = self._filled(call, layer, args, kwargs, weights, variables)
        else:
            results = layer(*args, **kwargs)
        return results if whole else rule.finish(call, results, inputs, outputs, self._kept)

    def _composite(
        self, call: Call, inside: Program, args: tuple, kwargs: dict, name: str, names: set[str]
    ) -> Any:
        """A layer made of layers: as it is, where nothing in it is cut, or else its layers."""
        # A Lambda is never kept: its Python code could not be loaded in safe mode.
        opened = self._flat or type(call.layer).__name__ == "Lambda"
        whole = self._swap is None and not opened
        if whole and id(call.layer) not in self._made and not self._touched(call):
            with contextlib.suppress(UserError):  # one that can't be made anew is taken apart
                config = config_of(call)
                config |= {"name": name} if "name" in config else {}
                layer = remade(call, config)
                return self._filled(call, layer, args, kwargs, call.layer.get_weights())
        if id(call.layer) in self._made:
            return self._made[id(call.layer)](*args, **kwargs)
        return self._inlined(call, inside, args, kwargs, name, names)

    @contextlib.contextmanager
    def _inside(self, layer: Any) -> Iterator[None]:
        """Layers that are made meanwhile are frozen if the one around them is."""
        before, self._frozen = self._frozen, self._frozen or not layer.trainable
        try:
            yield
        finally:
            self._frozen = before

    def _inlined(
        self, call: Call, inside: Program, args: tuple, kwargs: dict, name: str, names: set[str]
    ) -> Any:
        """What a layer or model is made of, in its place."""

        def visit(inner: Call, args: tuple, kwargs: dict) -> Any:
            label = f"{name}.{inner.label}"
            if id(inner.layer) not in self._made or is_op(inner.layer):
                while label in names:
                    label += "_"
                names.add(label)
            return self._visit(inner, args, kwargs, label, names)

        with self._inside(call.layer):
            return inside.interpret(_tensors((args, kwargs)), visit)

    def _touched(self, call: Call) -> bool:
        """Whether anything is cut in a composite layer, in any of its calls."""
        return any(
            self._cut(inner) or not all(map(self._kept.all_of, self._graph.labels(inner.key)))
            for inner in self._graph.calls_inside(call.layer)
        )

    def _cut(self, call: Call) -> bool:
        """Whether a weight of the layer is cut."""
        path = self._graph.path_of(call.layer)
        return any(
            len(positions) < len(axis.ids)
            for index in range(len(call.layer.weights))
            for axis, positions in self._axes.get((path, index), ())
        )

    def _layer(self, call: Call, whole: bool, changed: dict, name: str) -> tuple[Any, list | None]:
        """A layer for the call's, and its variables in the old order where theirs is another."""
        path = self._graph.path_of(call.layer)
        layer = self._swap(call.layer, path) if self._swap else None
        other = None
        if layer is None:
            config = {**config_of(call), "name": name}
            if not whole:
                config = {**without_sizes(config), **changed}
                settings = self._graph.settings(path)
                config = counted(config, settings, self._kept) if settings else config
            labels = self._graph.labels(call.key)
            other = rule_for(call.layer).substitute(call, config, *labels, self._kept)
            layer = other[0] if other else remade(call, config)
        self.layers[path] = layer
        return layer, other[1] if other else None

    def _cut_weights(self, layer: Any) -> list[np.ndarray]:
        path = self._graph.path_of(layer)
        values = layer.get_weights()
        for index, value in enumerate(values):
            for axis, positions in sorted(
                self._axes.get((path, index), ()), key=lambda pair: -pair[0].blocks
            ):
                value = taken(value, axis.axis, axis.blocks, positions)
            values[index] = value
        return values

    def _filled(
        self,
        call: Call,
        layer: Any,
        args: tuple,
        kwargs: dict,
        weights: list[np.ndarray],
        variables: list | None = None,
    ) -> Any:
        """What a layer made anew gives, once it has the weights and is frozen as the call's is."""
        self._made[id(call.layer)] = layer
        results = layer(*args, **kwargs)
        if type(layer) is type(call.layer) and hasattr(layer, "_flatten_layers"):  # no op
            trainable_alike(layer, call.layer)
        own = layer.weights if variables is None else variables
        self._variables |= zip(map(id, call.layer.weights), own, strict=False)
        if variables is None:
            added = layer.get_weights()[len(weights) :] if self._swap else []
            layer.set_weights(weights + added)
            if hasattr(layer, "finalize_state"):  # preprocessing: keeps what it learned twice
                layer.finalize_state()
        else:
            for variable, value in zip(variables, weights, strict=True):
                variable.assign(value)
        if self._frozen:
            layer.trainable = False
        return results


def _cut_shape(own: Sequence, dense: Shape, cut: Shape) -> Shape:
    """An input's shape; sizes that are not cut stay as they are, unknown ones too."""
    return tuple(o if d == c else c for o, d, c in zip(own, dense, cut, strict=True))


def _tensors(nest: Any) -> list:
    return [leaf for leaf in tf.nest.flatten(nest) if is_tensor(leaf)]
