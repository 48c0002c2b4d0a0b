"""The web service: what it answers, and what it refuses."""

import base64
import io
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serving import SMALL, Place, form, png, serving

import rain
from rain.deploy import export
from rain.deploy.answering import Question
from rain.deploy.exported import cut, decode
from rain.deploy.model import Model
from rain.deploy.settings import Settings
from rain.errors import GateError


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with serving(seeds=True, max_megabytes=0.25, max_megapixels=0.01, max_files=3) as place:
        yield place


class Echo(Model):
    """Its answer is the mean grey level of the picture; each batch takes some time."""

    def __init__(self, seconds: float = 0.0):
        super().__init__(Settings(classifier="models:tiny", defense="none", device="cpu"))
        self.seconds = seconds

    def answer(self, questions: list[Question]) -> list[dict[str, Any] | Exception]:
        time.sleep(self.seconds)
        levels = [round(255 * float(question.image.mean())) for question in questions]
        common = {"name": None, "probability": 1.0, "agreement": 1.0, "top": []}
        return [{"label": level, **common} for level in levels]


# --- answers


def test_a_picture_has_the_same_answer_alone_among_others_and_in_json(place: Place) -> None:
    status, alone = place.predict(png(90), seed=7, top=2)
    assert status == 200
    (answer,) = alone["predictions"]
    assert answer["file"] == "0.png"
    assert len(answer["top"]) == 2
    assert answer["label"] == answer["top"][0]["label"]
    _, several = place.predict(png(200), png(90), png(30), seed=7, top=2)
    other = several["predictions"][1]
    assert other["label"] == answer["label"]
    assert other["probability"] == pytest.approx(answer["probability"], abs=2e-6)
    body = json.dumps({"images": [base64.b64encode(png(90)).decode()], "seed": 7, "top": 2}).encode()
    status, _, text = place.ask("POST", "/predict", body, {"content-type": "application/json"})
    assert status == 200
    assert json.loads(text)["predictions"] == [answer | {"file": "images[0]"}]


def test_draws_are_fresh_without_a_seed() -> None:
    with serving(draws=1) as place:
        answers = {place.predict(png(90))[1]["predictions"][0]["probability"] for _ in range(6)}
    assert len(answers) > 1


def test_a_detector_raises_its_alarm_and_gets_no_gate() -> None:
    defense = "squeezing(squeezers=median, threshold=0.0)"
    alarmed = Model(Settings(classifier="models:tiny", defense=defense, device="cpu"))
    (answer,) = alarmed.answer([alarmed.read(png(), 1, 1)])
    assert answer["flagged"] is True
    assert answer["label"] == answer["bare"]["label"]
    with pytest.raises(GateError, match="this detector is not calibrated"):
        Model(Settings(classifier="models:tiny", defense="squeezing(squeezers=median)", device="cpu"))


def test_a_gate_says_what_it_did() -> None:
    model = Model(Settings(classifier="models:tiny", defense="none", device="cpu"))
    assert "flagged" not in model.answer([model.read(png(), 1, 1)])[0]  # type: ignore[operator]
    gated = Model(
        Settings(classifier="models:tiny", defense=f"gated(defense={SMALL}, threshold=0.0)", device="cpu")
    )
    (answer,) = gated.answer([gated.read(png(), 1, 1)])
    assert isinstance(answer, dict)
    assert {"flagged", "suspicion", "bare"} <= answer.keys()
    with pytest.raises(GateError, match="not calibrated"):
        Model(Settings(classifier="models:tiny", defense=SMALL, gate=0.02, device="cpu"))


def test_it_says_what_it_is_and_what_it_did(place: Place) -> None:
    place.predict(png())
    about = json.loads(place.ask("GET", "/model")[2])
    assert about["classifier"] == "models:tiny"
    assert about["draws"] == 2
    assert json.loads(place.ask("GET", "/health")[2]) == {"status": "alive"}
    assert json.loads(place.ask("GET", "/ready")[2]) == {"status": "ready"}
    status, _, metrics = place.ask("GET", "/metrics")
    assert status == 200
    for name in (
        "rain_images_total",
        "rain_flagged_total",
        "rain_waiting_images",
        "rain_batch_images_bucket",
    ):
        assert name in metrics.decode()
    assert b'rain_requests_total{path="/predict",status="200"}' in metrics
    place.ask("GET", "/of/a/stranger")
    assert b"stranger" not in place.ask("GET", "/metrics")[2]


def test_headers_are_those_that_keep_browsers_in_bounds(place: Place) -> None:
    for path in ("/health", "/nowhere"):
        _, headers, _ = place.ask("GET", path)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] == "no-store"


