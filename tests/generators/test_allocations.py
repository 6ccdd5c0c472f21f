import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from plaudit.generators.allocations import Kept, Ledger, fused_attention

FLOAT = 4


def frozen(*layers):
    return nn.Sequential(*layers).requires_grad_(False)


def kept_by(run, *, network=None):
    network = network or nn.Identity()
    kept = Kept({"network": network}, weights=[*network.parameters(), *network.buffers()])
    with kept.counting():
        made = run()
    found = kept.bytes()
    assert made is not None  # its graph is what is counted
    return found


def test_a_tanh_keeps_its_result_and_a_frozen_linear_layer_nothing():
    network, x = frozen(nn.Linear(10, 30), nn.Tanh()), torch.randn(2, 10, requires_grad=True)
    assert kept_by(lambda: network(x), network=network) == {"network": 2 * 30 * FLOAT, "rest": 0}


def test_what_is_kept_outside_the_network_is_counted_apart():
    network, x = frozen(nn.Linear(10, 30), nn.Tanh()), torch.randn(2, 10, requires_grad=True)
    found = kept_by(lambda: network(x).exp(), network=network)
    assert found == {"network": 2 * 30 * FLOAT, "rest": 2 * 30 * FLOAT}


def test_a_storage_that_two_operations_keep_counts_once():
    x = torch.randn(1000, requires_grad=True)

    def run():
        middle = x.tanh()
        return middle * middle.view(10, 100).flatten()

    assert kept_by(run)["rest"] == 1000 * FLOAT


def test_a_checkpointed_part_keeps_its_input_alone():
    network, x = frozen(nn.Linear(10, 30), nn.Tanh(), nn.Linear(30, 10)), torch.randn(2, 10, requires_grad=True)
    found = kept_by(lambda: checkpoint(network, x * 2, use_reentrant=False), network=network)
    assert sum(found.values()) == 2 * 10 * FLOAT


def test_nothing_is_kept_without_gradients():
    network = frozen(nn.Linear(10, 30), nn.Tanh())
    assert sum(kept_by(lambda: network(torch.randn(2, 10)), network=network).values()) == 0


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_ledger_knows_what_is_alive_and_the_most_there_was(device):
    with Ledger(torch.device(device)) as ledger:
        first = torch.zeros(1000, device=device)
        assert ledger.live == 4096  # 4000 bytes in blocks of 512
        second = first + 1
        second.mul_(2)
        assert (ledger.live, ledger.peak) == (8192, 8192)
        view = first.view(10, 100)
        del first
        assert ledger.live == 8192  # the view holds it
        del view, second
        assert (ledger.live, ledger.peak) == (0, 8192)


def test_the_ledger_leaves_out_what_it_is_told_and_other_devices():
    weight = torch.zeros(1000)
    ledger = Ledger(torch.device("meta"))
    with ledger:
        weight + 1
    assert ledger.peak == 0
    ledger = Ledger(torch.device("cpu"))
    ledger.leave_out([weight])
    with ledger:
        weight.view(10, 100).mul_(2)
    assert ledger.peak == 0


def test_a_value_asked_of_the_meta_device_is_false():
    with Ledger(torch.device("meta")):
        assert not torch.ones(3, dtype=torch.bool, device="meta").all()


@pytest.mark.parametrize("masked", [False, True])
def test_attention_without_weights_keeps_what_the_fused_kernel_keeps(masked):
    def kept_on(device):
        query, key, value = (torch.randn(2, 3, 50, 16, device=device, requires_grad=True) for _ in range(3))
        mask = torch.zeros(2, 1, 50, 50, device=device) if masked else None
        with fused_attention():
            found = kept_by(lambda: F.scaled_dot_product_attention(query, key, value, attn_mask=mask))
            made = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            slopes = torch.autograd.grad(made.sum(), (query, key, value))
        assert [slope.shape for slope in slopes] == [query.shape] * 3
        return sum(found.values())

    numbers = 4 * (2 * 3 * 50 * 16) + 2 * 3 * 50 + (2 * 50 * 50 if masked else 0)
    assert kept_on("meta") == numbers * FLOAT
    assert kept_on("cpu") == kept_on("meta")


def test_attention_is_the_librarys_own_again_afterwards():
    theirs = F.scaled_dot_product_attention
    inside = []

    def fail():
        with fused_attention():
            inside.append(F.scaled_dot_product_attention)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert inside[0] is not theirs
    assert F.scaled_dot_product_attention is theirs
