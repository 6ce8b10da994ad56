"""Knowledge distillation: the pruned model learns from the dense model's outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfgraphprune.outputs import gives_probabilities, log_probabilities
from tfgraphprune.training.features import FeatureMatch
from tfgraphprune.training.labels import as_rows
from tfgraphprune.training.teaching import mean


class Taught(keras.Model):
    """What a student and its teacher are in every kind of distillation.

    Args:
        student: the model that learns.
        teacher: a model on the same inputs, never trained; or `None`.
        alpha: weight of the teacher's part, from 0 to 1.
        temperature: by which outputs are divided.
        features: runs the student in training, and adds a loss on what its layers give.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        alpha: float,
        temperature: float,
        features: FeatureMatch | None,
    ):
        super().__init__(autocast=False)  # the models inside see inputs as they are
        self.student = student
        self.teacher = teacher
        self._alpha = alpha if teacher is not None else 0.0
        self._temperature = temperature
        self._features = features

    @property
    def trainable_variables(self) -> list:
        """The student's only."""
        return self.student.trainable_variables

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The student's outputs."""
        if training and self._features is not None:
            return self._features(inputs)
        return self.student(inputs, training=training)

    # What callbacks such as ModelCheckpoint and EarlyStopping keep is the student.

    def get_weights(self) -> list[np.ndarray]:
        """The student's only."""
        return self.student.get_weights()

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Set the student's."""
        self.student.set_weights(weights)

    def save(self, *arguments: Any, **settings: Any) -> None:
        """Save the student."""
        self.student.save(*arguments, **settings)

    def save_weights(self, *arguments: Any, **settings: Any) -> None:
        """Save the student's."""
        self.student.save_weights(*arguments, **settings)

    def load_weights(self, *arguments: Any, **settings: Any) -> Any:
        """Load the student's."""
        return self.student.load_weights(*arguments, **settings)


class Distiller(Taught):
    """Trains a student on labels and on a teacher's outputs.

    Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531:
    `loss = (1 - alpha) CE(y, s) + alpha T^2 KL(softmax(t / T) || softmax(s / T))`. Without a
    teacher it is plain cross-entropy.

    Args:
        student: the model that learns; logits or probabilities, as is the teacher.
        teacher: a model on the same inputs and classes, never trained; or `None`.
        alpha: weight of the teacher's part, from 0 to 1.
        temperature: T.
        label_smoothing: share of the label's probability spread over all classes.
        features: runs the student in training, and adds a loss on what its layers give.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any = None,
        alpha: float = 0.5,
        temperature: float = 4.0,
        label_smoothing: float = 0.0,
        features: FeatureMatch | None = None,
    ):
        super().__init__(student, teacher, alpha, temperature, features)
        self._smoothing = label_smoothing
        self._student_probabilities = gives_probabilities(student)
        self._teacher_probabilities = teacher is not None and gives_probabilities(teacher)
        self._mean_loss = keras.metrics.Mean("loss")

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None
    ) -> tf.Tensor:
        """Cross-entropy with the labels, the teacher's part, and the student's own penalties."""
        hard = log_probabilities(y_pred, self._student_probabilities)
        classes = tf.shape(hard)[-1]
        spread = self._smoothing / tf.cast(classes, tf.float32)
        target = as_rows(y, classes) * (1 - self._smoothing) + spread
        losses = -(1 - self._alpha) * tf.reduce_sum(target * hard, -1)
        if self.teacher is not None:
            heat = self._temperature
            outputs = tf.stop_gradient(self.teacher(x, training=False))
            taught = log_probabilities(outputs, self._teacher_probabilities, heat)
            learned = log_probabilities(y_pred, self._student_probabilities, heat)
            divergence = tf.reduce_sum(tf.exp(taught) * (taught - learned), -1)
            losses += self._alpha * heat**2 * divergence
        if sample_weight is not None:
            losses *= tf.cast(tf.reshape(sample_weight, tf.shape(losses)), losses.dtype)
        loss = mean(losses) + sum(self.student.losses)
        if self._features is not None:
            loss += sum(self._features.losses)
        self._mean_loss.update_state(loss, tf.shape(losses)[0])
        # Gradients are summed over replicas.
        return loss / tf.distribute.get_strategy().num_replicas_in_sync

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> dict[str, Any]:
        """Metrics see class indices, whether labels come as indices, one-hot rows or soft rows.

        Keras settles on a kind of accuracy once, but soft labels of the training may meet
        indices in the validation data.
        """
        indices = tf.argmax(as_rows(y, tf.shape(y_pred)[-1]), -1)
        return super().compute_metrics(x, indices, y_pred, sample_weight)
