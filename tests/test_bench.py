"""The benchmarks, as far as they go without the programs of others: what they make of what was measured."""

import math
import os
import socket
import threading
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
import xarray as xr

from bench import array_data, array_turns, arrays, kernels, link, peers, scaling
from bench.peers import ANONYMOUS, DOWNLOAD, NGINX, PRESIGNED, SEAWEEDFS, SERVICE, SIGNED, STORE, Findings, Flood
from bench.programs import PEER, tell_missing
from bench.rounds import Row, Spread, rotated, run_rounds, table
from bench.turns import CLIENT, PROXY, Ask, WrongReply, ask_json, to_lua
from deploy.local.processes import LOOPBACK


def make_findings(rate: float) -> Findings:
    """Every case measured thrice, the service as many times as fast as the others as ``rate`` says."""
    measured = {SERVICE: [rate] * 3, PEER: [1.0] * 3, STORE: [2.0] * 3, DOWNLOAD: [1.0] * 3}
    rows = [
        Row(case.name, {}, clients, target=target, rates=measured)
        for case in peers.CASES
        for clients, target in zip(peers.CLIENTS, case.targets, strict=True)
    ]
    doors = {name: [1.0] for name in peers._DOORS for name in peers._DOORS[name]} | {SIGNED: [rate], PRESIGNED: [rate]}
    crossings = [
        Row(str(size), {}, target=link.TARGET if size == max(link.SIZES) else None, rates=rates)
        for size in link.SIZES
        for rates in [{PROXY.name: [rate * 10], CLIENT.name: [1.0]}]
    ]
    return Findings(
        rows=rows,
        errors={"64 KiB": {SERVICE: 1e-9, PEER: 1e-3}},
        floods=[Flood(SERVICE, 0 if rate > 1 else 1, 100 << 20), Flood(PEER, 2, 4 << 30)],
        large=Row("1 GiB", {}, target=1.1, rates=measured),
        large_growth=1 << 20,
        shared=Row("1 GiB", {}, rates=measured),
        doors=[Row("64 KiB", {}, 8, target=0.9, rates=doors)],
        links={NGINX: crossings, SEAWEEDFS: crossings},
    )


@pytest.mark.parametrize(("rate", "is_met"), [(100.0, True), (0.01, False)])
def test_the_page_of_the_peers_judges_what_was_measured(rate: float, is_met: bool) -> None:
    page = peers.render(make_findings(rate))
    judged = [target.is_met for target in page.targets if "grow" not in target.what and "resident" not in target.what]
    assert judged == [is_met] * len(judged)
    # All cases but 64 KiB one at a time, for which there is no target; 1 GiB, the flood, two doors, the link.
    assert len(judged) == len(peers.CASES) * len(peers.CLIENTS) - 1 + 5


def test_the_page_of_the_peers_has_every_case_and_the_machine() -> None:
    text = peers.render(make_findings(3.0)).render({"cores": "2"})
    assert "| 154 MiB | 32 | 3 | 3.00 (3.00 to 3.00) |" in text
    assert f"| 64 KiB | {3.0:.2f} | {3.0:.2f} | 1.00 | 1.00 |" in text
    assert "| cores | 2 |" in text
    assert ANONYMOUS in text


def test_the_page_of_the_kernels_has_the_quartiles_and_the_judgement_of_the_others() -> None:
    """Quartiles with both ends included: by the other method 1 to 5 would have those of 1.5 and 4.5."""
    names = ("sum", "max", "sum, a rule, nothing missing", "sum, 10 % missing")
    spread = [1 / seconds for seconds in (1.0, 2.0, 3.0, 4.0, 5.0)]
    rates = {name: [1.0] * 5 if name == "sum" else spread for name in names}
    text = kernels.render(Row("", {}, rates=rates)).render({})
    assert "| max | 3.00 (2.00 to 4.00) |" in text
    assert "| a rule, nothing missing | at most 1.3 plain sums | 3.00 | **no** |" in text
    assert "| 10 % missing at random | at most 4 plain sums | 3.00 | yes |" in text
    assert "**1 of 2 targets were missed in this run.**" in text


def test_everyone_begins_a_round_in_turn() -> None:
    assert [rotated("abc", number) for number in range(4)] == [[*"abc"], [*"bca"], [*"cab"], [*"abc"]]


def test_everyone_has_a_turn_in_each_round_and_rows_have_their_own_number_of_rounds() -> None:
    turns: list[str] = []
    rows = [
        Row(name, {who: lambda turn=f"{name}{who}": turns.append(turn) or 1.0 for who in "ab"}, rounds=rounds)  # type: ignore[misc, func-returns-value]
        for name, rounds in (("x", 2), ("y", 1))
    ]
    run_rounds(rows, lambda _: None)
    assert turns == ["xa", "xb", "yb", "ya", "xb", "xa"]
    assert rows[0].beside("a", "b") == Spread(1, 1, 1, 2)
    run_rounds(rows, lambda _: None, ends_at=-math.inf)
    assert [len(row.rates["a"]) for row in rows] == [3, 2]


