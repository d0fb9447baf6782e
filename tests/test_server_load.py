"""Many at once, slow ones, and requests that nobody would send: a small form of benchmarks/serve.py, and the OpenAPI document taken at its word."""

import statistics
import time

import numpy as np
import pytest
from serving import memory, serving, slow, until, uploaded

from unnoise import image


@pytest.fixture(scope="module")
def served(tmp_path_factory, environment):
    with serving(tmp_path_factory.mktemp("served"), environment, "--max-mb", 1) as server:
        yield server


@pytest.fixture(scope="module")
def files(tmp_path_factory, photos):
    """Twenty-four small noisy files, no two alike, by name."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(11)
    photo = image.read(photos / "astronaut.png").pixels
    for number in range(24):
        top, left = rng.integers(0, 190, 2)
        noisy = photo[top : top + 48, left : left + 64] + rng.normal(0, 25 / 255, (48, 64, 3))
        image.write(folder / f"{number}{('.png', '.jpg', '.tif')[number % 3]}", noisy.clip(0, 1).astype(np.float32))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_none_is_lost_and_none_is_another(served, files, tmp_path, cli):
    """Fails if an upload among many is lost, is answered with another one's picture, or costs memory that stays."""
    (tmp_path / "in").mkdir()
    for name, content in files.items():
        (tmp_path / "in" / name).write_bytes(content)
    assert cli("denoise", tmp_path / "in", "-o", tmp_path / "out", "--threads", 1).code == 0
    expected = [(tmp_path / "out" / name).read_bytes() for name in files]
    assert len(set(expected)) == len(files)
    held = []
    for _ in range(3):
        answers, _ = uploaded(served, list(files.values()), 8)
        assert [answer.status for answer in answers] == [200] * len(files)
        assert [answer.body for answer in answers] == expected
        held.append(memory(served.process.pid) + memory(served.worker()))
    assert held[2] < held[1] + 15, held  # MB; a copy of the files alone would be 0.2, of their floats 1
    until(lambda: served.kept() == [], "a file stays")


def test_slow_connections_hold_up_nobody(served, files):
    """Fails if a hundred connections that trickle make a request wait for them."""

    def seconds():
        began = time.monotonic()
        assert served.post("inspect", files["0.png"]).status == 200
        return time.monotonic() - began

    seconds()
    alone = statistics.median(seconds() for _ in range(7))
    with slow(served, 100) as open_now:
        among = statistics.median(seconds() for _ in range(7))
        assert open_now() > 90  # some are between two connections
    assert among < 2 * alone + 0.05, (alone, among)  # s; other programs of this computer count too
    until(lambda: served.kept() == [], "a file stays")


def test_the_document_holds_for_requests_nobody_would_send(served):
    """Fails if a request that is made up from the OpenAPI document is a fault of the server: a status from 500 but 501 and 503."""
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed, so no requests can be made up")
    from hypothesis import HealthCheck, Phase, given, settings

    address = served.address.rstrip("/")
    document = served.ask("GET", "/api/openapi.json").json()
    del document["paths"]["/api/train"]["post"]  # which would train; its fields have tests of their own
    schema = schemathesis.openapi.from_dict(document)
    schema.config.base_url = address
    statuses, bad = set(), []
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy())
        @settings(
            max_examples=12,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        def ask(case):
            answer = case.call(timeout=30)
            statuses.add(answer.status_code)
            if answer.status_code >= 500 and answer.status_code not in (501, 503):
                bad.append((case.method, case.path, answer.status_code, answer.text[:200]))

        ask()
    assert not bad, bad[:3]
    assert {200, 400} <= statuses
