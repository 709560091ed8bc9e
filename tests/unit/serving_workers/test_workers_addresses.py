"""Several sockets at one port, and nobody else's."""

import socket

import pytest

from twotower.config.errors import InputError
from twotower.serving.http.sockets import reserved
from twotower.serving.workers.addresses import addresses_of, bound, shared_by_many


def test_a_port_is_shared_by_those_it_is_shared_by_many_for() -> None:
    (holding,) = shared_by_many("127.0.0.1", 0)
    addresses = addresses_of([holding])
    (first,), (second,) = bound(addresses), bound(addresses)
    with holding, first, second:
        assert first.getsockname() == second.getsockname() == holding.getsockname()
        with pytest.raises(ConnectionRefusedError):  # nobody answers yet
            socket.create_connection(holding.getsockname())
        second.listen()
        for _ in range(8):  # nothing goes to one that does not listen
            with socket.create_connection(holding.getsockname()):
                second.accept()[0].close()


def test_a_port_that_somebody_listens_at_is_refused_though_it_could_be_shared() -> None:
    with socket.socket() as theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        theirs.bind(("127.0.0.1", 0))
        theirs.listen()
        port = theirs.getsockname()[1]
        with pytest.raises(InputError, match=f"port: 127.0.0.1:{port} cannot be listened at .*another"):
            shared_by_many("127.0.0.1", port)
        with pytest.raises(InputError, match=f"port: 127.0.0.1:{port} cannot be listened at .*another"):
            reserved("127.0.0.1", port)


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_a_host_that_is_not_ours_is_refused(host: str) -> None:
    with pytest.raises(InputError, match=f"host: {host}:8080 cannot be listened at .*0.0.0.0"):
        reserved(host, 8080)


def test_systems_that_share_no_port_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with pytest.raises(InputError, match=r"workers: several need SO_REUSEPORT, .* set workers=1"):
        shared_by_many("127.0.0.1", 0)
