"""Keeps the converter's and the runtime's messages, written by C++ to stderr, off the terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator

# Descriptor 2 belongs to the process: two threads that both moved it would restore the wrong one.
_DESCRIPTOR = threading.Lock()
_STDERR = 2


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discard what is written to stderr, by Python or by C++, while the block runs.

    Errors are raised as exceptions and pass through; descriptor 2 and the level of TensorFlow's
    logger are as before afterwards.
    """
    logger = logging.getLogger("tensorflow")
    with _DESCRIPTOR:
        level = logger.level
        logger.setLevel(logging.ERROR)
        saved = _redirect()
        try:
            yield
        finally:
            if saved is not None:
                sys.stderr.flush()
                os.dup2(saved, _STDERR)
                os.close(saved)
            logger.setLevel(level)


def _redirect() -> int | None:
    """Point descriptor 2 to the null device; a copy of the old one, or None where it is closed."""
    try:
        saved = os.dup(_STDERR)
    except OSError:
        return None
    if sys.stderr is not None:
        sys.stderr.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, _STDERR)
    os.close(null)
    return saved
