"""What `plaudit compare` plans of a GPU's memory: for each way of drawing, beside the rewards that are loaded."""

import pytest
import torch

from plaudit.shells.comparing import Bench
from plaudit.shells.entrants import entrants_of

BOTH = ("clip", "hps")
ROWS = (
    "pocket-turbo:none",
    "pocket-turbo:none",
    "pocket-turbo:best-of-n",
    "pocket-turbo:reno",
    "pocket-turbo:reno:steps=3",
    "pocket-turbo:reno:steps=1",
    "pocket-turbo:reno:without=hps",
)


@pytest.mark.parametrize(
    ("device", "wanted"),
    [
        ("cpu", [(False, ())]),
        # With one step a method's gradient is not followed.
        ("cuda", [(False, ()), (False, BOTH), (True, BOTH), (False, BOTH), (True, ("clip",))]),
    ],
)
def test_a_model_is_loaded_anew_where_another_plan_may_fit(device, wanted, monkeypatch):
    from plaudit.shells import drawing, fitting

    planned = []

    def fit(options, _chosen, _device, *, rewards_there):
        assert rewards_there
        planned.append((fitting.follows_gradient(options), options.reward))

    monkeypatch.setattr(drawing, "check_model", lambda _: None)
    monkeypatch.setattr(drawing, "load_model", lambda *_: (object(), {}))
    monkeypatch.setattr(fitting, "fit_memory", fit)
    bench = Bench(
        suite=None, board=False, rewards=None, specs={"clip": "clip", "hps": "hps"}, held_out={}, sources={},
        device=torch.device(device), images_per_prompt=1, seed=0, batch_size=4,
    )  # fmt: skip
    for row in ROWS:
        (entrant,) = entrants_of((row,), ("none",))
        bench.model_for(entrant, bench.options_for(entrant, entrant.steps or 50))
    assert planned == wanted
