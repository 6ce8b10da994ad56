"""How far two runs of the same network are apart, in a unit that doesn't depend on its scale."""

from __future__ import annotations

import numpy as np


def scaled_errors(reference: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Absolute differences in units of the reference's standard deviation, flat.

    Args:
        reference: values of one output.
        result: what should be the same.
    """
    difference = np.abs(reference.astype(np.float64) - result.astype(np.float64)).ravel()
    spread = float(reference.astype(np.float64).std())
    if spread == 0.0:
        # A constant output has no scale: equal is no error, anything else is beyond measure.
        return np.where(difference == 0.0, 0.0, np.inf)
    return difference / spread
