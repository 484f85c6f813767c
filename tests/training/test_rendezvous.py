import contextlib
import socket
import threading

import pytest
import torch.distributed as distributed

from nonverbal.errors import UserError
from nonverbal.training import rendezvous
from nonverbal.training.launching import check as launch_check
from nonverbal.training.processes import Processes

ANSWERS = {"silent": None, "closing": b"", "talking": b"HTTP/1.1 400 Bad Request\r\n\r\n"}


@contextlib.contextmanager
def listening(answer):
    """Another program: accepts connections, and answers each or, given None, keeps it open without a word."""
    kept = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                kept.append(server.accept()[0])
                if answer is not None:
                    kept[-1].sendall(answer)
                    kept.pop().close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    for connection in kept:
        connection.close()


@pytest.fixture
def as_rank_1(monkeypatch):
    monkeypatch.setattr(rendezvous, "GRACE", 0.2)

    def meet_at(port):
        names = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}
        for name, value in (names | {"MASTER_PORT": str(port)}).items():
            monkeypatch.setenv(name, value)

    return meet_at


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize(
    "meet", [lambda folder: Processes(2, 0.5 / 60, folder), lambda _: launch_check.Meeting(0.5)], ids=["run", "check"]
)
def test_another_program_at_the_port_is_not_waited_for(tmp_path, as_rank_1, kind, meet):
    with listening(ANSWERS[kind]) as port:
        as_rank_1(port)
        told = f"what listens at port {port} of 127.0.0.1 does not answer as process 0 .*ss -ltnp.*MASTER_PORT"
        with pytest.raises(UserError, match=told):
            meet(tmp_path)
    assert not distributed.is_initialized()


def test_where_nothing_listens_process_0_is_called_missing(tmp_path, as_rank_1, monkeypatch):
    monkeypatch.setattr(rendezvous, "GRACE", 60)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    as_rank_1(port)
    with pytest.raises(UserError, match="lost contact with another process of this run.*trying to connect"):
        Processes(2, 0.5 / 60, tmp_path)


def test_a_store_of_torch_answers(as_rank_1):
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    as_rank_1(store.port)
    rendezvous.check_answer(30)


def test_process_0_and_a_process_alone_ask_nobody(monkeypatch):
    monkeypatch.setattr(distributed, "TCPStore", lambda *_, **__: pytest.fail("asked"))
    for name, value in {"RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    rendezvous.check_answer(1)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("MASTER_PORT")
    rendezvous.check_answer(1)
