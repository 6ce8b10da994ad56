"""Puts the object that a user handed over together again around a smaller network.

Tasks, such as KerasCV's detectors, are functional models of a class of their own, which holds
their losses, label encoders and decoders.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from tfgraphprune.errors import UserError
from tfgraphprune.graph.dialects import dialect_of
from tfgraphprune.pruning.rebuild import distributed_as

_LOG = logging.getLogger(__name__)

_OF_THE_OLD_NETWORK = ("optimizer", "get_config", "save")
"""Attributes of a task that are never handed on: slot variables, and what `_task` sets itself."""


def with_network(task: Any, network: Any) -> Any:
    """An object of a task's class around another network, such as a pruned one that was saved.

    What the task holds beside its network (label encoder, anchors, decoder, settings) is shared;
    attributes that hold parts of its network become those of the other one, or are left out.

    Args:
        task: a functional model of a class of its own, such as a KerasCV detector; it is not
            changed, and its weights play no role.
        network: a functional model with inputs and outputs like the task's.

    Raises:
        UserError: the network has other outputs than the task.
    """
    shapes = [[tuple(t.shape) for t in tf.nest.flatten(m.output)] for m in (task, network)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"the network's outputs have the shapes {shapes[1]}, not those of {task.name!r}, "
            f"{shapes[0]}: give a network that was pruned from this task."
        )
    return _task(task, network)


def assembled(model: Any, small: Any) -> Any:
    """The smaller network as an object of the model's class, compiled like it where possible.

    Args:
        model: what was pruned: a functional model, or a task.
        small: the smaller network, a functional model.
    """
    dialect = dialect_of(model)
    keras = dialect.keras
    if type(model) not in (keras.Model, type(small), keras.Sequential):
        if dialect.has_layer_graph(model):
            small = _task(model, small)
        elif type(model).train_step is not keras.Model.train_step:
            _LOG.warning(
                "%s is a subclassed model with a training step of its own, which the pruned "
                "functional model does not have.",
                model.name,
            )
    compile_alike(small, model)
    return small


def _task(model: Any, small: Any) -> Any:
    """An object of the model's class whose network is the smaller one."""
    kind: Any = type(model)
    plain = type(small)
    task = kind.__new__(kind)
    plain.__init__(task, inputs=small.input, outputs=small.output, name=model.name)
    old = {id(part) for part in _parts(model)}
    own = vars(task)
    for name, value in vars(model).items():
        if name in own or name.startswith("_self_") or name in _OF_THE_OLD_NETWORK:
            continue
        if name == "_functional_layer_ids":
            value = {id(layer) for layer in small._flatten_layers()}
        elif any(id(part) in old for part in _parts_in(value)):
            value = _counterpart(value, model, small)
            if value is None:
                continue
        with contextlib.suppress(AttributeError):
            setattr(task, name, value)

    def save(filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Save the network: the class can't be made anew from settings without its widths."""
        plain(inputs=task.input, outputs=task.output, name=task.name).save(
            filepath, *args, **kwargs
        )

    def get_config() -> dict:
        raise NotImplementedError(
            f"a pruned {kind.__name__} can't be made anew from its class's settings, which "
            "do not hold its widths: save its network with model.save(path), and put it into a "
            "task with tfgraphprune.with_network(task, network)."
        )

    task.save, task.get_config = save, get_config
    return task


def _parts(model: Any) -> Iterator[Any]:
    """The layers and weights of a task's network, without what the task holds beside it."""
    for layer in _network_layers(model):
        for inner in layer._flatten_layers():
            yield inner
            yield from inner.weights


def _network_layers(model: Any) -> list:
    """The layers that are called in a functional model, ops left out."""
    called = (call.layer for call in dialect_of(model).stored_calls(model))
    return [layer for layer in called if hasattr(layer, "_flatten_layers")]


def _parts_in(value: Any) -> Iterator[Any]:
    """The layers and variables that an attribute holds."""
    for leaf in tf.nest.flatten(value):
        yield leaf
        if hasattr(leaf, "_flatten_layers"):
            yield from leaf._flatten_layers(include_self=False)


def _counterpart(value: Any, model: Any, small: Any) -> Any:
    """What stands in the smaller network for a layer, or a model, of the old one.

    A backbone that is not called itself shares its layers with the feature extractor that is.
    """
    if not hasattr(value, "_flatten_layers"):
        return None
    dialect = dialect_of(model)
    parts = {id(layer) for layer in value._flatten_layers()}
    for layer in _network_layers(model):
        inner = dialect.layers_in(layer) if dialect.has_layer_graph(layer) else []
        extracted = inner and all(id(part) in parts for part in inner)
        if layer is value or (dialect.is_model(value) and extracted):
            with contextlib.suppress(ValueError):
                return small.get_layer(layer.name)
    return None


def compile_alike(small: Any, model: Any) -> None:
    """Compile a model as another one of the same outputs is, with a fresh optimizer and metrics.

    Args:
        small: is compiled, if the other one is; its outputs then have the other one's names, by
            which losses and labels are given (wrapped layers have names of their own).
        model: of the same Keras.

    Raises:
        UserError: the optimizer can't be made anew.
    """
    optimizer = getattr(model, "optimizer", None)
    if not optimizer:
        return
    keras = dialect_of(model).keras
    names = list(getattr(model, "output_names", None) or ())
    if names and list(small.output_names) != names:
        small.output_names = names

    def fresh(value: Any) -> Any:
        return _fresh_metric(value, names) if isinstance(value, keras.metrics.Metric) else value

    # `compile_from_config` takes a function of the user's for Keras' own one of that name.
    with distributed_as(small):
        settings = {
            name: tf.nest.map_structure(fresh, value) if "metrics" in name else value
            for name, value in model._compile_config.config.items()
        }
        settings["optimizer"] = fresh_optimizer(model, small)
        # The own `compile` of a class has left its settings in attributes, which were handed on.
        keras.Model.compile(small, **settings)


def adds_losses(model: Any) -> bool:
    """Whether a functional model has losses of `add_loss`, which nothing made of its layers has."""
    return any(type(layer).__name__ == "AddLoss" for layer in model.layers)


def fresh_optimizer(model: Any, target: Any) -> Any:
    """An optimizer like the one that a model was compiled with, without its slots.

    What was excluded from weight decay, which an optimizer's configuration doesn't hold, is so in
    the weights of the same names.

    Args:
        model: compiled.
        target: whose weights the new one is for, of the same Keras.

    Raises:
        UserError: the optimizer can't be made anew.
    """
    optimizer = model.optimizer
    try:
        fresh = type(optimizer).from_config(optimizer.get_config())
    except (TypeError, ValueError, NotImplementedError) as error:
        raise UserError(
            f"the optimizer of {model.name!r}, whose class is {type(optimizer).__name__}, can't be "
            f"made anew ({error}): give it a get_config with all of its settings."
        ) from error
    # In mixed precision the optimizer is inside one that scales the loss.
    old, new = (getattr(each, "inner_optimizer", each) for each in (optimizer, fresh))
    keys = getattr(old, "_exclude_from_weight_decay", ())
    excluded = {
        name for name, v in _numbered(model.trainable_variables) if keys and old._var_key(v) in keys
    }
    pattern = getattr(old, "_exclude_from_weight_decay_pattern", None)  # of Keras 3
    names = [pattern.pattern] if pattern else getattr(old, "_exclude_from_weight_decay_names", [])
    if excluded or names:
        new.exclude_from_weight_decay(
            [v for name, v in _numbered(target.trainable_variables) if name in excluded],
            list(names),
        )
    return fresh


def _numbered(variables: Sequence[Any]) -> Iterator[tuple[tuple[str, int], Any]]:
    """Variables with their names and, as those of nested models may be equal, which of them."""
    seen = Counter[str]()
    for variable in variables:
        name = getattr(variable, "path", variable.name)
        yield (name, seen[name]), variable
        seen[name] += 1


def _fresh_metric(metric: Any, outputs: Sequence[str]) -> Any:
    """A metric like another one, or `None` where its class doesn't say how it is made."""
    try:
        config = dict(metric.get_config())
        if len(outputs) > 1:  # Keras has put the output's name before the metric's own
            for output in outputs:
                config["name"] = config["name"].removeprefix(f"{output}_")
        return type(metric).from_config(config)
    except (TypeError, ValueError, KeyError, NotImplementedError) as error:
        _LOG.warning(
            "The metric %s is left out, as a %s can't be made anew: %s",
            metric.name, type(metric).__name__, error,
        )  # fmt: skip
        return None
