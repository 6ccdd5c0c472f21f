"""Scores on disk: the same numbers, asked for once; safe with several processes, bounded, cleared by deleting."""

import subprocess
import sys

import pytest
import torch

from plaudit.core.errors import BadConfig
from plaudit.rewards import own
from plaudit.rewards.cached import Cached
from plaudit.rewards.composed import composed, identity_of
from plaudit.rewards.score_store import ScoreStore
from plaudit.rewards.specs import parse_spec
from plaudit.rewards.table import REWARDS, load_reward


class Counting:
    """Brightness and the prompt's length; remembers how many images it was asked about at a time."""

    def __init__(self, *, differentiable=False):
        self.differentiable, self.asked = differentiable, []

    def __call__(self, images, prompts):
        self.asked.append(len(images))
        return images.flatten(1).mean(dim=1) + torch.tensor([len(prompt) / 100 for prompt in prompts])


@pytest.fixture
def store(tmp_path):
    return ScoreStore(tmp_path / "deep" / "scores.sqlite")


@pytest.fixture
def images():
    return torch.rand(5, 3, 4, 6, generator=torch.Generator().manual_seed(1))


PROMPTS = ["a", "bb", "a", "cc", "bb"]


def test_what_was_scored_is_not_asked_again_even_by_another_process(images, store):
    reward = Counting()
    first = Cached(reward, store, identity="one")(images, PROMPTS)
    again = Cached(reward, ScoreStore(store.file), identity="one")(images.flip(0), PROMPTS[::-1]).flip(0)
    assert torch.equal(first, again)
    assert torch.equal(first, Counting()(images, PROMPTS))
    assert reward.asked == [5]


def test_only_what_is_missing_is_asked_and_each_once(images, store):
    reward = Counting()
    cached = Cached(reward, store, identity="one")
    cached(images[:2], PROMPTS[:2])
    batch = torch.cat([images[:3], images[2:3]])
    scores = cached(batch, [*PROMPTS[:3], PROMPTS[2]])
    assert torch.equal(scores, Counting()(batch, [*PROMPTS[:3], PROMPTS[2]]))
    assert reward.asked == [2, 1]


def test_a_key_holds_all_that_decides_a_score(images, store):
    cached = Cached(Counting(), store, identity="one")
    image = images[0]
    other = image.clone()
    other[0, 0, 0] += 1e-6
    keys = [
        cached.key(image, "a"),
        cached.key(image, "b"),
        cached.key(other, "a"),
        cached.key(image.reshape(3, 6, 4), "a"),
        cached.key(image.double(), "a"),
        Cached(Counting(), store, identity="two").key(image, "a"),
    ]
    assert len(set(keys)) == len(keys)
    assert cached.key(image.clone(), "a") == keys[0]


def test_a_reward_may_say_what_else_identifies_it(images, tmp_path, monkeypatch):
    """Two servers behind one row do not share scores, and neither do their smoothed scores."""
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path))

    class Server(Counting):
        def __init__(self, identity):
            super().__init__()
            self.identity = identity

    for options in ("cache", "cache:smooth=2"):
        spec = parse_spec(f"http-judge:{options}", REWARDS)
        one, other, again = Server("http://one"), Server("http://two"), Server("http://one")
        for server in (one, other, again):
            composed(server, spec, REWARDS)(images, PROMPTS)
        assert (bool(one.asked), bool(other.asked), bool(again.asked)) == (True, True, False)


def test_a_gradient_passes_by_the_cache(images, store):
    reward = Counting(differentiable=True)
    cached = Cached(reward, store, identity="one")
    cached(images, PROMPTS)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cached(leaf, PROMPTS).sum(), leaf)
    assert bool((gradient != 0).all())
    with torch.no_grad():
        cached(leaf, PROMPTS)
    assert reward.asked == [5, 5]


def test_what_is_not_a_number_is_not_kept(images, store):
    class Broken(Counting):
        def __call__(self, images, prompts):
            scores = super().__call__(images, prompts)
            scores[0] = float("nan")
            return scores

    cached = Cached(Broken(), store, identity="one")
    assert bool(cached(images, PROMPTS)[0].isnan())
    assert len(store) == 4


def test_the_newest_are_kept_within_the_limit(tmp_path):
    store = ScoreStore(tmp_path / "s", limit=10)
    keys = [bytes([number]) for number in range(25)]
    for key in keys:
        store.put({key: float(key[0])})
    assert len(store) == 10
    assert store.get(keys) == {key: float(key[0]) for key in keys[15:]}
    store.put({keys[15]: 99.0})
    store.put({b"new": 1.0})
    assert store.get(keys)[keys[15]] == 99.0
    store.clear()
    assert len(store) == 0
    assert store.get(keys) == {}


def test_many_keys_at_once(store):
    scores = {number.to_bytes(4): number / 7 for number in range(3000)}
    store.put(scores)
    assert store.get(list(scores)) == scores


def test_several_processes_write_at_once_and_nothing_is_lost(tmp_path):
    code = """
import sys
from pathlib import Path
from plaudit.rewards.score_store import ScoreStore
from plaudit.rewards.specs import parse_spec
store, name = ScoreStore(Path(sys.argv[1])), int(sys.argv[2])
for number in range(60):
    store.put({f"{name}-{number}".encode(): name + number / 100, b"shared": 1.0})
    assert store.get([f"{name}-{number}".encode()]) == {f"{name}-{number}".encode(): name + number / 100}
"""
    file = tmp_path / "scores"
    writers = [subprocess.Popen([sys.executable, "-c", code, str(file), str(name)]) for name in range(4)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0, 0]
    assert len(ScoreStore(file)) == 4 * 60 + 1


def test_a_damaged_file_is_one_sentence_and_an_unwritable_one_only_costs_time(tmp_path, images):
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"this is no database, " * 100)
    with pytest.raises(BadConfig, match=r"is damaged.*delete it"):
        ScoreStore(damaged).get([b"a"])
    (tmp_path / "file").write_text("")
    nowhere = ScoreStore(tmp_path / "file" / "below" / "scores")
    cached = Cached(Counting(), nowhere, identity="one")
    assert torch.equal(cached(images, PROMPTS), Counting()(images, PROMPTS))


def test_a_store_that_keeps_nothing_is_refused(tmp_path):
    with pytest.raises(BadConfig, match="at least 1"):
        ScoreStore(tmp_path / "s", limit=0)


def test_identities_differ_between_rows_files_and_their_versions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = tmp_path / "file.py"
    code.write_text("a = 1\n")
    names = ["compressibility", "incompressibility", "./file.py:A", "./file.py:B"]
    found = [identity_of(name, REWARDS) for name in names]
    code.write_text("a = 11\n")
    found.append(identity_of("./file.py:A", REWARDS))
    assert len(set(found)) == 5
    assert own.file_of("./file.py:A").resolve() == code


def test_the_option_keeps_scores_below_the_users_cache(tmp_path, monkeypatch, images):
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path))
    plain = load_reward("compressibility")(images, PROMPTS)
    assert torch.equal(load_reward("compressibility:cache")(images, PROMPTS), plain)
    assert len(ScoreStore(tmp_path / "scores.sqlite")) == 5
    smooth = load_reward("compressibility:smooth=2")(images, PROMPTS)
    assert torch.equal(load_reward("compressibility:cache:smooth=2")(images, PROMPTS), smooth)
    assert len(ScoreStore(tmp_path / "scores.sqlite")) == 10