def test_what_was_not_measured_is_a_dash() -> None:
    assert table(("a", "b"), [(Row("x", {}).beside("a", "b"), 1)]) == "| a | b |\n| --- | --- |\n| - | 1 |"


def test_what_is_missing_is_said_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.programs.shutil.which", lambda *_, **__: None)
    for name in ("NGINX", "WRK", "REDUCTIONIST"):
        monkeypatch.delenv(name, raising=False)
    assert {"nginx", "wrk", "reductionist"} <= {line.partition(":")[0].strip() for line in tell_missing().splitlines()}
    assert "cargo install reductionist" in tell_missing()
    for name in ("NGINX", "WRK", "REDUCTIONIST"):
        monkeypatch.setenv(name, "/a/program")
    assert tell_missing() == ""


def test_wrk_is_told_in_lua() -> None:
    ask = ask_json("http://service", "sum", {"dtype": "float32"})
    assert ask == Ask("http://service/v2/sum/", "POST", {"Content-Type": "application/json"}, '{"dtype": "float32"}')
    assert to_lua(ask).splitlines() == [
        'wrk.method = "POST"',
        'wrk.headers["Content-Type"] = "application/json"',
        'wrk.body = "{\\"dtype\\": \\"float32\\"}"',
    ]


def test_a_connection_starts_slowly_and_begins_again_when_it_was_idle() -> None:
    """Ten segments in the first round trip, twenty in the second; after a pause ten again."""
    window, now = link.Window(), 0.0
    rooms = []
    for _ in range(3):
        wait, room = window.find_room(now)
        now += wait
        rooms.append((round(now, 6), room))
        window.send(room, now)
    first = 14_600
    assert rooms == [(0.0, first), (0.02, 2 * first), (0.04, 4 * first)]
    assert window.find_room(now + 0.1)[1] == 8 * first
    assert window.find_room(now + 1)[1] == first


SMALL = arrays.Sizes(chunks=4, checked=2, indexed=2, large=2, days=2, again=2, variables=2, plain_bytes=64)

ALL_PLACES = arrays.Places(
    service="http://service",
    keeping="http://keeping",
    near="http://near",
    far="http://far",
    peer="http://peer",
    linked_service="http://linked-service",
    linked_near="http://linked-near",
    linked_peer="http://linked-peer",
    zarrs=Path("zarrs"),
)


def make_array_findings(folder: Path, rate: float) -> arrays.Findings:
    """Every race measured thrice, one request as many times as fast as the others as ``rate`` says."""
    files = arrays.Files.write(folder, SMALL)
    found = []
    for case in arrays.make_cases(ALL_PLACES, files):
        # xarray with the service should be as fast as the request, and not slower by more than a tenth.
        own = {arrays.SERVICE: rate, arrays.DUCK: rate * rate}
        rates = {name: [own.get(name, 1.0)] * 3 for name in case.asks}
        found.append(arrays.Finding(Row(case.name, {}, rates=rates), case.targets, case.is_cpu))
    return arrays.Findings(
        rows=found,
        round_trips=int(1000 / rate),
        growth=int(2**30 / rate),
        result_bytes=2**20,
        quantile_growth=int(2**30 / rate),
        opening=(100, int(1000 / rate), 100),
    )


@pytest.mark.parametrize(("rate", "is_met"), [(100.0, True), (0.01, False)])
def test_the_page_of_whole_arrays_judges_what_was_measured(tmp_path: Path, rate: float, is_met: bool) -> None:
    findings = make_array_findings(tmp_path, rate)
    page = arrays.render(findings)
    assert [target.is_met for target in page.targets] == [is_met] * len(page.targets)
    # Each target, and those of only reading, xarray, opening, the index and the memory.
    assert len(page.targets) == sum(len(finding.targets) for finding in findings.rows) + 6
    assert f"| {arrays.DASK_50} | {rate:.2f} ({rate:.2f} to {rate:.2f}) | 3 |" in page.render({"cores": "2"})


