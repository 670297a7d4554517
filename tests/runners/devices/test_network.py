"""A private network namespace: frames are received inside it only, and nothing is left behind."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path

import pytest

from results.errors import HostUnfit
from runners.devices.network import PrivateNetwork

ETHER_TYPE = 0x88B5  # for experiments (IEEE 802)
FRAME = b"\xff" * 6 + b"\x02\0\0\0\0\x01" + ETHER_TYPE.to_bytes(2, "big") + b"pausebench" * 5

NAMESPACE = Path("/proc/thread-self/ns/net")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


@pytest.fixture
def network():
    try:
        with PrivateNetwork() as made:
            made.tap("probe0")
            yield made
    except HostUnfit as error:
        pytest.skip(str(error))


def test_frames_are_received_with_and_without_a_virtio_header(network):
    plain, with_header = network.tap("plain0", vnet_header=False), network.tap("header0")
    listener = network.listener(ETHER_TYPE)
    os.write(plain, FRAME)
    assert listener.recv(2048) == FRAME
    os.write(with_header, bytes(10) + FRAME)  # after the virtio header
    assert listener.recv(2048) == FRAME
    assert not select.select([listener], [], [], 0.01)[0]


def test_interfaces_are_invisible_on_the_host(network):
    network.tap("pbhidden0")
    own = NAMESPACE.readlink()
    names = {name for _, name in socket.if_nameindex()}
    assert "pbhidden0" not in names
    with network.entered():
        assert {name for _, name in socket.if_nameindex()} >= {"lo", "pbhidden0"}
        assert NAMESPACE.readlink() != own
    assert NAMESPACE.readlink() == own


def test_no_descriptor_is_leaked(network):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with PrivateNetwork() as other:
        other.tap("tap0")
        other.listener()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_existing_tap_is_refused(network):
    with pytest.raises(HostUnfit, match="cannot create a tap device"):
        network.tap("probe0")
