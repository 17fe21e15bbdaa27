"""Targets as numbers, for the regressors."""

from typing import Any

import numpy as np


def as_numbers(y: Any) -> np.ndarray:
    """Targets in float64.

    Raises:
        ValueError: If they are text.
    """
    values = np.asarray(y)
    if values.dtype.kind in "USO":
        raise ValueError(
            f"y should hold numbers, but it holds text such as {str(values.flat[0])!r}; for classes take KANClassifier."
        )
    return values.astype(np.float64)
