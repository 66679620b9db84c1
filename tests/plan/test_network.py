"""What ranks send: against sums by hand, and in the limits where the answer is known."""

from dataclasses import replace

import pytest

from instil.plan.cards import CARDS
from instil.plan.need import Way, flops_per_token
from instil.plan.network import Network, exchange, network_of
from instil.plan.shape import Shape

SHAPE = Shape(hidden=64, wide=256, layers=4, heads=4, groups=2, width=16, vocabulary=1000, tied=False)
WAY = Way(method="full", tokens=1000, example=100, device="gpu")
PLAIN = Network(node=8, inside=1e6, between=1e5, share=0.5, hop=0.0)


def test_one_gpu_sends_nothing() -> None:
    found = exchange(SHAPE, WAY, 1, 1, 1e9, PLAIN)
    assert (found.sent, found.gathering, found.adding, found.efficiency) == (0, 0, 0, 1)
    assert found.seconds == found.computing == 1000 * flops_per_token(SHAPE, WAY) / 1e9


def test_inside_a_machine_by_hand() -> None:
    """Of every tensor a rank lacks three quarters: two gathers of bf16, one scattering of float32."""
    found = exchange(SHAPE, WAY, 4, 4, 1e9, PLAIN)
    assert found.sent == pytest.approx(SHAPE.parameters * (2 + 2 + 4) * 3 / 4)
    assert found.gathering == pytest.approx(found.sent / (1e6 * 0.5))
    assert found.adding == 0


def test_adapters_gather_all_and_scatter_little() -> None:
    way = Way(method="lora", rank=4, tokens=1000, example=100, device="gpu")
    assert exchange(SHAPE, way, 4, 4, 1e9, PLAIN).sent == pytest.approx((4 * SHAPE.parameters + 4 * SHAPE.lora(4)) * 3 / 4)


def test_between_machines_all_adapters_carry() -> None:
    found = exchange(SHAPE, WAY, 16, 16, 1e9, PLAIN)
    assert found.gathering == pytest.approx(8 * SHAPE.parameters * 15 / 16 / (8 * 1e5 * 0.5))


def test_copies_add_their_gradients_up_once() -> None:
    found = exchange(SHAPE, WAY, 32, 8, 1e9, PLAIN)
    share = 4 * SHAPE.parameters / 8
    assert found.adding == pytest.approx(2 * share * 3 / 4 / (1e5 * 0.5))
    assert found.gathering == exchange(SHAPE, WAY, 8, 8, 1e9, PLAIN).gathering, "groups stay inside a machine"


def test_the_longer_of_computing_and_gathering_counts() -> None:
    slow, fast = exchange(SHAPE, WAY, 8, 8, 1e6, PLAIN), exchange(SHAPE, WAY, 8, 8, 1e15, PLAIN)
    assert slow.seconds == slow.computing > slow.gathering and slow.efficiency == 1
    assert fast.seconds == fast.gathering > fast.computing and fast.efficiency < 0.01


def test_a_longer_ring_has_more_hops() -> None:
    hops = Network(node=8, inside=1e30, between=1e30, share=1, hop=1.0)
    assert exchange(SHAPE, WAY, 64, 64, 1e9, hops).gathering == pytest.approx(3 * (SHAPE.layers + 1) * 63)


def test_whole_copies_add_up_once_a_step_inside_a_machine() -> None:
    """Without division nothing is gathered; every GPU lacks the others' gradients, sends and receives each once."""
    found = exchange(SHAPE, WAY, 4, 1, 1e9, PLAIN, passes=3)
    assert found.gathering == 0 and found.sent == pytest.approx(2 * 4 * SHAPE.parameters * 3 / 4)
    assert found.adding == pytest.approx(found.sent / (1e6 * 0.5))
    assert found.computing == pytest.approx(3 * exchange(SHAPE, WAY, 1, 1, 1e9, PLAIN).computing)


def test_whole_copies_between_machines_use_all_adapters() -> None:
    assert exchange(SHAPE, WAY, 16, 1, 1e9, PLAIN).adding == pytest.approx(2 * 4 * SHAPE.parameters * 15 / 16 / (8 * 1e5 * 0.5))


def test_copies_within_a_machine() -> None:
    found = exchange(SHAPE, WAY, 8, 2, 1e9, PLAIN)
    assert found.adding == pytest.approx(2 * 4 * SHAPE.parameters / 2 * 3 / 4 / (1e6 * 0.5))


def test_every_pass_gathers_divided_weights() -> None:
    one, three = (exchange(SHAPE, WAY, 16, 8, 1e9, PLAIN, passes=passes) for passes in (1, 3))
    assert three.gathering == pytest.approx(3 * one.gathering) and three.adding == pytest.approx(3 * one.adding)
    assert three.sent == pytest.approx(3 * one.sent) and three.efficiency == pytest.approx(one.efficiency)


def test_gradients_in_bf16_are_half_as_much() -> None:
    small = Way(weights="bf16", tokens=1000, example=100, device="gpu")
    assert 2 * exchange(SHAPE, small, 4, 1, 1e9, PLAIN).adding == pytest.approx(exchange(SHAPE, WAY, 4, 1, 1e9, PLAIN).adding)


def test_cards_without_nvlink_are_slower_together() -> None:
    assert network_of(CARDS["H100"]) == Network()
    fast, slow = (exchange(SHAPE, WAY, 4, 1, 1e9, replace(network_of(CARDS[name]), hop=0)) for name in ("H100", "4090"))
    assert slow.adding == pytest.approx(450 / 31.5 * fast.adding)
    assert network_of(CARDS["4090"]).between < network_of(CARDS["4090"]).inside
