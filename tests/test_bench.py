"""The benchmarks, without the programs of others: how they evaluate and print measurements."""

import json

import pytest

from bench import kernels
from bench.peers import cases, link, profile
from bench.peers.measure import (
    ANONYMOUS,
    DOWNLOAD,
    NGINX,
    PRESIGNED,
    SEAWEEDFS,
    SERVICE,
    SIGNED,
    STORE,
    Findings,
    Flood,
    Row,
)
from bench.peers.page import find_targets, render
from bench.peers.programs import PEER, tell_missing
from bench.peers.turns import Ask, _to_lua, ask_json
from bench.tables import rotated


def make_findings(rate: float) -> Findings:
    """Three measurements of every case, in which the service is ``rate`` times as fast as the others."""
    findings = Findings(
        rows=[Row(case, {SERVICE: [rate] * 3, PEER: [1.0] * 3, STORE: [2.0] * 3}) for case in cases.FULL.cases],
        errors={"64 KiB": {SERVICE: 1e-9, PEER: 1e-3}},
        floods=[Flood(SERVICE, 0 if rate > 1 else 1, 100 << 20, 1.0), Flood(PEER, 2, 4 << 30, 1.0)],
        large=Row(cases.LARGE, {SERVICE: [rate], DOWNLOAD: [1.0], STORE: [2.0]}),
        large_growth=1 << 20,
        shared=Row(cases.SHARED, {SERVICE: [rate], STORE: [1.0]}),
        links={
            store: [link.Crossing(size, {"proxy": [1.0], "client": [rate * 10]}) for size in link.SIZES]
            for store in (NGINX, SEAWEEDFS)
        },
        shares={"numpy": 1.0},
    )
    door = cases.Case("64 KiB", "65536", 8, target=0.9)
    findings.doors = [Row(door, {SIGNED: [rate], PRESIGNED: [rate], ANONYMOUS: [1.0]})]
    return findings


@pytest.mark.parametrize(("rate", "is_met"), [(100.0, True), (0.01, False)])
def test_the_targets_are_compared_with_the_measurements(rate: float, is_met: bool) -> None:
    targets = [target for target in find_targets(make_findings(rate)) if "grow" not in target.what]
    judged = [target.is_met for target in targets if "resident" not in target.what]
    assert judged == [is_met] * len(judged)
    # All cases except the two of 64 KiB in sequence, which have no target; and 1 GiB, the flood, two doors, the link.
    assert len(judged) == len([case for case in cases.FULL.cases if case.target]) + 5


def test_the_page_is_made_from_the_measurements() -> None:
    files = render(make_findings(3.0), {"cores": "2"})
    assert set(files) == {"peers.md", "peers.json", "peers-rates.svg", "peers-link.svg"}
    assert "| 154 MiB | 32 | 3 | 3.00 (3.00 to 3.00) |" in files["peers.md"].decode()
    assert json.loads(files["peers.json"])["machine"] == {"cores": "2"}
    assert render(make_findings(3.0), {"cores": "2"}) == files


def test_the_page_of_the_kernels_has_quartiles_and_comparisons() -> None:
    """Inclusive quartiles: the exclusive ones of 1 to 5 would be 1.5 and 4.5."""
    names = ("sum", "max", "sum, a rule, nothing missing", "sum, 10 % missing")
    page = kernels.render({name: [1.0] * 5 if name == "sum" else [1.0, 2.0, 3.0, 4.0, 5.0] for name in names})
    assert "| max | 3.00 (2.00 to 4.00) |" in page
    assert "| a rule, nothing missing | at most 1.3 plain sums | 3.00 | **no** |" in page
    assert "| 10 % missing at random | at most 4 plain sums | 3.00 | yes |" in page


def test_each_contender_begins_a_round_in_turn() -> None:
    assert [rotated("abc", number) for number in range(4)] == [[*"abc"], [*"bca"], [*"cab"], [*"abc"]]


def test_a_sample_counts_for_the_innermost_layer() -> None:
    stacks = (
        "run (x/gunicorn/workers/gthread.py:1);run (handler/engine/engine.py:2);read (handler/stores/wire.py:3) 3\n"
        "run (x/gunicorn/workers/gthread.py:1);run (handler/engine/engine.py:2);recv (x/socket.py:3) 1\n"
        "run (x/gunicorn/workers/gthread.py:1);_worker (concurrent/futures/thread.py:81) 90\n"
    )
    assert profile.count_layers(stacks) == {"the upstream call: request out, head in": 0.75, "the pipeline": 0.25}


def test_a_missing_program_is_reported_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.peers.programs.shutil.which", lambda *_, **__: None)
    for name in ("NGINX", "WRK", "REDUCTIONIST"):
        monkeypatch.delenv(name, raising=False)
    assert {"nginx", "wrk", "reductionist"} <= {line.partition(":")[0].strip() for line in tell_missing().splitlines()}
    assert "cargo install reductionist" in tell_missing()
    for name in ("NGINX", "WRK", "REDUCTIONIST"):
        monkeypatch.setenv(name, "/a/program")
    assert tell_missing() == ""


def test_wrk_gets_a_lua_script() -> None:
    ask = ask_json("http://service", "sum", {"dtype": "float32"})
    assert ask == Ask("http://service/v2/sum/", "POST", {"Content-Type": "application/json"}, '{"dtype": "float32"}')
    assert _to_lua(ask).splitlines() == [
        'wrk.method = "POST"',
        'wrk.headers["Content-Type"] = "application/json"',
        'wrk.body = "{\\"dtype\\": \\"float32\\"}"',
    ]


def test_a_connection_has_a_slow_start_also_after_idling() -> None:
    """It sends ten segments in the first round trip, twenty in the second, and ten again after a pause."""
    window, now = link._Window(), 0.0
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
