"""Where a device has no float64, what needs it is computed on the CPU, and all the rest stays where it was."""

import pytest
import torch
from no_float64 import ELSEWHERE, Elsewhere, NoFloat64

from plaudit.core import float64
from plaudit.core.float64 import float64_device, has_float64, precise


def test_only_apples_gpus_have_none():
    assert has_float64(torch.device("cpu"))
    assert has_float64(torch.device("cuda", 1))
    assert not has_float64(torch.device("mps"))
    assert float64_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
    assert float64_device(torch.device("mps")) == torch.device("cpu")


def test_where_there_is_float64_it_is_made_on_the_spot():
    numbers = torch.tensor([0.1, 20.7], requires_grad=True)
    assert torch.equal(precise(numbers), numbers.double())
    precise(numbers).sum().backward()
    assert numbers.grad.tolist() == [1.0, 1.0]


@pytest.fixture
def without(monkeypatch):
    monkeypatch.setattr(float64, "has_float64", lambda device: device != ELSEWHERE)
    with NoFloat64():
        yield


@pytest.mark.usefixtures("without")
def test_the_stand_in_refuses_what_such_a_device_refuses():
    numbers = torch.ones(3).to(ELSEWHERE)
    assert (numbers + 1).device == ELSEWHERE
    assert (numbers + 1).cpu().tolist() == [2.0] * 3
    with pytest.raises(TypeError, match="no float64"):
        numbers.double()
    with pytest.raises(TypeError, match="no float64"):
        torch.ones(3, dtype=torch.float64).to(ELSEWHERE)
    with pytest.raises(RuntimeError, match="two devices"):
        numbers + torch.ones(3)


@pytest.mark.usefixtures("without")
def test_it_goes_through_the_cpu():
    numbers = Elsewhere(torch.tensor([0.1, 20.7])).requires_grad_()
    found = precise(numbers)
    assert (found.device, found.dtype) == (torch.device("cpu"), torch.float64)
    assert torch.equal(found, numbers.detach().cpu().double())
    found.sum().backward()
    assert numbers.grad.device == ELSEWHERE
    assert numbers.grad.tolist() == [1.0, 1.0]
