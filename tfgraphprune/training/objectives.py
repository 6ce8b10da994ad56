"""What a training minimises: our own loss, that of the user's compile, or the user's train_step."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from absl import logging

from tfgraphprune.errors import UserError
from tfgraphprune.identity import named
from tfgraphprune.outputs import check_classifier, scores_classes, takes_units_apart
from tfgraphprune.pruning.tasks import adds_losses
from tfgraphprune.training import teaching
from tfgraphprune.training.distill import Distiller, Taught
from tfgraphprune.training.features import FeatureMatch


def is_compiled(model: Any) -> bool:
    """Whether the user said how the model, of tf_keras or Keras 3, is trained.

    That is by an optimizer with a loss, with losses that `add_loss` made, or with a training step.
    `compile(metrics=...)`, for an `evaluate`, says nothing of that.
    """
    compiled = getattr(model, "_is_compiled", False) or getattr(model, "compiled", False)
    if not compiled or not getattr(model, "optimizer", None):
        return False
    return (
        any(loss is not None for loss in tf.nest.flatten(getattr(model, "loss", None)))
        or (isinstance(model, keras.Model) and has_own_step(model))
        or adds_losses(model)
    )


def compile_settings(model: Any) -> dict[str, Any]:
    """Optimizer, losses and their weights of a compiled model, as plain values.

    They are the same in each process; what has no configuration stands by its name.
    """
    given = getattr(model, "_compile_config", None)
    given = given.config if given is not None else {}
    return {
        "optimizer": _described(model.optimizer),
        "loss": tf.nest.map_structure(lambda loss: _described(_by_name(loss)), given.get("loss")),
        "loss_weights": _described(given.get("loss_weights")),
    }


def _by_name(loss: Any) -> Any:
    """What Keras takes a loss's name for, as a loaded model has it."""
    with contextlib.suppress(ValueError):
        return keras.losses.get(loss) if isinstance(loss, str) else loss
    return loss


