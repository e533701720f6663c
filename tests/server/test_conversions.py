"""Who converts when: limits, turns, leaving clients, shutting down. The fake engine holds on as the test wants it."""

import asyncio
import contextlib
import socket
import threading

import pytest

from anivoice.engine.batch import Job, WindowRequest
from anivoice.errors import Unavailable
from anivoice.server.auth import Caller
from anivoice.server.conversions import Conversions
from anivoice.server.state import APP_STATE

ANYBODY = Caller("somebody")


@pytest.fixture
def post(form):
    """Begins a conversion: `task = post(client, audio, model_name="bob")`, whose result is status, headers, body."""

    def begin(client, audio, **fields):
        async def send():
            async with client.post("/convert", data=form(audio, **fields)) as answer:
                return answer.status, answer.headers, await answer.read()

        return asyncio.create_task(send())

    return begin


def conversions_of(client) -> Conversions:
    return client.app[APP_STATE].conversions


async def test_client_that_leaves_cancels_its_work(serve_fake, fake, post, speech, num_open_files, until):
    fake.runner.is_held = lambda request: True
    client = await serve_fake()
    conversion = post(client, speech)
    await until(lambda: fake.runner.num_held == 1)
    assert num_open_files() > 2
    assert conversions_of(client).num_running == 1
    conversion.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await conversion
    await until(lambda: conversions_of(client).num_places_taken == 0)
    (job,) = fake.engine.jobs
    assert job.is_cancelled
    assert fake.runner.served[1:] == []
    await until(lambda: num_open_files() == 0)
    await until(lambda: fake.engine.num_queued == 0)
    async with client.get("/metrics") as answer:
        text = await answer.text()
    assert 'anivoice_conversions_total{outcome="cancelled"} 1.0' in text
    assert 'route="/convert",status="499"} 1.0' in text


async def test_client_that_leaves_while_it_waits_frees_its_place(serve_fake, fake, post, speech, until):
    fake.runner.is_held = lambda request: not released.is_set()
    released = threading.Event()
    client = await serve_fake(max_concurrent_conversions=1, max_waiting_conversions=1)
    first = post(client, speech)
    await until(lambda: fake.runner.num_held == 1)
    second = post(client, speech)
    await until(lambda: conversions_of(client).num_places_taken == 2)
    second.cancel()
    await until(lambda: conversions_of(client).num_places_taken == 1)
    third = post(client, speech)
    await until(lambda: conversions_of(client).num_places_taken == 2)
    released.set()
    assert [(await task)[0] for task in (first, third)] == [200, 200]
    assert len(fake.engine.jobs) == 2


async def test_only_so_many_run_and_wait(serve_fake, fake, post, speech, until):
    released = threading.Event()
    fake.runner.is_held = lambda request: not released.is_set()
    client = await serve_fake(max_concurrent_conversions=2, max_waiting_conversions=1)
    tasks = [post(client, speech) for _ in range(3)]
    await until(lambda: conversions_of(client).num_places_taken == 3)
    await until(lambda: len(fake.engine.jobs) == 2)
    status, headers, body = await post(client, speech)
    assert status == 503
    assert 1 <= int(headers["Retry-After"]) <= 120
    assert b"2 conversions run" in body
    assert conversions_of(client).num_running == 2
    released.set()
    assert [(await task)[0] for task in tasks] == [200, 200, 200]
    assert len(fake.engine.jobs) == 3
    assert conversions_of(client).num_places_taken == 0


async def test_other_requests_are_answered_during_a_conversion(serve_fake, fake, post, speech, until):
    released = threading.Event()
    fake.runner.is_held = lambda request: not released.is_set()
    client = await serve_fake(workers=1)
    conversion = post(client, speech)
    await until(lambda: fake.runner.num_held == 1)
    for path in ("/healthz", "/models", "/metrics", "/docs"):
        async with client.get(path) as answer:
            assert answer.status == 200
    assert not conversion.done()
    released.set()
    assert (await conversion)[0] == 200


