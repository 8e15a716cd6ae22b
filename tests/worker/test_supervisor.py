"""Offer of a worker to the gangs of several nodes."""

import socket

import pytest

from worker.supervisor import CannotStart, free_endpoint


def test_an_endpoint_is_a_free_port_of_the_address() -> None:
    host, _, port = free_endpoint("127.0.0.1").rpartition(":")
    with socket.create_server((host, int(port))):
        assert free_endpoint("127.0.0.1") != f"{host}:{port}"


def test_without_an_address_there_is_no_endpoint() -> None:
    assert free_endpoint(None) == ""


def test_an_address_of_another_machine_is_refused_in_words() -> None:
    with pytest.raises(CannotStart, match=r"MOCO_NODE_ADDRESS is 192\.0\.2\.1"):
        free_endpoint("192.0.2.1")
