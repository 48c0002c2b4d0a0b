"""What waits, and for how long: pictures that are decoded count, and a request has one deadline."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import pytest
from fastapi import HTTPException
from serving import Place, form, png, serving

from rain.deploy.answering import Question
from rain.deploy.batching import Batcher, BusyError
from rain.deploy.intake import Order, Upload
from rain.deploy.model import Model
from rain.deploy.service import Service
from rain.deploy.settings import Settings
from rain.errors import OptionError


class Slow(Model):
    """Decoding takes some time, and says how many pictures it has seen."""

    def __init__(self, seconds: float):
        super().__init__(Settings(classifier="models:tiny", defense="none", device="cpu"))
        self.seconds = seconds
        self.decoded = 0

    def read(self, content: bytes, seed: int | None, top: int) -> Question:
        time.sleep(self.seconds)
        self.decoded += 1
        return super().read(content, seed, top)


class Stopped(Model):
    """It decodes nothing until it may go on."""

    def __init__(self) -> None:
        super().__init__(Settings(classifier="models:tiny", defense="none", device="cpu"))
        self.go_on = threading.Event()

    def read(self, content: bytes, seed: int | None, top: int) -> Question:
        assert self.go_on.wait(20)
        return super().read(content, seed, top)


def ask(place: Place, count: int = 1) -> tuple[int, dict[str, str], dict[str, Any]]:
    body, kind = form([png(side=8)] * count, {})
    status, headers, text = place.ask("POST", "/predict", body, {"content-type": kind})
    return status, headers, json.loads(text)


def test_pictures_that_wait_for_a_decoder_count_as_waiting() -> None:
    model = Stopped()
    with serving(model, queue=4, max_files=2) as place, ThreadPoolExecutor(8) as threads:
        futures = as_completed([threads.submit(ask, place) for _ in range(8)], timeout=20)
        early = [next(futures).result() for _ in range(4)]
        assert place.ask("GET", "/ready")[0] == 503
        assert b"rain_waiting_images 4.0" in place.ask("GET", "/metrics")[2]
        model.go_on.set()
        late = [future.result() for future in futures]
        assert place.ask("GET", "/ready")[0] == 200
        assert b"rain_waiting_images 0.0" in place.ask("GET", "/metrics")[2]
    assert {(status, headers["retry-after"]) for status, headers, _ in early} == {(503, "1")}
    assert [status for status, _, _ in late] == [200] * 4


def test_time_spent_waiting_is_no_fault_of_the_picture() -> None:
    with serving(Slow(0.5), timeout_seconds=1.2) as place, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: ask(place), range(8)))
    statuses = {status for status, _, _ in answers}
    assert statuses == {200, 503}
    late = [(headers, answer) for status, headers, answer in answers if status == 503]
    for headers, answer in late:
        assert headers["retry-after"] == "5"
        assert answer["detail"].startswith("there was no answer within 1.2 seconds: come again")


def test_the_files_of_a_request_share_one_deadline() -> None:
    model = Slow(0.2)
    with serving(model, timeout_seconds=0.5) as place:
        status, headers, _ = ask(place, 8)
    assert (status, headers["retry-after"]) == (503, "5")
    assert model.decoded <= 3


def test_who_went_away_or_failed_leaves_no_place_taken() -> None:
    with serving(Slow(0.4), queue=3, max_files=3, timeout_seconds=1.0) as place:
        assert ask(place, 3)[0] == 503
        assert place.predict(b"no picture")[0] == 422
        assert b"rain_waiting_images 0.0" in place.ask("GET", "/metrics")[2]
        assert ask(place)[0] == 200


def test_a_fault_while_a_picture_is_read_is_logged_and_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Question:
        raise RuntimeError("/a/path of this machine")

    model = Model(Settings(classifier="models:tiny", defense="none", device="cpu"))
    monkeypatch.setattr(model, "read", fail)

    async def ask_it() -> None:
        await Service(model.settings, model).predict(Order((Upload("a.png", b""),), None, 1))

    with pytest.raises(HTTPException) as caught:
        asyncio.run(ask_it())
    assert (caught.value.status_code, "path" in caught.value.detail) == (500, False)


def test_places_are_kept_for_jobs_and_free_again() -> None:
    async def run() -> None:
        batcher: Batcher[int, int] = Batcher(list, most=4, wait_seconds=0.0, room=3)
        batcher.start()
        with batcher.places(2):
            assert batcher.crowd == 2
            with pytest.raises(BusyError), batcher.places(2):
                pass
            with pytest.raises(BusyError):
                await batcher.ask([1, 2])
            assert await batcher.ask([1]) == [1]
        assert batcher.crowd == 0
        assert await batcher.ask([1, 2, 3]) == [1, 2, 3]
        await batcher.close()
        with pytest.raises(BusyError), batcher.places(1):
            pass

    asyncio.run(run())


def test_a_queue_in_which_a_request_never_finds_room_is_refused() -> None:
    with pytest.raises(OptionError, match="queue must be at least max_files, got 31 and 32: a request of 32"):
        Settings(queue=31)
    with pytest.raises(OptionError, match="got 128 and 129"):
        Settings(max_files=129)
    assert Settings(queue=4, max_files=4).queue == 4
    assert Settings().queue >= Settings().max_files
