"""TensorFlow's op determinism for a stretch of code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tensorflow.python.framework import config


@contextmanager
def deterministic_ops(enabled: bool = True) -> Iterator[None]:
    """Run the body with op determinism on (or off), then restore what was before.

    TensorFlow's public interface can only switch it on.
    """
    before = config.is_op_determinism_enabled()
    _switch(enabled)
    try:
        yield
    finally:
        _switch(before)


def _switch(enabled: bool) -> None:
    if enabled:
        config.enable_op_determinism()
    else:
        config.disable_op_determinism()