def test_the_client_of_the_guide_gets_an_answer(place: Place, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "guide" / "service.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    picture = tmp_path / "holiday.png"
    picture.write_bytes(png())
    assert names["predict"](str(picture), f"http://127.0.0.1:{place.port}")["file"] == "images[0]"


# --- what is refused


def head(kind: str, length: str) -> bytes:
    """The head of a request whose body follows, or does not."""
    return f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n{length}\r\n\r\n".encode()


def large() -> bytes:
    content = io.BytesIO()
    Image.new("L", (2000, 2000)).save(content, "PNG")
    return content.getvalue()


def sliver() -> bytes:
    content = io.BytesIO()
    Image.new("L", (1, 9000)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no picture", "not an image"),
        (b"", "not an image"),
        (png()[:100], "truncated or damaged"),
        (large(), "pixels"),
    ],
)
def test_what_is_no_picture_is_said(place: Place, content: bytes, message: str) -> None:
    status, answer = place.predict(png(), content)
    assert status == 422
    assert answer["detail"].startswith("1.png: ")
    assert message in answer["detail"]


def test_a_sliver_is_refused_before_it_fills_the_memory() -> None:
    with serving(size=16) as place:
        status, answer = place.predict(png(), sliver())
    assert status == 422
    assert answer["detail"].startswith("1.png: a picture 9000 pixels high and 1 wide is too long and narrow")


@pytest.mark.parametrize(
    ("values", "message"),
    [({"seed": "x"}, "seed must be"), ({"seed": -1}, "seed must be"), ({"top": 0}, "top must be")],
)
def test_values_out_of_range_are_said(place: Place, values: dict[str, Any], message: str) -> None:
    status, answer = place.predict(png(), **values)
    assert status == 422
    assert message in answer["detail"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/json", 422),
        (b"[" * 5000, "application/json", 422),
        (b'{"images": [5]}', "application/json", 422),
        (b'{"images": ["$"]}', "application/json", 422),
        (b'{"images": []}', "application/json", 422),
        (b"x", "text/plain", 415),
        (b"x", "multipart/form-data", 400),
        (b"", "", 415),
    ],
)
def test_bodies_that_are_none_are_said(place: Place, body: bytes, kind: str, status: int) -> None:
    got, _, text = place.ask("POST", "/predict", body, {"content-type": kind} if kind else {})
    assert got == status
    assert json.loads(text)["detail"]


@pytest.mark.parametrize("charset", ["undefined", "unicode_escape", "none-such"])
def test_a_form_in_another_charset_is_told_or_read(place: Place, charset: str) -> None:
    body, kind = form([png()], {})
    named = body.replace(b"0.png", rb"\ud800.png")
    status, _, text = place.ask("POST", "/predict", named, {"content-type": f"{kind}; charset={charset}"})
    assert status in (200, 400, 422)
    assert json.loads(text)


def test_too_much_is_refused_before_it_is_read(place: Place) -> None:
    connection = socket.create_connection(("127.0.0.1", place.port), timeout=10)
    connection.sendall(head("application/json", f"content-length: {10**9}"))
    assert b" 413 " in connection.recv(1000)
    connection.close()


@pytest.mark.parametrize("count", [4, 5, 6, 30])
def test_too_many_files_are_told_the_limit_however_many(place: Place, count: int) -> None:
    status, answer = place.predict(*[png(side=8)] * count)
    assert status == 413
    assert "3 that are allowed" in answer["detail"]
    texts = [base64.b64encode(png(side=8)).decode()] * count
    body = json.dumps({"images": texts}).encode()
    status, _, text = place.ask("POST", "/predict", body, {"content-type": "application/json"})
    assert (status, b"3 are allowed" in text) == (413, True)


def test_too_many_and_too_long_values_of_a_form_are_too_much() -> None:
    with serving(max_megabytes=4) as place:
        status, answer = place.predict(png(), **{f"value{number}": 1 for number in range(17)})
        assert (status, "16 that are allowed" in answer["detail"]) == (413, True)
        status, answer = place.predict(png(), files="x" * 2**21)
        assert (status, "send pictures as files" in answer["detail"]) == (413, True)


def test_a_body_without_a_length_is_counted(place: Place) -> None:
    connection = socket.create_connection(("127.0.0.1", place.port), timeout=10)
    connection.sendall(head("application/json", "transfer-encoding: chunked"))
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    for _ in range(5):
        connection.sendall(piece)
    assert b" 413 " in connection.recv(1000)
    connection.close()


def test_a_slow_client_is_told_and_the_others_are_answered() -> None:
    with serving(timeout_seconds=0.5) as place:
        slow = socket.create_connection(("127.0.0.1", place.port), timeout=10)
        slow.sendall(head("application/json", "content-length: 99") + b"{")
        assert place.predict(png())[0] == 200
        assert b" 408 " in slow.recv(1000)
        slow.close()


