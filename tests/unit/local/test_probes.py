"""Probes say whether a process can serve, and never raise."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from corella.local.probes import redis_ping, shows_life


class Keys:
    """Answers PING and EXISTS as Redis does."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        words = []
        for _ in range(int((await reader.readline())[1:])):
            size = int((await reader.readline())[1:])
            words.append((await reader.readexactly(size + 2))[:-2].decode())
        writer.write(b"+PONG\r\n" if words == ["PING"] else b":%d\r\n" % (words[0] == "EXISTS" and words[1] in self.held))
        await writer.drain()
        writer.close()


@pytest.fixture
async def keys() -> AsyncIterator[Keys]:
    made = Keys()
    async with await asyncio.start_server(made.answer, "127.0.0.1", 0) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made


async def test_a_process_lives_while_it_holds_its_own_key(keys: Keys) -> None:
    probe = shows_life(keys.port, "{corella-trainer}:worker:")
    assert not await probe(42)
    keys.held.add(f"{{corella-trainer}}:worker:{socket.gethostname()}:41")
    assert not await probe(42), "that is the key of the one before it"
    keys.held.add(f"{{corella-trainer}}:worker:{socket.gethostname()}:42")
    assert await probe(42)


async def test_a_store_that_answers_is_alive(keys: Keys) -> None:
    assert await redis_ping(keys.port)(1)


async def test_nobody_at_the_port_means_not_alive() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert not await redis_ping(port)(1)
    assert not await shows_life(port, "x:")(1)
