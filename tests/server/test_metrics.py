"""What /metrics tells."""

import pytest
from live_sockets import flush, pcm, tone
from prometheus_client.parser import text_string_to_metric_families

from anivoice.metrics import Metrics


async def samples_of(client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    async with client.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = await answer.text()
    families = text_string_to_metric_families(text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


async def test_conversion_is_counted(serve_fake, form, make_audio, until):
    client = await serve_fake()
    async with client.post("/convert", data=form(make_audio(0.75, 22050))) as answer:
        assert answer.status == 200
    async with client.post("/convert", data=form(b"nothing")) as answer:
        assert answer.status == 415
    values = await samples_of(client)
    assert values["anivoice_conversions_total", (("outcome", "done"),)] == 1
    assert values["anivoice_conversions_total", (("outcome", "failed"),)] == 1
    assert values["anivoice_conversions_total", (("outcome", "cancelled"),)] == 0
    assert values["anivoice_audio_seconds_in_total", ()] == pytest.approx(0.75, abs=1e-3)
    assert values["anivoice_audio_seconds_out_total", ()] == pytest.approx(0.75, abs=1e-3)
    assert values["anivoice_conversion_seconds_count", ()] == 1
    assert values["anivoice_real_time_factor_count", ()] == 1
    seconds = values["anivoice_conversion_seconds_sum", ()]
    assert values["anivoice_real_time_factor_sum", ()] == pytest.approx(seconds / 0.75, rel=1e-3)
    assert values["anivoice_engine_busy_seconds_total", ()] > 0
    assert values["anivoice_engine_queue_length", ()] == 0
    assert values["anivoice_loaded_voices", ()] >= 1
    assert values["anivoice_loaded_voices_bytes", ()] > 10000
    assert values["anivoice_conversions_running", ()] == 0
    assert values["anivoice_conversion_places_taken", ()] == 0


async def test_requests_are_counted_by_route_and_status(serve_fake):
    client = await serve_fake()
    for path in ("/healthz", "/healthz", "/made/up/by/a/client", "/ws/secret-name"):
        async with client.get(path) as answer:
            await answer.read()
    async with client.post("/convert/stream", data=b"{") as answer:
        await answer.read()
    async with client.request("PROPFIND", "/models") as answer:
        assert answer.status == 405
    values = await samples_of(client)

    def count(method: str, route: str, status: str) -> float:
        labels = {"method": method, "route": route, "status": status}
        return values["anivoice_http_requests_total", tuple(sorted(labels.items()))]

    assert count("GET", "/healthz", "200") == 2
    assert count("GET", "other", "404") == 1
    assert count("GET", "/ws/{session_id}", "426") == 1
    assert count("POST", "/convert/stream", "400") == 1
    assert count("OTHER", "other", "405") == 1
    assert values["anivoice_http_request_seconds_count", (("route", "/healthz"),)] == 2
    assert not any("secret-name" in str(key) or "made" in str(key) for key in values)


async def test_sessions_loop_lag_and_readiness(serve_fake, fake, until):
    client = await serve_fake(session_ttl_seconds=30)
    for _ in range(2):
        async with client.post("/convert/stream") as answer:
            assert answer.status == 200
    values = await samples_of(client)
    assert values["anivoice_sessions", ()] == 2
    fake.clock.now_s += 31
    async with client.post("/convert/stream") as answer:
        assert answer.status == 200
    values = await samples_of(client)
    assert values["anivoice_sessions", ()] == 1
    assert values["anivoice_event_loop_lag_seconds_count", ()] >= 0
    assert values["anivoice_ready", ()] in (0, 1)


def test_each_server_counts_for_itself():
    first, second = Metrics(), Metrics()
    first.count_conversion(1, 1, 0.5)
    assert 'anivoice_conversions_total{outcome="done"} 1.0' in first.text().decode()
    assert 'anivoice_conversions_total{outcome="done"} 0.0' in second.text().decode()


def test_empty_audio_has_no_real_time_factor():
    metrics = Metrics()
    metrics.count_conversion(0, 0, 0.5)
    assert "anivoice_real_time_factor_count 0.0" in metrics.text().decode()


async def test_live_streams_are_counted(serve_fake, connect):
    client = await serve_fake()
    socket = await connect(client, events=True)
    await socket.send_bytes(pcm(tone(0.5)))
    await flush(socket)
    values = await samples_of(client)
    assert values["anivoice_live_sessions", ()] == 1
    num_converted = values["anivoice_live_blocks_total", (("outcome", "converted"),)]
    assert num_converted > 4
    assert values["anivoice_live_blocks_total", (("outcome", "dropped"),)] == 0
    assert values["anivoice_block_compute_seconds_count", ()] == num_converted
    assert 0 < values["anivoice_block_delay_seconds_count", ()] <= num_converted  # the end of a stream has no delay
