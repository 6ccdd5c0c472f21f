"""What several seeds say about one number."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from plaudit.suites.statistics import Estimate


def over_seeds(values: Sequence[float]) -> Estimate:
    """Their mean with Student's 95 % interval; of a single seed, the value with no interval to speak of."""
    array = np.array(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Estimate(value=mean, low=mean, high=mean, prompts=len(array))
    half = float(stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array)))
    return Estimate(value=mean, low=mean - half, high=mean + half, prompts=len(array))