def test_a_dropped_connection_costs_nobody_else() -> None:
    with serving(Echo(0.05)) as place:
        body, kind = form([png()], {})
        gone = socket.create_connection(("127.0.0.1", place.port), timeout=10)
        gone.sendall(head(kind, f"content-length: {len(body)}") + body[: len(body) // 2])
        gone.close()
        assert place.predict(png(77))[1]["predictions"][0]["label"] == pytest.approx(77, abs=2)
        assert b'status="499"' in place.ask("GET", "/metrics")[2]  # it is no fault of the service
        assert b'status="500"' not in place.ask("GET", "/metrics")[2]


def test_strangers_name_no_seed_and_need_the_secret() -> None:
    with serving(token="open sesame") as place:
        assert place.ask("GET", "/health")[0] == 200
        for headers in ({}, {"authorization": "Bearer open"}, {"authorization": "open sesame"}):
            status, _, body = place.ask("GET", "/model", headers=headers)
            assert (status, b"sesame" in body) == (401, False)
        right = {"authorization": "Bearer open sesame"}
        assert place.ask("GET", "/model", headers=right)[0] == 200
        body, kind = form([png()], {"seed": 5})
        status, _, text = place.ask("POST", "/predict", body, {"content-type": kind, **right})
        assert (status, b"takes no seed" in text) == (403, True)


# --- many at once


def test_a_thousand_pictures_at_once_each_get_their_own_answer() -> None:
    levels = np.random.default_rng(0).integers(20, 230, 1000).tolist()
    pictures = {level: png(level, side=8) for level in set(levels)}
    with serving(Echo(), queue=1000, batch=32) as place, ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda level: place.predict(pictures[level]), levels))
    assert {status for status, _ in answers} == {200}
    own = [answer["predictions"][0]["label"] for _, answer in answers]
    assert np.abs(np.array(own) - levels).max() <= 2


def test_who_finds_no_room_is_told_to_come_again() -> None:
    def ask(level: int) -> tuple[int, str | None]:
        body, kind = form([png(level)], {})
        status, headers, _ = place.ask("POST", "/predict", body, {"content-type": kind})
        return status, headers.get("retry-after")

    with serving(Echo(0.3), queue=2, max_files=2, batch=1) as place, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(40, 48)))
    assert {(200, None), (503, "1")} == set(answers)


def test_what_was_accepted_is_answered_when_it_stops() -> None:
    with serving(Echo(0.4), batch=1) as place:
        results: list[tuple[int, Any]] = []
        threads = [threading.Thread(target=lambda: results.append(place.predict(png()))) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        place.server.should_exit = True
        for thread in threads:
            thread.join()
    assert [status for status, _ in results] == [200] * 3


def test_one_answer_that_fails_is_not_that_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(Settings(classifier="models:tiny", defense=SMALL, device="cpu", draws=1))
    good, bad = (model.read(png(level), 1, 1) for level in (90, 91))
    predict = model.hardened.predict

    def broken(images: Any, *options: Any, **named: Any) -> Any:
        if any(image is bad.image for image in images):
            raise RuntimeError("/a/path of this machine")
        return predict(images, *options, **named)

    monkeypatch.setattr(model.hardened, "predict", broken)
    first, second = model.answer([good, bad])
    assert isinstance(first, dict)
    assert isinstance(second, RuntimeError)
    with serving(model) as place:
        monkeypatch.setattr(model, "read", lambda *_: bad)
        status, answer = place.predict(png())
    assert (status, answer) == (500, {"detail": "the model failed; the server's log says why"})


# --- an exported model


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    hardened = rain.harden(rain.load_classifier("models:tiny"), SMALL)
    export(hardened, folder, size=16)
    return folder


def test_an_exported_model_answers_the_same_way(exported: Path) -> None:
    with serving(model=str(exported), seeds=True, max_megapixels=0.01) as place:
        status, first = place.predict(png(90, side=20), seed=7)
        assert status == 200
        again = place.predict(png(30), png(90, side=20), seed=7)[1]["predictions"][1]
        assert again["label"] == first["predictions"][0]["label"]
        assert again["probability"] == pytest.approx(first["predictions"][0]["probability"], abs=2e-6)
        assert place.predict(b"no picture")[0] == 422
        assert place.predict(large())[0] == 422
        assert place.predict(png()[:100])[0] == 422
        status, answer = place.predict(sliver())
        assert (status, "too long and narrow" in answer["detail"]) == (422, True)
        about = json.loads(place.ask("GET", "/model")[2])
        assert (about["size"], about["classes"]) == (16, 5)
        assert str(exported.parent) not in json.dumps(about)
        assert place.ask("GET", "/")[0] == 404  # the page needs gradients


def test_serving_an_exported_model_needs_no_torch(exported: Path) -> None:
    code = f"""
import sys
sys.modules["torch"] = None
from rain.deploy.service import build_app
from rain.deploy.settings import Settings
app = build_app(Settings(model={str(exported)!r}))
assert any(route.path == "/predict" for route in app.routes if hasattr(route, "path"))
from rain.cli.serving import serve
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16", "1"])
def test_pictures_of_every_mode_enter_at_the_size_of_the_model(mode: str) -> None:
    picture = Image.effect_noise((40, 30), 50).convert("RGB").convert("L" if mode == "I;16" else mode)
    content = io.BytesIO()
    (picture.convert("I;16") if mode == "I;16" else picture).save(content, "TIFF")
    whole = decode(content.getvalue(), 10_000)
    assert (whole.mode, whole.size) == ("RGB", (40, 30))
    assert cut(whole, (16, 16)).size == (16, 16)
    assert cut(whole, (48, 24)).size == (24, 48)
