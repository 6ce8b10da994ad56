"""One training step of a pruned model of the zoo; detectors train with their own losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

_BOX_LOSSES = {
    "RetinaNet": ("focal", "smoothl1"),
    "YOLOV8Detector": ("binary_crossentropy", "ciou"),
}


class _Recorder(keras.optimizers.SGD):
    """Gradient descent with short steps, which remembers the gradients of the last one."""

    def __init__(self) -> None:
        super().__init__(1e-3, global_clipnorm=1.0)
        self.seen: list[tuple[Any, Any]] = []

    def apply_gradients(self, grads_and_vars: Any, **settings: Any) -> Any:
        """Remember them, and apply those that there are."""
        self.seen = list(grads_and_vars)
        return super().apply_gradients([(g, v) for g, v in self.seen if g is not None], **settings)


def trains(model: Any, dense: Any, images: np.ndarray) -> bool | str:
    """Whether a step goes well, or what is wrong.

    Every gradient must be finite and there, unless the dense model's is missing as well, and the
    outputs after the step must be finite.
    """
    try:
        missing, finite = _step(model, images)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    if not finite:
        return "a gradient is not finite"
    if not _is_finite(model, images):
        # Deep networks with random weights amplify what a step does to the moving statistics.
        _step(dense, images)
        if _is_finite(dense, images):
            return "an output is not finite after the step"
    if missing:
        missing = sorted(set(missing) - set(_step(dense, images)[0]))
    return f"no gradients: {', '.join(missing)[:200]}" if missing else True


def _step(model: Any, images: np.ndarray) -> tuple[list[str], bool]:
    """Names of the variables without gradients, and whether the other gradients are finite."""
    recorder = _Recorder()
    kind = type(model).__name__
    if kind in _BOX_LOSSES:
        one, other = _BOX_LOSSES[kind]
        losses = {"classification_loss": one, "box_loss": other}
        model.compile(optimizer=recorder, run_eagerly=True, **losses)
        boxes = np.array([[[8, 8, 80, 80]], [[20, 12, 60, 88]]], "float32")
        labels = {"boxes": boxes, "classes": np.array([[1], [2]], "float32")}
        model.train_on_batch(images, labels)
    else:
        with tf.GradientTape() as tape:
            loss = sum(_scaled(t) for t in tf.nest.flatten(model(images, training=True)))
        variables = model.trainable_variables
        gradients = tape.gradient(loss, variables)
        recorder.apply_gradients(list(zip(gradients, variables, strict=True)))
    missing = [v.name for g, v in recorder.seen if g is None]
    there = [tf.convert_to_tensor(g) for g, _ in recorder.seen if g is not None]
    return missing, bool(there) and all(np.isfinite(g).all() for g in there)


def _is_finite(model: Any, images: np.ndarray) -> bool:
    return all(np.isfinite(t).all() for t in tf.nest.flatten(model(images, training=False)))


def _scaled(output: Any) -> Any:
    """A loss of the size of one, however large the outputs are."""
    size = tf.stop_gradient(tf.reduce_mean(output**2)) + 1e-12
    return tf.reduce_mean((output - tf.sqrt(size)) ** 2) / size
