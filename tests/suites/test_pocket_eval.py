"""PocketEval's prompts: as many as GenEval's, fixed, and half of the paired ones unseen."""

import hashlib
from collections import Counter

from plaudit.pocket.prompts import parse
from plaudit.pocket.scenes import is_held_out
from plaudit.suites.pocket_eval import NUM_PROMPTS, pocket_eval_prompts, spread_of


def test_there_are_as_many_prompts_per_task_as_in_geneval() -> None:
    assert Counter(p.request.task for p in pocket_eval_prompts()) == NUM_PROMPTS
    assert len(pocket_eval_prompts()) == 553


def test_the_prompts_never_change() -> None:
    text = "\n".join(p.text for p in pocket_eval_prompts())
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "c8ed1f2afc11aa05"


def test_every_prompt_is_read_back_as_meant() -> None:
    assert all(parse(p.text) == p.request for p in pocket_eval_prompts())


def test_unseen_prompts_ask_for_held_out_combinations_and_seen_ones_do_not() -> None:
    for prompt in pocket_eval_prompts():
        if prompt.request.task in ("position", "color_attr"):
            first, second = ((w.shape, w.colour or "") for w in prompt.request.wanted)
            assert is_held_out(first, second, prompt.request.relation or "and") == prompt.unseen
    assert sum(p.unseen for p in pocket_eval_prompts()) == 100


def test_a_few_prompts_keep_the_proportions() -> None:
    few = Counter(p.request.task for p in spread_of(111))
    assert all(abs(few[task] - number / 5) <= 1 for task, number in NUM_PROMPTS.items())
