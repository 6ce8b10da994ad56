"""What a training minimises: our own loss, that of the user's compile, or the user's train_step."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras
from absl import logging

from tfgraphprune.errors import UserError
from tfgraphprune.outputs import check_classifier, loss_name, scores_classes
from tfgraphprune.training.distill import Distiller
from tfgraphprune.training.features import FeatureMatch

_EPSILON = 1e-7


def is_compiled(model: Any) -> bool:
    """Whether the user gave the model, of tf_keras or Keras 3, an optimizer and a loss."""
    compiled = getattr(model, "_is_compiled", False) or getattr(model, "compiled", False)
    return bool(compiled and getattr(model, "optimizer", None))


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
    losses = tf.nest.flatten(model.loss)
    return any("binary" in loss_name(loss) for loss in losses) and model.output_shape[-1] > 1


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


class CompiledDistiller(keras.Model):
    """Trains a compiled model on its own losses, and on a teacher's outputs.

    For each output the teacher's part fits what the user's loss says the output is: softmax or
    its logits (a `...Crossentropy` over classes) as in Hinton et al., arXiv 1503.02531; sigmoids or
    their logits (`BinaryCrossentropy`) likewise with a Bernoulli distribution a unit; the mean
    squared difference, in units of the teacher's variance in the batch, for everything else.

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
        super().__init__()
        self.student = student
        self.teacher = teacher
        self._alpha = alpha if teacher is not None else 0.0
        self._temperature = temperature
        self._features = features
        shapes = [
            [tuple(t.shape) for t in tf.nest.flatten(m.outputs)] for m in (student, teacher) if m
        ]
        if teacher is not None and shapes[0] != shapes[1]:
            raise UserError(
                f"the teacher's outputs have shapes {shapes[1]}, the model's {shapes[0]}: give a "
                "teacher with the same outputs."
            )
        self._taught = keras.metrics.Mean("distillation")

    @property
    def trainable_variables(self) -> list:
        """The student's only."""
        return self.student.trainable_variables

    @property
    def metrics(self) -> list:
        """The student's, and the teacher's part of the loss."""
        own = [self._taught] if self.teacher is not None else []
        return [*self.student.metrics, *own]

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The student's outputs."""
        if training and self._features is not None:
            return self._features(inputs)
        return self.student(inputs, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None
    ) -> tf.Tensor:
        """The user's losses with the model's penalties, and the teacher's part."""
        student = self.student
        loss = student.compiled_loss(y, y_pred, sample_weight, regularization_losses=student.losses)
        if self.teacher is None:
            return loss
        outputs = [tf.stop_gradient(t) for t in tf.nest.flatten(self.teacher(x, training=False))]
        losses = tf.nest.flatten(student.compiled_loss._losses)
        learned = tf.nest.flatten(y_pred)
        part = tf.add_n(
            [self._divergence(*each) for each in zip(losses, outputs, learned, strict=True)]
        )
        self._taught.update_state(part)
        part *= self._alpha
        if self._features is not None:
            part += sum(self._features.losses)
        # Keras has divided its own loss by the replicas, over which gradients are summed.
        part /= tf.distribute.get_strategy().num_replicas_in_sync
        return (1 - self._alpha) * loss + part

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> dict[str, Any]:
        """The metrics that the user compiled."""
        results = self.student.compute_metrics(x, y, y_pred, sample_weight)
        return {**results, self._taught.name: self._taught.result()} if self.teacher else results

    def _divergence(self, loss: Any, taught: tf.Tensor, learned: tf.Tensor) -> tf.Tensor:
        name = loss_name(loss)
        heat = self._temperature
        if "crossentropy" not in name:
            scale = tf.math.reduce_variance(taught) + _EPSILON
            return tf.reduce_mean(tf.math.squared_difference(taught, learned)) / scale
        logits = [_logits(t, loss, "binary" in name) / heat for t in (taught, learned)]
        if "binary" in name:
            shares = tf.sigmoid(logits[0])
            difference = tf.nn.sigmoid_cross_entropy_with_logits(shares, logits[1])
            least = tf.nn.sigmoid_cross_entropy_with_logits(shares, logits[0])
            return heat**2 * tf.reduce_mean(tf.reduce_sum(difference - least, -1))
        logs = [tf.nn.log_softmax(each) for each in logits]
        return heat**2 * tf.reduce_mean(tf.reduce_sum(tf.exp(logs[0]) * (logs[0] - logs[1]), -1))


def _logits(outputs: tf.Tensor, loss: Any, binary: bool) -> tf.Tensor:
    config = getattr(loss, "_fn_kwargs", {})
    if config.get("from_logits", False):
        return outputs
    share = tf.clip_by_value(outputs, _EPSILON, 1 - _EPSILON)
    return tf.math.log(share) - tf.math.log1p(-share) if binary else tf.math.log(share)
