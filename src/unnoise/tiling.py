"""Pictures on a model's grid: padded at the edge by reflection, and cut back. (Tiles come with large pictures.)"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def reflected(length: int, total: int) -> npt.NDArray[np.int64]:
    """Indices 0..length-1 continued to `total` by reflection at the last one (not repeated); a single one is repeated."""
    period = max(2 * (length - 1), 1)
    place = np.arange(total) % period
    return np.minimum(place, period - place) if length > 1 else np.zeros(total, np.int64)


def padded(length: int, grid: int) -> int:
    """The next multiple of `grid` from `length` up."""
    return -(-length // grid) * grid