async def test_short_file_is_done_while_a_long_one_is_under_way(serve_fake, fake, post, speech, long_speech, until):
    released = threading.Event()
    is_long = lambda request: isinstance(request, WindowRequest) and request.voice.name == "bob"  # noqa: E731
    fake.runner.is_held = lambda request: is_long(request) and not released.is_set()
    client = await serve_fake()
    long = post(client, long_speech, model_name="bob")
    await until(lambda: fake.runner.num_held == 1)
    assert (await post(client, speech, model_name="alice"))[0] == 200
    assert not long.done()
    released.set()
    status, headers, _ = await long
    assert (status, headers["X-Anivoice-Voice"]) == (200, "bob")


async def test_shutdown_fails_what_is_pending_clearly(serve_fake, fake, post, speech, num_open_files, until):
    fake.runner.is_held = lambda request: True
    client = await serve_fake(max_concurrent_conversions=1)
    running = post(client, speech)
    await until(lambda: fake.runner.num_held == 1)
    waiting = post(client, speech)
    await until(lambda: conversions_of(client).num_places_taken == 2)
    await client.server.close()
    for task in (running, waiting):
        status, _, body = await task
        assert status == 503
        assert b"shutting down" in body
    assert num_open_files() == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("anivoice")]


async def test_failed_conversion_harms_no_other(serve_fake, fake, post, speech):
    client = await serve_fake()
    fake.runner.error = ValueError("once")
    assert (await post(client, speech))[0] == 500
    fake.runner.error = None
    assert (await post(client, speech))[0] == 200


async def test_failed_conversion_takes_its_work_out_of_the_engine():
    conversions = Conversions(1, 1)
    jobs = []

    def fail(job: Job) -> None:
        jobs.append(job)
        raise Unavailable("no")

    with pytest.raises(Unavailable):
        await conversions.run(fail)
    assert jobs[0].is_cancelled
    await conversions.close()


async def test_refused_after_closing():
    conversions = Conversions(1, 1)
    conversions.refuse_new()
    with pytest.raises(Unavailable, match="shutting down"), conversions.place(ANYBODY):
        pass
    await conversions.close()


async def test_time_to_wait_follows_the_work():
    now_s = 0.0
    conversions = Conversions(1, 0, clock=lambda: now_s)

    def work(job: Job) -> None:
        nonlocal now_s
        now_s += 100

    async def expected_wait_s() -> float | None:
        with conversions.place(ANYBODY), pytest.raises(Unavailable) as caught, conversions.place(ANYBODY):
            pass
        return caught.value.retry_after_s

    before = await expected_wait_s()
    for _ in range(20):
        await conversions.run(work)
    assert before is not None
    assert before < 30
    assert 90 <= (await expected_wait_s() or 0) <= 120
    await conversions.close()


async def test_conversion_that_was_cancelled_is_waited_for(until):
    conversions = Conversions(1, 0)
    let_go, ended = threading.Event(), threading.Event()
    jobs: list[Job] = []

    def work(job: Job) -> None:
        jobs.append(job)
        let_go.wait()
        ended.set()

    running = asyncio.create_task(conversions.run(work))
    await until(lambda: jobs)
    running.cancel()
    await until(lambda: jobs[0].is_cancelled)
    running.cancel()
    await asyncio.sleep(0)
    assert not running.done()
    let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()
    assert conversions.num_running == 0
    await conversions.close()


async def test_client_that_takes_nothing_is_given_up(serve_fake, form, make_audio, num_open_files, until):
    client = await serve_fake(max_stall_seconds=0.1)
    body = form(make_audio(30), output_sample_rate=192000)()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (client.host, client.port))
        content = await body.as_bytes()
        head = f"POST /convert HTTP/1.1\r\nHost: localhost\r\nContent-Type: {body.content_type}\r\n"
        await loop.sock_sendall(connection, f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        assert (await loop.sock_recv(connection, 1000)).startswith(b"HTTP/1.1 200 OK")
        await until(lambda: conversions_of(client).num_places_taken == 0)
        await until(lambda: num_open_files() == 0)
    async with client.get("/metrics") as answer:
        assert 'route="/convert",status="499"} 1.0' in await answer.text()
