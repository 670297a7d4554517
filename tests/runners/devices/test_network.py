"""A private network namespace: what is sent in it is seen in it, and nothing of it stays."""

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


def test_a_frame_that_qemu_would_send_arrives_and_no_other(network):
    plain, headed = network.tap("plain0", vnet_header=False), network.tap("headed0")
    listener = network.listener(ETHER_TYPE)
    os.write(plain, FRAME)
    assert listener.recv(2048) == FRAME
    os.write(headed, bytes(10) + FRAME)  # behind the header of virtio
    assert listener.recv(2048) == FRAME
    assert not select.select([listener], [], [], 0.01)[0]


def test_the_host_sees_nothing_of_it(network):
    network.tap("pbhidden0")
    own = NAMESPACE.readlink()
    names = {name for _, name in socket.if_nameindex()}
    assert "pbhidden0" not in names
    with network.entered():
        assert {name for _, name in socket.if_nameindex()} >= {"lo", "pbhidden0"}
        assert NAMESPACE.readlink() != own
    assert NAMESPACE.readlink() == own


def test_no_descriptor_stays(network):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with PrivateNetwork() as other:
        other.tap("tap0")
        other.listener()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_tap_that_is_there_already_is_refused(network):
    with pytest.raises(HostUnfit, match="gives no tap"):
        network.tap("probe0")