@pytest.mark.parametrize(("rate", "is_met"), [(1.8, True), (1.6, False)])
def test_the_page_of_scaling_judges_what_was_measured(rate: float, is_met: bool) -> None:
    file = array_data.ArrayFile("a.zarr", "zarr", (64, 512, 1024), (1, 512, 1024), 0.0)
    names = ("1", "2", "4")
    rates = {name: [power] * 3 for name, power in zip(names, (0.1, 0.1 * rate, 0.3), strict=True)}
    findings = scaling.Findings(
        Row("mean", {}, rates=rates),
        file,
        sections=32,
        shares={name: [0.4, 0.38, 0.3] for name in names},
        moved={name: scaling.Moved(64 << 20, 2048) for name in names},
        decoding_share=0.71,
        graph_seconds=[5.0, 0.2, 0.3],
        graph_tasks=1066,
    )
    page = scaling.render(findings)
    assert [target.is_met for target in page.targets] == [is_met, True]
    text = page.render({"cores": "2"})
    assert f"| 2 | {10 / rate:.1f} | {rate:.2f} ({rate:.2f} to {rate:.2f}) | 0.38 | 64.0 MiB | 2 KiB |" in text
    assert "0.1 GiB of float32 in 64 chunks in gzip" in text
    assert "has 1,066 tasks" in text


def test_the_bytes_of_requests_are_those_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('starts\n{"bytes_read": 5, "bytes_sent": 2}\n{"bytes_sent": 1}\n')
    server = scaling.Server("http://service", [psutil.Process()], log)
    assert server.read_log() == scaling.Moved(5, 3)
    assert server.cpu_seconds > 0


def test_what_a_quick_run_does_without_is_not_asked(tmp_path: Path) -> None:
    files = arrays.Files.write(tmp_path, SMALL)
    alone = replace(ALL_PLACES, peer=None, linked_peer=None, zarrs=None)
    asked = {name for case in arrays.make_cases(alone, files) for name in case.asks}
    everybody = {name for case in arrays.make_cases(ALL_PLACES, files) for name in case.asks}
    assert everybody - asked == {arrays.PEER_CHUNKS, arrays.ACTIVE, arrays.ZARRS}


@pytest.mark.parametrize("name", ["raw", "packed", "checked"])
def test_a_chunk_of_a_file_decodes_as_its_place_and_its_codecs_say(tmp_path: Path, name: str) -> None:
    file = getattr(arrays.Files.write(tmp_path, SMALL), name)
    total = 0.0
    for place in file.places:
        stored = (tmp_path / place.path).read_bytes()[place.part["offset"] :][: place.part["size"]]
        if file.codecs:
            planes = np.frombuffer(zlib.decompress(stored), np.uint8).reshape(4, -1)
            stored = planes.T.tobytes()
        total += float(np.frombuffer(stored, "<f4").sum(dtype=np.float64))
    assert math.isclose(total / math.prod(file.shape), file.mean, rel_tol=1e-9)


def test_an_answer_that_is_not_that_of_numpy_ends_the_run() -> None:
    with array_turns.open_asker([os.getpid()]) as asker:
        assert asker.take_time(partial(float, 2), 2.0, 1e-6) > 0
        assert asker.take_cpu(partial(np.arange, 3), [0, 1, 2], 1e-6) > 0
        with pytest.raises(WrongReply, match=r"the answer is 2\.0, not 2\.1"):
            asker.take_time(partial(float, 2), 2.1, 1e-6)
        with pytest.raises(WrongReply, match=r"the answer is array\(\[0, 1, 2\]\), not \[0, 1, 2\.1\]"):
            asker.take_time(partial(np.arange, 3), [0, 1, 2.1], 1e-6)
        with pytest.raises(WrongReply, match=r"the answer is 2\.0, not \[2, 2\]"):
            asker.take_time(partial(float, 2), [2, 2], 1e-6)


def test_the_numbers_of_days_are_those_of_xarray(tmp_path: Path) -> None:
    daily = arrays.Files.write(tmp_path, replace(SMALL, days=40)).daily
    with xr.open_zarr(tmp_path / daily.file.path) as dataset:
        values = dataset[array_data.VARIABLE].astype(np.float64)
        weighted = values.weighted(np.cos(np.radians(dataset["lat"])))
        assert np.allclose(daily.monthly_means, array_turns.find_monthly_means(values), 1e-12, 0)
        assert np.allclose(daily.global_means, values.mean(["lat", "lon"]), 1e-12, 0)
        assert np.allclose(daily.area_means, weighted.mean(["lat", "lon"]), 1e-12, 0)
        assert np.allclose(daily.quantiles, array_turns.find_quantile(values, array_data.QUANTILE), 1e-12, 0)


def test_what_comes_from_a_distant_store_comes_later_whole_and_in_order() -> None:
    """Nothing is timed: the bytes are the same, many pieces behind each other, and the end comes behind them."""
    body = os.urandom(3 << 20)

    def answer(server: socket.socket) -> None:
        for _ in range(2):
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(body)

    with socket.create_server((LOOPBACK, 0)) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        with link.distant(f"http://{LOOPBACK}:{server.getsockname()[1]}") as (far,):
            for _ in range(2):
                with socket.create_connection((LOOPBACK, urlsplit(far).port or 0)) as client:
                    client.sendall(b"please")
                    assert b"".join(iter(lambda: client.recv(1 << 16), b"")) == body
        thread.join()
