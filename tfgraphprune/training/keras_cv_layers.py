"""KerasCV's augmentation layers as pure functions of a seed.

The layers draw from generators and from `tf.random`, in whatever order their ops run. Here both are
replaced, in one layer object, by draws that depend on a given seed and their place in the code.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from tfgraphprune.errors import MissingExtraError

ROUNDING = 1e-3
"""How far resized images may leave [0, 1]."""


def rand_augment(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """KerasCV's RandAugment (Cubuk et al., 2020), each image on its own.

    Args:
        images: float `[b, h, w, 3]` in [0, 1].
        seed: int32 `[2]`.

    Raises:
        MissingExtraError: KerasCV is not installed.
    """
    return _rand_augment()(images, seed)


def cutmix(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """KerasCV's CutMix (Yun et al., ICCV 2019): patches of other images of the batch.

    Of a patch that crosses the border the part inside counts, as in the paper's code; KerasCV's own
    labels count all of it.

    Args:
        images: `[b, h, w, c]`.
        labels: float `[b, k]`, mixed as the areas are.
        seed: int32 `[2]`.

    Raises:
        MissingExtraError: KerasCV is not installed.
    """
    count = tf.shape(images)[0]
    own = tf.reshape(tf.range(count, dtype=tf.float32), [-1, 1, 1, 1])
    origins = tf.zeros_like(images[..., :1], tf.float32) + own
    both = tf.concat([tf.cast(images, tf.float32), origins], -1)
    mixed, _ = _mixing("CutMix")(both, labels, seed)
    foreign = mixed[..., -1:] - own  # in the patch, how much further the other image's number is
    share = tf.reduce_mean(tf.cast(foreign != 0, labels.dtype), [1, 2])
    high, low = tf.reduce_max(foreign, [1, 2, 3]), tf.reduce_min(foreign, [1, 2, 3])
    others = tf.gather(labels, tf.range(count) + tf.cast(tf.where(high > 0, high, low), tf.int32))
    return mixed[..., :-1], (1 - share) * labels + share * others


def mixup(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """KerasCV's MixUp (Zhang et al., ICLR 2018): blends of two images of the batch.

    Args:
        images: `[b, h, w, c]`.
        labels: float `[b, k]`, blended alike.
        seed: int32 `[2]`.

    Raises:
        MissingExtraError: KerasCV is not installed.
    """
    return _mixing("MixUp")(images, labels, seed)


def require_keras_cv() -> None:
    """Check that KerasCV is there.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import keras_cv  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Augmentation by KerasCV", "keras-cv", "cv") from error


# Building and tracing RandAugment takes seconds, so each layer is made once.
@functools.cache
def _rand_augment() -> Callable[..., Any]:
    layer, draws = _stateless(lambda layers: layers.RandAugment(value_range=(0, 1), seed=0))

    @tf.function(reduce_retracing=True)
    def change(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        def one(image_and_seed: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            draws.start(image_and_seed[1])
            return tf.ensure_shape(layer(image_and_seed[0]), images.shape[1:])

        seeds = tf.random.stateless_uniform(
            (tf.shape(images)[0], 2), seed, minval=None, maxval=None, dtype=tf.int32
        )
        images = tf.cast(images, tf.float32)
        said = (
            "rand_augment takes images in [0, 1]: scale them, with a Rescaling layer in the model."
        )
        held = [
            tf.debugging.assert_less_equal(tf.reduce_max(images), 1.0 + ROUNDING, said),
            tf.debugging.assert_greater_equal(tf.reduce_min(images), -ROUNDING, said),
        ]
        with tf.control_dependencies(held):
            spec = tf.TensorSpec(images.shape[1:], tf.float32)
            return tf.map_fn(one, (images, seeds), fn_output_signature=spec)

    return change


@functools.cache
def _mixing(name: str) -> Callable[..., Any]:
    layer, draws = _stateless(lambda layers: getattr(layers, name)(seed=0))

    @tf.function(reduce_retracing=True)
    def change(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple:
        draws.start(seed)
        mixed = layer({"images": tf.cast(images, tf.float32), "labels": labels})
        return (
            tf.ensure_shape(mixed["images"], images.shape),
            tf.ensure_shape(mixed["labels"], labels.shape),
        )

    return change


class _Draws:
    """What KerasCV calls of `tf.random` and of generators, each call with a seed of its own."""

    def __init__(self) -> None:
        self._seed: tf.Tensor | None = None
        self._count = 0

    def start(self, seed: tf.Tensor) -> None:
        """Draw from this seed on, while a function is traced."""
        self._seed, self._count = seed, 0

    def uniform(
        self, shape: Any, minval: Any = 0, maxval: Any = None, dtype: Any = tf.float32,
        seed: Any = None,
    ) -> tf.Tensor:  # fmt: skip
        """As `tf.random.uniform`."""
        whole = tf.as_dtype(dtype).is_integer
        maxval = 1 if maxval is None and not whole else maxval
        return tf.random.stateless_uniform(shape, self._next(), minval, maxval, dtype)

    def normal(
        self, shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = tf.float32,
        seed: Any = None,
    ) -> tf.Tensor:  # fmt: skip
        """As `tf.random.normal`."""
        return tf.random.stateless_normal(shape, self._next(), mean, stddev, dtype)

    def gamma(self, shape: Any, alpha: Any, seed: Any = None) -> tf.Tensor:
        """As `tf.random.gamma`."""
        return tf.random.stateless_gamma(shape, self._next(), alpha)

    def shuffle(self, value: tf.Tensor, seed: Any = None) -> tf.Tensor:
        """As `tf.random.shuffle`."""
        return tf.random.experimental.stateless_shuffle(value, self._next())

    def _next(self) -> tf.Tensor:
        self._count += 1
        return tf.random.experimental.stateless_fold_in(self._seed, self._count)


class _TensorFlow:
    """TensorFlow with another `random`."""

    def __init__(self, random: _Draws):
        self.random = random

    def __getattr__(self, name: str) -> Any:
        return getattr(tf, name)


def _stateless(build: Callable[[Any], Any]) -> tuple[Any, _Draws]:
    """A KerasCV layer all of whose draws come from the second result."""
    require_keras_cv()
    from keras_cv import layers

    layer, draws = build(layers), _Draws()
    for part in list(_parts(layer, set())):
        part.__class__ = _redrawn(type(part), draws)
        if hasattr(part, "_random_generator"):
            part._random_generator = draws
    return layer, draws


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    """The KerasCV objects that an object holds, itself first: layers and samplers of factors."""
    if isinstance(value, list | tuple):
        for entry in value:
            yield from _parts(entry, seen)
    elif type(value).__module__.startswith("keras_cv.") and id(value) not in seen:
        seen.add(id(value))
        yield value
        for entry in list(vars(value).values()):
            yield from _parts(entry, seen)


def _redrawn(kind: type, draws: _Draws) -> type:
    """A subclass whose methods see `draws` in the place of `tf.random`."""
    methods = {}
    for base in kind.__mro__:
        for name, method in vars(base).items():
            if not isinstance(method, types.FunctionType) or name in methods:
                continue
            own = base.__module__.startswith("keras_cv.") and getattr(kind, name) is method
            if own and name != "__init__" and {"tf", "random"} <= set(method.__code__.co_names):
                methods[name] = types.FunctionType(
                    method.__code__,
                    {**method.__globals__, "tf": _TensorFlow(draws)},
                    name,
                    method.__defaults__,
                    method.__closure__,
                )
                methods[name].__kwdefaults__ = method.__kwdefaults__
    return type(kind.__name__, (kind,), methods)