def _described(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        # Keras sets an optimizer's jit_compile by whether there are GPUs.
        return {str(n): _described(part) for n, part in value.items() if n != "jit_compile"}
    if isinstance(value, list | tuple):
        return [_described(part) for part in value]
    config = None
    if hasattr(value, "get_config"):
        with contextlib.suppress(NotImplementedError, TypeError, ValueError):
            config = _described(value.get_config())
    return [named(value), config]


def check_losses_stay(model: Any, where: str) -> None:
    """Refuse a training where the losses of a compiled model can't go, unless ours serves as well.

    Args:
        model: of tf_keras or Keras 3.
        where: the training, for the message.

    Raises:
        UserError: a compiled model that is no classifier of one label.
    """
    if not is_compiled(model):
        return
    if not scores_classes(model):
        raise UserError(
            f"{where} can't take along the losses that {model.name!r} was compiled with: train it "
            "by a fit_fn of your own, or in a program that uses tf_keras (import tfgraphprune "
            "before tf.keras is first used)."
        )
    logging.info("%s: trained on cross-entropy, not on the loss of its compile", where)


def has_own_step(model: Any) -> bool:
    """Whether the model's class trains in its own way."""
    ours = keras.Model
    kind = type(model)
    return (
        kind.train_step is not ours.train_step
        or kind.compute_loss is not ours.compute_loss
        or kind.make_train_function is not ours.make_train_function
    )


def is_multi_label(model: Any) -> bool:
    """Whether a compiled model's loss takes the units of an output as labels of their own."""
    losses = [loss for loss in tf.nest.flatten(model.loss) if loss is not None]
    return any(map(takes_units_apart, losses)) and model.output_shape[-1] > 1


def learner(
    model: Any,
    teacher: Any,
    alpha: float,
    temperature: float,
    label_smoothing: float,
    features: FeatureMatch | None = None,
) -> Any:
    """The Keras model to be compiled and fitted so that `model` learns.

    Args:
        model: compiled by the user, or a classifier.
        teacher: the dense model, or `None`.
        alpha: the teacher's share of the loss.
        temperature: see `Distiller`.
        label_smoothing: for models that were not compiled; a compiled loss has its own.
        features: around the same two models, for a loss on what their layers give.

    Returns:
        The model itself where its class has a training step of its own, else a `Distiller` or
        `CompiledDistiller` around it.

    Raises:
        UserError: a model that is neither compiled nor a classifier, or a teacher with other
            outputs.
    """
    if not is_compiled(model):
        if has_own_step(model):
            raise UserError(
                f"{type(model).__name__} has a training step of its own but is not compiled: call "
                "compile on it first."
            )
        check_classifier(model, teacher)
        return Distiller(model, teacher, alpha, temperature, label_smoothing, features)
    if has_own_step(model):
        if teacher is not None:
            logging.info("no distillation: %s has its own train_step", type(model).__name__)
        return model
    return CompiledDistiller(model, teacher, alpha, temperature, features)


class CompiledDistiller(Taught):
    """Trains a compiled model on its own losses, and on a teacher's outputs.

    For each output the teacher's part fits what the user's loss says the output is: softmax or
    its logits (a `...Crossentropy` over classes) as in Hinton et al., arXiv 1503.02531; sigmoids or
    their logits (`BinaryCrossentropy`) likewise with a Bernoulli distribution a unit; for all other
    outputs the user's loss with the teacher's outputs as labels, where it is one that can compare
    (see `measure`), or else the mean squared difference in units of the teacher's variance. A
    crossentropy that has no `from_logits` is taken to be of logits where no softmax or sigmoid
    makes the output. The compile's `loss_weights` count here too; outputs without a loss, and those
    of whole numbers, have no part.

    Args:
        student: a compiled model of any number of outputs.
        teacher: a model of the same inputs and outputs, never trained; or `None`.
        alpha: weight of the teacher's part, from 0 to 1; the user's losses have the rest.
        temperature: T, for classes and sigmoids.
        features: runs the student in training, and adds a loss on what its layers give.

    Raises:
        UserError: the teacher's outputs have other shapes.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any = None,
        alpha: float = 0.5,
        temperature: float = 4.0,
        features: FeatureMatch | None = None,
    ):
        super().__init__(student, teacher, alpha, temperature, features)
        shapes = [
            [tuple(t.shape) for t in tf.nest.flatten(m.outputs)] for m in (student, teacher) if m
        ]
        if teacher is not None and shapes[0] != shapes[1]:
            raise UserError(
                f"the teacher's outputs have shapes {shapes[1]}, the model's {shapes[0]}: give a "
                "teacher with the same outputs."
            )
        self._taught = keras.metrics.Mean("distillation")
        models = (teacher, student) if teacher is not None else ()
        self._shares = list(zip(*map(teaching.probabilities, models), strict=True))
        self._compared = [False] * len(student.outputs)
        self._variances = [1.0] * len(student.outputs)

    def measure(self, batches: Iterable[Any]) -> None:
        """Find out which losses can compare outputs, and the variances of the teacher's.

        Without it none can, and these are 1.

        Args:
            batches: `(x, ...)` tuples, of which the first 256 examples are looked at.
        """
        given = [loss for loss in tf.nest.flatten(self.student.loss) if loss is not None]
        if self.teacher is None or all(map(teaching.is_crossentropy, given)):
            return
        found = teaching.first_outputs(self.teacher, batches)
        first = next(found)
        compiled = self.student.compiled_loss
        if not compiled.built:  # a model that was trained or evaluated before has its losses
            compiled.build(tf.nest.pack_sequence_as(self.student.output, first))
        losses = zip(compiled._losses, first, strict=True)
        self._compared = [teaching.compares(loss, outputs) for loss, outputs in losses]
        self._variances = teaching.variances(itertools.chain([first], found))

    @property
    def metrics(self) -> list:
        """The student's, and the teacher's part of the loss."""
        own = [self._taught] if self.teacher is not None else []
        return [*self.student.metrics, *own]

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None
    ) -> tf.Tensor:
        """The user's losses with the model's penalties, and the teacher's part."""
        student = self.student
        loss = student.compiled_loss(y, y_pred, sample_weight, regularization_losses=student.losses)
        if self.teacher is None:
            return loss
        part = self._teachers_part(x, tf.nest.flatten(y_pred))
        self._taught.update_state(part, tf.shape(tf.nest.flatten(y_pred)[0])[0])
        part *= self._alpha
        if self._features is not None:
            part += sum(self._features.losses)
        # Keras has divided its own loss by the replicas, over which gradients are summed.
        part /= tf.distribute.get_strategy().num_replicas_in_sync
        return (1 - self._alpha) * loss + tf.cast(part, loss.dtype)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> dict[str, Any]:
        """The metrics that the user compiled."""
        results = self.student.compute_metrics(x, y, y_pred, sample_weight)
        return {**results, self._taught.name: self._taught.result()} if self.teacher else results

    def _teachers_part(self, x: Any, learned: list[tf.Tensor]) -> tf.Tensor:
        """The weighted sum over the outputs."""
        compiled = self.student.compiled_loss
        outputs = tf.nest.flatten(self.teacher(x, training=False))
        parts = [tf.zeros([])]
        for loss, weight, taught, mine, shares, compared, variance in zip(
            compiled._losses, compiled._loss_weights, outputs, learned, self._shares,
            self._compared, self._variances, strict=True,
        ):  # fmt: skip
            if loss is None or not mine.dtype.is_floating:
                continue
            pair = tf.stop_gradient(tf.cast(taught, tf.float32)), tf.cast(mine, tf.float32)
            if teaching.is_crossentropy(loss):
                part = teaching.class_divergence(loss, pair, shares, self._temperature)
            elif compared:
                part = teaching.mean(loss(*pair))
            else:
                part = teaching.mean(tf.math.squared_difference(*pair)) / variance
            parts.append(part if weight is None else weight * part)
        return tf.add_n(parts)
