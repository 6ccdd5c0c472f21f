"""How precisely a reproduction's trainings multiply. What claims are about is always drawn in float32."""

from typing import Literal

from plaudit.core.devices import best_device, has_fast_bfloat16

Precision = Literal["float32", "bfloat16"]


def native_precision() -> Precision:
    """bfloat16 where this machine multiplies in it natively."""
    return "bfloat16" if has_fast_bfloat16(best_device()) else "float32"


def told_precision(precision: Precision) -> dict[str, str]:
    """For what a training is named after: nothing of float32, which all had at first."""
    return {} if precision == "float32" else {"precision": precision}
