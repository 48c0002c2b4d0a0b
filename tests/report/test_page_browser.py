"""The page in a browser: it sorts, copies and fits, says no error and asks nobody for anything."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from synthetic import cell, gallery, result, share, three_columns, unattacked

from rain.report.page import html

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "</script><script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium to look at the page with")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = [*three_columns(), result(unattacked(), share(0.66), share(0.66))]
    results += [result(cell(defense="jpeg", eot=1), share(0.05), share(0.7))]
    results += [result(cell(defense="<b>" + HOSTILE), share(0.11), share(0.5))]
    results += [result(cell(eot=5, draws=3), share(0.1), share(0.66))]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html(results, {results[2].cell.key: gallery(name=HOSTILE)}))
    return path


class Visit:
    """A page that was opened, and what went wrong on it."""

    def __init__(self, browser: Any, file: Path, **context: Any) -> None:
        self.faults: list[str] = []
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("request", self._note)
        self.page.goto(file.as_uri())

    def _note(self, request: Any) -> None:
        if not request.url.startswith(("data:", "file:")):
            self.faults.append(request.url)

    def figures(self, column: int) -> list[str]:
        """What stands in a column of the first table of figures, first lines only."""
        return self.page.eval_on_selector(
            ".figures.sortable:not(.points)",
            "(table, column) => [...table.querySelectorAll('tbody tr')].filter(row => row.cells.length > 1)"
            ".map(row => row.cells[column].innerText.split('\\n')[0])",
            column,
        )


def test_a_click_sorts_up_down_and_back(browser: Any, file: Path) -> None:
    visit = Visit(browser, file)
    heading = visit.page.locator(".figures.sortable th[data-column='1']").first
    before = visit.figures(1)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    up = visit.figures(1)
    assert up == ["0.0", "0.0", "5.0", "10.0", "11.0", "62.0", ""]
    assert visit.figures(0)[2] == "jpeg: adaptive, 4/255"
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert visit.figures(1) == [*reversed(up[:-1]), ""]
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") is None
    assert visit.figures(1) == before
    assert visit.faults == []


def test_the_keyboard_sorts_and_one_heading_at_a_time(browser: Any, file: Path) -> None:
    visit = Visit(browser, file)
    table = visit.page.locator(".figures.sortable").first
    for column in ("4", "0"):
        table.locator(f"th[data-column='{column}'] button").focus()
        visit.page.keyboard.press("Enter")
    assert visit.page.locator("[aria-sort]").count() == 1
    names = [name.split(": ")[1] for name in visit.figures(0)]
    assert names == sorted(names)
    assert visit.faults == []


def test_texts_are_copied(browser: Any, file: Path) -> None:
    visit = Visit(browser, file, permissions=["clipboard-read", "clipboard-write"])
    visit.page.locator("button[data-copies=bibtex]").click()
    visit.page.wait_for_selector("[data-copies=bibtex]:text-is('Copied')")
    assert visit.page.evaluate("navigator.clipboard.readText()").startswith("@misc{du2020rain,")
    visit.page.locator("button[data-copies=grid1]").click()
    visit.page.wait_for_selector("[data-copies=grid1]:text-is('Copied')")
    assert "[[attacks]]" in visit.page.evaluate("navigator.clipboard.readText()")
    assert visit.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_small_screen_is_enough_and_no_name_runs(browser: Any, file: Path, scheme: str) -> None:
    visit = Visit(browser, file, viewport={"width": 390, "height": 800}, color_scheme=scheme)
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 390
    assert visit.page.title() == "RAIN: what these defences are worth"
    lightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    assert (visit.page.evaluate(lightness) < 128) == (scheme == "dark")
    assert visit.faults == []


def test_without_scripts_nothing_but_sorting_is_missing(browser: Any, file: Path) -> None:
    visit = Visit(browser, file, java_script_enabled=False)
    assert visit.page.locator("button:visible").count() == 0
    assert "@misc{du2020rain," in visit.page.locator("#bibtex").inner_text()


def test_it_prints(browser: Any, file: Path) -> None:
    visit = Visit(browser, file, viewport={"width": 718, "height": 1000})  # A4 without its margins
    visit.page.emulate_media(media="print", color_scheme="dark")
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 718
    assert visit.page.locator(".copy:visible").count() == 0
    assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert visit.page.pdf(format="A4").startswith(b"%PDF")
