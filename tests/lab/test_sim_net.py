# ruff: noqa: ASYNC110 (polling is fine where waiting costs nothing)
"""The simulated network: bytes arrive whole and in order, faults strike where they are told to, and a protocol sees
the same as on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from random import Random
from typing import Any

import pytest

from postroad.lab.sim import Cut, Dial, Fault, LinkPlan, Process, SimLoop, SimNet, Weather


class Log(asyncio.Protocol):
    """Writes down what happens to it; runs of data count as one entry."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.calls: list[str] = []
        self.data = b""
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.got: asyncio.Event = asyncio.Event()
        self.keep_open = False
        self.on_data: Callable[[bytes], None] = lambda data: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        assert isinstance(data, bytes) and data
        if self.calls[-1] != "data":
            self.calls.append("data")
        self.data += data
        self.got.set()
        self.on_data(data)

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        assert "lost" not in "".join(self.calls)
        self.calls.append(f"lost {type(exc).__name__}")
        self.lost.set_result(exc)


Pair = tuple[Log, Log]  # (client, server)


async def connect(host: str) -> Pair:
    """A connection between two protocols, on whatever loop runs."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Log] = loop.create_future()

    class Server(Log):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            accepted.set_result(self)

    server = await loop.create_server(Server, host, 0)
    _, client = await loop.create_connection(Log, host, server.sockets[0].getsockname()[1])
    far = await accepted
    server.close()
    return client, far


# --- the same on both kinds of loop -----------------------------------------------------------------------------------


async def talk_and_close(client: Log, server: Log) -> None:
    client.transport.write(b"hello")
    await server.got.wait()
    server.transport.write(b"goodbye")
    await client.got.wait()
    client.transport.close()
    await server.lost


async def close_with_much_to_send(client: Log, server: Log) -> None:
    client.transport.write(b"x" * 5_000_000)
    client.transport.close()
    client.transport.close()
    await server.lost
    assert len(server.data) == 5_000_000


async def half_close(client: Log, server: Log) -> None:
    server.keep_open = True
    client.transport.write(b"question")
    client.transport.write_eof()
    with pytest.raises(RuntimeError):
        client.transport.write(b"more")
    while "eof" not in server.calls:
        await asyncio.sleep(0.001)
    server.transport.write(b"answer")
    await client.got.wait()
    server.transport.close()
    await client.lost


async def eof_without_interest(client: Log, server: Log) -> None:
    client.transport.write_eof()
    await server.lost
    await client.lost


async def abort_drops_what_waits(client: Log, server: Log) -> None:
    server.transport.pause_reading()
    client.transport.write(b"x" * 50_000_000)
    client.transport.abort()
    await client.lost
    server.transport.resume_reading()
    await server.lost
    assert len(server.data) < 50_000_000
    server.calls = [call for call in server.calls if call == "made"]  # how much came, and how it ended, is not fixed


async def writing_after_the_end(client: Log, server: Log) -> None:
    client.transport.close()
    client.transport.write(b"lost")
    await client.lost
    client.transport.write(b"lost")
    await server.lost
    assert server.data == b""


async def a_slow_reader(client: Log, server: Log) -> None:
    server.transport.pause_reading()
    client.transport.set_write_buffer_limits(high=100_000, low=10_000)
    client.transport.write(b"x" * 20_000_000)
    assert client.transport.get_write_buffer_size() > 100_000
    assert not server.transport.is_reading()
    server.transport.resume_reading()
    while "resume" not in client.calls:
        await asyncio.sleep(0.001)
    client.transport.close()
    await server.lost
    assert len(server.data) == 20_000_000


async def an_error_in_data_received(client: Log, server: Log) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def fail(data: bytes) -> None:
        raise ZeroDivisionError

    server.on_data = fail
    client.transport.write(b"boom")
    await server.lost
    await client.lost
    assert isinstance(reported[0]["exception"], ZeroDivisionError)
    client.calls = []  # an end of stream or a reset, as it happens


async def pausing_inside_data_received(client: Log, server: Log) -> None:
    def pause(data: bytes) -> None:
        server.transport.pause_reading()

    server.on_data = pause
    client.transport.write(b"one")
    await server.got.wait()
    client.transport.write(b"two")
    seen = server.data
    await asyncio.sleep(0.05)
    assert server.data == seen
    client.transport.close()
    while not server.lost.done():
        server.transport.resume_reading()
        await asyncio.sleep(0.001)
    assert server.data == b"onetwo"


async def closing_with_unread_input(client: Log, server: Log) -> None:
    server.transport.pause_reading()
    client.transport.write(b"nobody reads this")
    await asyncio.sleep(0.05)
    server.transport.close()
    error = await client.lost
    assert isinstance(error, ConnectionResetError)


async def names_and_state(client: Log, server: Log) -> None:
    for one, other in ((client, server), (server, client)):
        assert one.transport.get_extra_info("peername") == other.transport.get_extra_info("sockname")
        assert one.transport.get_extra_info("nothing", "default") == "default"
        assert one.transport.get_protocol() is one
        assert one.transport.get_write_buffer_limits() == (16384, 65536)
        assert one.transport.get_write_buffer_size() == 0
        assert one.transport.can_write_eof()
        assert one.transport.is_reading() and not one.transport.is_closing()
    with pytest.raises(TypeError):
        client.transport.write("text")  # type: ignore[arg-type]
    client.transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
    client.transport.write(b"")
    client.transport.close()
    assert client.transport.is_closing() and not client.transport.is_reading()
    await server.lost
    assert server.data == b"abc"


SCRIPTS = [
    talk_and_close,
    close_with_much_to_send,
    half_close,
    eof_without_interest,
    abort_drops_what_waits,
    writing_after_the_end,
    a_slow_reader,
    an_error_in_data_received,
    pausing_inside_data_received,
    closing_with_unread_input,
    names_and_state,
]
Script = Callable[[Log, Log], Awaitable[None]]


async def play(script: Script, host: str) -> tuple[list[str], list[str]]:
    client, server = await connect(host)
    await script(client, server)
    for end in (client, server):
        if not end.lost.done():
            end.transport.abort()
        await end.lost
    return client.calls, server.calls


def settled(calls: list[str]) -> list[str]:
    """Without what depends on sizes of kernel buffers: how often the writer was paused in between."""
    kept: list[str] = []
    for call in calls:
        if call in ("pause", "resume") and call in kept:
            continue
        kept.append(call)
    return kept


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_a_protocol_sees_the_same_as_on_real_sockets(script: Script) -> None:
    with asyncio.Runner() as runner:
        real = runner.run(play(script, "127.0.0.1"))
    for seed in range(10):
        loop, process = machine(seed)
        simulated = loop.run_until_complete(process.run(play(script, "127.0.0.1")))
        assert process.leftovers() == []
        loop.close()
        assert [settled(calls) for calls in simulated] == [settled(calls) for calls in real], f"seed {seed}"


# --- the simulation alone ---------------------------------------------------------------------------------------------


def machine(seed: int) -> tuple[SimLoop, Process]:
    loop = SimLoop(Random(seed))
    net = SimNet(loop, Random(seed))
    net.add_machine("127.0.0.1")
    return loop, Process(loop, "p", ["127.0.0.1", "::1"])


@pytest.fixture
def world() -> Iterator[tuple[SimLoop, Process]]:
    loop, process = machine(1)
    yield loop, process
    process.kill()
    loop.close()


def run(world: tuple[SimLoop, Process], body: Coroutine[Any, Any, None]) -> None:
    world[0].run_until_complete(world[1].run(body))


def plan(world: tuple[SimLoop, Process], **options: Any) -> None:
    world[0].net.rule(lambda dial: LinkPlan(**options))


@pytest.mark.parametrize("cut", list(Cut))
@pytest.mark.parametrize("window", [1, 10, 1000, 100_000])
def test_bytes_arrive_whole_and_in_order(cut: Cut, window: int) -> None:
    loop, process = machine(window)
    loop.net.weather = Weather(window=(window, window))
    loop.net.rule(lambda dial: LinkPlan(cut=cut))
    rng = Random(window)

    async def body() -> None:
        client, server = await connect("127.0.0.1")
        sent = {client: b"", server: b""}
        for _ in range(30):
            for end in sent:
                data = rng.randbytes(rng.randrange(100))
                end.transport.write(data)
                sent[end] += data
            if rng.random() < 0.3:
                await asyncio.sleep(rng.random() * 0.05)
        server.keep_open = True
        client.transport.write_eof()
        while "eof" not in server.calls:
            await asyncio.sleep(0.1)
        server.transport.close()
        await client.lost
        assert server.data == sent[client]
        assert client.data == sent[server]

    loop.run_until_complete(process.run(body()))
    assert process.leftovers() == []
    loop.close()


def test_two_writes_may_become_one_read_and_one_write_several() -> None:
    seen: set[str] = set()
    for seed in range(40):
        loop, process = machine(seed)

        async def body() -> None:
            client, server = await connect("127.0.0.1")
            sizes: list[int] = []
            server.on_data = lambda data: sizes.append(len(data))
            client.transport.write(b"x" * 100)
            client.transport.write(b"x" * 100)
            client.transport.close()
            await server.lost
            seen.add("joined" if len(sizes) == 1 else "split" if len(sizes) > 2 else "as written")

        loop.run_until_complete(process.run(body()))
        loop.close()
    assert seen == {"joined", "split", "as written"}


@pytest.mark.parametrize(
    ("connect_plan", "error", "seconds"),
    [
        ("refuse", ConnectionRefusedError, 0.06),
        ("unreachable", OSError, 3.1),
        ("black hole", TimeoutError, 128),
    ],
)
def test_connections_fail_as_told(
    world: tuple[SimLoop, Process], connect_plan: str, error: type[OSError], seconds: float
) -> None:
    loop = world[0]
    plan(world, connect=connect_plan)

    async def body() -> None:
        await loop.create_server(Log, "127.0.0.1", 25)
        before = loop.time()
        with pytest.raises(error):
            await loop.create_connection(Log, "127.0.0.1", 25)
        assert loop.time() - before < seconds

    run(world, body())


def test_the_right_errors_without_any_plan(world: tuple[SimLoop, Process]) -> None:
    loop = world[0]

    async def body() -> None:
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Log, "127.0.0.1", 25)
        with pytest.raises(OSError, match="No route"):
            await loop.create_connection(Log, "192.0.2.99", 25)
        with pytest.raises(OSError, match="knows no names"):
            await loop.create_connection(Log, "mx.example", 25)
        with pytest.raises(OSError, match="bind"):
            await loop.create_connection(Log, "127.0.0.1", 25, local_addr=("192.0.2.7", 0))
        server = await loop.create_server(Log, "127.0.0.1", 25)
        with pytest.raises(OSError, match="in use"):
            await loop.create_server(Log, "127.0.0.1", 25)
        server.close()
        await server.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Log, "127.0.0.1", 25)

    run(world, body())


@pytest.mark.parametrize("at", [0, 1, 500, 999])
@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("kind", ["reset", "stall", "close"])
def test_faults_strike_after_the_given_octets(
    world: tuple[SimLoop, Process], kind: str, direction: str, at: int
) -> None:
    plan(world, **{direction: Fault(kind, at)})

    async def body() -> None:
        client, server = await connect("127.0.0.1")
        writer, reader = (client, server) if direction == "up" else (server, client)
        writer.transport.write(b"x" * 1000)
        await asyncio.sleep(60)
        assert len(reader.data) == at
        if kind == "reset":
            assert reader.calls[-1] == writer.calls[-1] == "lost ConnectionResetError"
        elif kind == "close":
            assert reader.calls[-2:] == ["eof", "lost NoneType"]
            assert writer.calls[-1].startswith("lost")
        else:
            assert not reader.lost.done() and not writer.lost.done()
            reader.transport.write(b"the other way still works")
            await writer.got.wait()

    run(world, body())


def test_a_cut_delays_and_a_power_loss_forgets(world: tuple[SimLoop, Process]) -> None:
    loop = world[0]
    net = loop.net

    async def body() -> None:
        client, server = await connect("127.0.0.1")
        net.cut("127.0.0.1")
        client.transport.write(b"one")
        await asyncio.sleep(100)
        assert server.data == b""
        net.heal("127.0.0.1")
        await asyncio.sleep(1)
        assert server.data == b"one"
        net.down("127.0.0.1")
        client.transport.write(b"two")
        with pytest.raises(TimeoutError):
            await loop.create_connection(Log, "127.0.0.1", 25)
        assert server.data == b"one" and not client.lost.done()
        net.up("127.0.0.1")
        assert isinstance(await client.lost, ConnectionResetError)
        assert server.data == b"one"

    run(world, body())


def test_when_a_process_is_killed_its_peers_hear_of_it(world: tuple[SimLoop, Process]) -> None:
    loop, process = world
    other = Process(loop, "other", ["10.0.0.2"])
    net = loop.net
    net.add_machine("10.0.0.2")
    servers: list[Log] = []

    def accept() -> Log:
        servers.append(Log())
        return servers[-1]

    async def main() -> None:
        await other.run(loop.create_server(accept, "10.0.0.2", 25))
        _, idle = await process.run(loop.create_connection(Log, "10.0.0.2", 25))
        _, busy = await process.run(loop.create_connection(Log, "10.0.0.2", 25))
        assert isinstance(idle, Log) and isinstance(busy, Log)
        servers[0].transport.write(b"in flight")
        other.kill()
        await idle.lost
        assert idle.data == b"in flight"
        busy.transport.write(b"to nobody")
        await busy.lost
        assert [len(server.calls) for server in servers] == [1, 1]
        with pytest.raises(ConnectionRefusedError):
            await process.run(loop.create_connection(Log, "10.0.0.2", 25))

    loop.run_until_complete(main())


def test_a_connection_given_up_is_noticed_by_the_listener(world: tuple[SimLoop, Process]) -> None:
    loop, process = world
    plan(world, latency=1.0)
    servers: list[Log] = []

    def accept() -> Log:
        servers.append(Log())
        return servers[-1]

    async def body() -> None:
        await loop.create_server(accept, "127.0.0.1", 25)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await loop.create_connection(Log, "127.0.0.1", 25)
        await servers[0].lost

    run(world, body())
    assert [text for text in process.leftovers() if "listener" not in text] == []


def test_a_paused_reader_learns_of_a_reset_only_when_it_looks(world: tuple[SimLoop, Process]) -> None:
    async def body() -> None:
        client, server = await connect("127.0.0.1")
        server.transport.pause_reading()
        await asyncio.sleep(0.1)
        client.transport.reset()  # type: ignore[attr-defined]
        await asyncio.sleep(10)
        assert not server.lost.done()
        server.transport.resume_reading()
        assert isinstance(await server.lost, ConnectionResetError)

    run(world, body())


def test_streams_work(world: tuple[SimLoop, Process]) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def body() -> None:
        server = await asyncio.start_server(echo, ["127.0.0.1", "::1"], 25)
        for host in ("127.0.0.1", "::1"):
            reader, writer = await asyncio.open_connection(host, 25)
            writer.write(b"".join(b"line %d\n" % number for number in range(1000)))
            writer.write_eof()
            assert (await reader.read()).splitlines()[-1] == b"LINE 999"
            writer.close()
            await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(world, body())
    assert world[1].leftovers() == []


def test_rules_come_before_the_weather_and_the_first_answer_wins(world: tuple[SimLoop, Process]) -> None:
    loop = world[0]
    loop.net.weather.refuse = 1.0
    dials: list[Dial] = []

    def first(dial: Dial) -> LinkPlan | None:
        dials.append(dial)
        return LinkPlan() if dial.number == 1 else None

    loop.net.rule(first)

    async def body() -> None:
        await loop.create_server(Log, "127.0.0.1", 25)
        await loop.create_connection(Log, "127.0.0.1", 25)
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Log, "127.0.0.1", 25)
        loop.net.clear_rules()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Log, "127.0.0.1", 25)

    run(world, body())
    assert [(dial.number, dial.host, dial.port) for dial in dials] == [(1, "127.0.0.1", 25), (2, "127.0.0.1", 25)]
