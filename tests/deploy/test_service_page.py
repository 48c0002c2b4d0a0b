"""The page's files and what they ask of the service; and the page itself, in a browser where there is one."""

import asyncio
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from serving import SMALL, Place, form, png, serving

from rain.deploy.model import Model
from rain.deploy.page import FAILED, Desk
from rain.deploy.settings import Settings
from rain.deploy.workbench import Limits, StoppedError, attack, look
from rain.errors import ClassifierError

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with serving() as place:
        yield place


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(Settings(classifier="models:tiny", defense=SMALL, device="cpu", draws=2))


def limits(seconds: float = 60.0) -> Limits:
    return Limits(time.monotonic() + seconds, threading.Event())


def lines(place: Place, path: str, content: bytes) -> tuple[int, list[dict[str, Any]]]:
    body, kind = form([content], {})
    status, _, answer = place.ask("POST", path, body, {"content-type": kind})
    return status, [json.loads(line) for line in answer.splitlines()]


# --- what is worked out


def test_a_look_shows_both_answers_each_draw_and_the_steps(model: Model) -> None:
    shown = look(model, torch.rand(3, 32, 32))
    assert shown["bare"]["label"] == shown["bare"]["top"][0]["label"]
    assert len(shown["defended"]["draws"]) == 12
    assert list(shown["pictures"]) == ["original", "randomized", "enhanced", "difference"]
    assert all(text.startswith("data:image/png;base64,") for text in shown["pictures"].values())
    assert list(shown["spectra"]) == ["original", "randomized", "enhanced"]
    # Of half the size, a picture has no finer stripes than half of the finest.
    assert shown["spectra"]["randomized"][-1][0] < 0.5 < shown["spectra"]["original"][-1][0]


@pytest.mark.parametrize("kind", ["transfer", "adaptive"])
def test_an_attack_keeps_its_budget_and_tells_its_steps(model: Model, kind: str, monkeypatch: Any) -> None:
    from rain.deploy import workbench

    seen: list[torch.Tensor] = []
    own_look = workbench.look
    monkeypatch.setattr(
        workbench, "look", lambda served, image: seen.append(image) or own_look(served, image)
    )
    image, told = torch.rand(3, 32, 32), []
    shown = attack(model, image, kind, 8 / 255, limits(), lambda done, of: told.append((done, of)))
    assert list(shown["pictures"])[:2] == ["attacked", "change"]
    assert 0 < float((seen[0] - image).abs().max()) <= 8 / 255 + 1e-6
    assert told[0] == (0, 20)
    assert told[-1] == (20, 20)


def test_an_attack_ends_when_it_is_time_or_nobody_waits(model: Model) -> None:
    with pytest.raises(StoppedError, match="took too long"):
        attack(model, torch.rand(3, 32, 32), "adaptive", 4 / 255, limits(0.0), lambda done, of: None)
    gone = limits()
    gone.is_unwanted.set()
    with pytest.raises(StoppedError):
        attack(model, torch.rand(3, 32, 32), "transfer", 4 / 255, gone, lambda done, of: None)


# --- what is asked


def test_the_files_load_nothing_from_elsewhere(place: Place) -> None:
    total = 0
    for path in ("/", "/page.css", "/page.js"):
        status, headers, body = place.ask("GET", path)
        assert status == 200
        assert headers["content-security-policy"].startswith("default-src 'none'")
        text = body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text
        assert "https:" not in text
        total += len(body)
    assert total < 60_000


def test_look_and_attack_come_line_by_line(place: Place) -> None:
    status, (found,) = lines(place, "/page/look", png(side=32))
    assert (status, list(found)) == (200, ["found"])
    status, told = lines(place, "/page/attack/adaptive/8", png(side=32))
    assert status == 200
    assert told[0] == {"done": 0, "of": 20}
    assert "found" in told[-1]


def test_the_desk_is_free_before_the_last_line_is_told(model: Model) -> None:
    async def order() -> list[str]:
        loop, called = asyncio.get_running_loop(), []
        own = loop.call_soon_threadsafe

        def recorded(piece: Any, *values: Any) -> Any:
            called.append(piece.__name__)
            return own(piece, *values)

        setattr(loop, "call_soon_threadsafe", recorded)  # noqa: B010
        desk = Desk(model.settings, model)
        assert [line async for line in await desk.work(lambda limits, progress: {})] == [b'{"found": {}}\n']
        return called

    assert asyncio.run(order()) == ["_leave", "put_nowait"]


def test_what_is_no_picture_or_no_attack_is_said(place: Place) -> None:
    assert lines(place, "/page/look", b"no picture")[0] == 422
    for path in (
        "/page/attack/magic/4",
        "/page/attack/transfer/0",
        "/page/attack/transfer/17",
        f"/page/attack/transfer/{'9' * 400}",
    ):
        assert lines(place, path, png())[0] == 404
    assert place.ask("GET", "/page/samples/99")[0] == 404


def test_one_works_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from rain.deploy import page

    def slowly(*_: Any) -> dict[str, Any]:
        time.sleep(0.5)
        return {}

    monkeypatch.setattr(page, "look", slowly)
    with serving() as place:
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda: statuses.append(lines(place, "/page/look", png())[0]))
            for _ in "ab"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200, 503]
        assert lines(place, "/page/look", png())[0] == 200


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("shapes differ"), FAILED),
        (MemoryError("4 GB"), FAILED),
        (RuntimeError("no kernel"), FAILED),
        (SystemExit(3), FAILED),
        (ClassifierError("no number"), "no number"),
    ],
)
def test_what_fails_is_said_and_logged(
    error: BaseException, text: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from rain.deploy import page

    def fail(*_: Any) -> dict[str, Any]:
        raise error

    with serving() as place:
        with monkeypatch.context() as patch:
            patch.setattr(page, "look", fail)
            assert lines(place, "/page/look", png()) == (200, [{"error": text}])
        assert "found" in lines(place, "/page/look", png())[1][-1]
    is_logged = f"{type(error).__name__}: {error}" in caplog.text
    assert is_logged is (text == FAILED)


def test_a_service_can_do_without() -> None:
    with serving(page=False) as place:
        assert place.ask("GET", "/")[0] == 404


def test_its_work_needs_the_secret() -> None:
    with serving(token="open sesame") as place:
        assert place.ask("GET", "/")[0] == 200
        assert place.ask("GET", "/page/about")[0] == 401
        assert lines(place, "/page/look", png())[0] == 401


# --- in a browser


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium to look at the page with")
def test_a_visitor_sees_the_answers_and_attacks(place: Place, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    picture = tmp_path / "holiday.png"
    picture.write_bytes(png(side=48))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 390, "height": 800}).new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.goto(f"http://127.0.0.1:{place.port}/")
        page.set_input_files("#file", picture)
        page.wait_for_selector("#answered:not([hidden])")
        assert page.locator("#clean .said").count() == 2
        assert page.locator("#steps img").count() == 4
        page.focus("#eps")
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#levels") == "5"
        for number, kind in enumerate(("transfer", "adaptive"), 1):
            page.wait_for_selector(f"[data-kind={kind}]:enabled")
            page.focus(f"[data-kind={kind}]")
            page.keyboard.press("Enter")
            page.wait_for_selector(f".case:nth-child({number})")
            assert "5 of 255 levels" in page.inner_text(".case:first-child")
        assert "This attacker knew everything" in page.inner_text(".case:first-child")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert faults == []
        page.wait_for_selector("#file:enabled")
        page.set_input_files("#file", broken)
        page.wait_for_selector("#status.error")
        assert "ot an image" in page.inner_text("#status")
        browser.close()
