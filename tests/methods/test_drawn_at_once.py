"""How many images are drawn at once."""

from types import SimpleNamespace

import pytest

from plaudit.core.errors import BadConfig
from plaudit.methods.drawn_at_once import check_drawn_at_once, drawn_at_once
from plaudit.methods.plan_sft import PlanSftConfig


@pytest.mark.parametrize(
    ("said", "guided", "wanted"),
    [(0, False, 4), (0, True, 4), (16, False, 16), (16, True, 8), (1, True, 1), (3, True, 1)],
)
def test_half_as_many_with_guidance_and_as_many_as_are_learned_from_if_nothing_is_said(said, guided, wanted):
    assert drawn_at_once(SimpleNamespace(batch_size=4, draw_batch_size=said), guided=guided) == wanted


def test_a_number_below_nothing_is_refused():
    check_drawn_at_once(SimpleNamespace(batch_size=4, draw_batch_size=0))
    with pytest.raises(BadConfig, match="draw_batch_size must be at least 0"):
        PlanSftConfig(draw_batch_size=-1)
