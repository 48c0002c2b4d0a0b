"""What is said of certificates, beside what attacks left: printed, on the page, in Markdown and as JSON."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import cell, result, three_columns, unattacked, write
from test_page import Parsed
from typer.testing import CliRunner

from rain.bench.cells import Result
from rain.bench.certificates import CertifiedCell, CertifiedImage, CertifiedResult, save
from rain.cli.main import app
from rain.report.certificate_plot import certificate_plots
from rain.report.certificates import beside_attacks, certificate_rows, certificate_sections
from rain.report.labels import defense_labels
from rain.report.markdown import markdown
from rain.report.page import html
from rain.report.proven_plot import proven_plot

SMOOTH = "smooth(sigma=0.25)"
LABELS = defense_labels(["none", SMOOTH])
CELL = CertifiedCell("samples", 224, "small", SMOOTH, 0.25, 100, 1000, 0.001, 0, 10, 10)
RADII = (0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


def certificates(count: int = 10, complete: bool = True) -> CertifiedResult:
    """Six images that are right, with these radii; two wrong ones; two that abstain."""
    images = [CertifiedImage(index, 0, 0, far, 0, 1000) for index, far in enumerate(RADII)]
    images += [CertifiedImage(index, 0, 1, 0.5, 1, 1000) for index in (6, 7)]
    images += [CertifiedImage(index, 0, -1, 0.0, 0, 500) for index in (8, 9)]
    return CertifiedResult(CELL, tuple(images[:count]), complete, {"rain": ("0",)})


def attacks() -> list[Result]:
    """PGD in l2 that averages over draws, on the defence and on the bare classifier."""
    adaptive = {"norm": "l2", "access": "adaptive", "draws": 3}
    own = {"defense": SMOOTH, **adaptive}
    seen = [1] * 8 + [0] * 2
    return [
        result(unattacked(defense="none"), [1] * 10),
        result(unattacked(defense=SMOOTH, draws=3), seen),
        result(cell(defense="none", norm="l2", eps=0.25, eot=1), [1] * 2 + [0] * 8),
        result(cell(eps=0.25, **own), [1] * 7 + [0] * 3, seen),
        result(cell(eps=0.25, attack="apgd", **own), [0] + [1] * 9, seen),
        result(cell(eps=0.5, **own), [1] * 5 + [0] * 5, seen),
        result(cell(eps=0.5, defense=SMOOTH, norm="l2", access="transfer", draws=3), [0] * 10, seen),
        result(cell(eps=4 / 255, defense=SMOOTH, draws=3), [0] * 10, seen),
    ]


def test_attacks_in_l2_who_know_the_defence_stand_beside_it() -> None:
    (one,) = beside_attacks([certificates()], attacks())
    assert [(level.radius, level.rate) for level in one.attacked] == [(0.0, 0.8), (0.25, 0.6), (0.5, 0.5)]
    assert [(level.radius, level.rate) for level in one.bare] == [(0.0, 1.0), (0.25, 0.2)]
    assert [one.at(radius).rate for radius in (0.0, 0.25, 0.5, 0.75)] == [0.6, 0.4, 0.2, 0.0]


def test_points_of_a_curve_over_draws_are_one_attack() -> None:
    """The smallest of several means on each image is below what any of them leaves, by luck alone."""
    own = {"defense": SMOOTH, "norm": "l2", "access": "adaptive", "draws": 3, "eps": 0.25}
    curve = [
        result(cell(eot=1, **own), [0] * 5 + [1] * 5),
        result(cell(eot=20, **own), [1] * 5 + [0] * 5),
    ]
    clean = result(unattacked(defense=SMOOTH, draws=3), [1] * 10)
    (one,) = beside_attacks([certificates()], [clean, *curve])
    assert [(level.radius, level.rate) for level in one.attacked] == [(0.0, 1.0), (0.25, 0.5)]


def test_the_answers_of_averaged_draws_are_what_is_compared() -> None:
    """A certificate is of the majority of many draws, not of single ones."""
    one = cell(eps=0.25, defense=SMOOTH, norm="l2", draws=3)
    half = result(one, [(0, 0, 1), (1, 1, 0)], mean=[0, 0])
    (certified,) = beside_attacks([certificates()], [half])
    assert certified.attacked[-1].rate == 1.0


def test_results_of_another_place_are_left_out() -> None:
    elsewhere = [replace(one, cell=replace(one.cell, classifier="large")) for one in attacks()]
    (one,) = beside_attacks([certificates()], elsewhere)
    assert one.attacked == one.bare == ()


def test_a_table_and_a_sentence_say_what_is_proven() -> None:
    (section,) = certificate_sections([certificates()], attacks(), LABELS)
    assert section.header[2:6] == ["l2 0", "l2 0.25", "l2 0.5", "l2 0.75"]
    figures = [[text.split(" ")[0] for text in line[2:]] for line in section.body]
    assert [line[:2] for line in section.body] == [
        ["smooth (sigma 0.25)", "certified, 1000 draws"],
        ["smooth (sigma 0.25)", "attacked, adaptive"],
        ["no defence", "attacked"],
    ]
    assert figures[0] == ["60.0", "40.0", "20.0", "0.0", "0.210", "20.0", "10"]
    assert figures[1] == ["80.0", "60.0", "50.0", "-", "-", "-", "10"]
    assert figures[2] == ["100.0", "20.0", "-", "-", "-", "-", "10"]
    proven, pixels = section.sentences
    assert proven.startswith("smooth (sigma 0.25): 40.0 (16.8 to 68.7) % of 10 images are answered rightly")
    assert "no attack within an l2 radius of 0.25 can change that; at radius 0 it is 60.0 %" in proven
    assert "abstains on 20.0 %" in proven
    assert "at most 0.001" in proven
    assert "At 224 pixels an l2 radius of 0.25 is 0.16 grey levels on every value" in pixels
    assert "(linf) is an l2 distance of 6.1: nothing is proven against that" in pixels


def test_where_the_radius_reaches_so_far_it_is_not_said_to_be_out_of_reach() -> None:
    tiny = replace(certificates(), cell=replace(CELL, size=8))
    (section,) = certificate_sections([tiny], [], LABELS)
    assert section.sentences[-1].endswith("(linf) is an l2 distance of 0.2.")
    native = replace(certificates(), cell=replace(CELL, size=None))
    (section,) = certificate_sections([native], [], LABELS)
    assert len(section.sentences) == 1


def test_a_sigma_that_the_label_does_not_say_is_added() -> None:
    of_default = replace(certificates(), cell=replace(CELL, defense="smooth"))
    (section,) = certificate_sections([of_default], [], {"smooth": "smooth"})
    assert section.body[0][0] == "smooth, sigma 0.25"


def test_an_unfinished_one_says_so_and_an_empty_one_says_nothing() -> None:
    (section,) = certificate_sections([certificates(5, complete=False)], [], LABELS)
    assert section.body[0][-1] == "5 of 10, not finished"
    assert certificate_sections([certificates(0)], [], LABELS) == []


def test_rows_for_machines_hold_every_radius() -> None:
    (row,) = certificate_rows([certificates()], attacks())
    assert row["radii"] == sorted(RADII)
    assert row["average_radius"] == pytest.approx(0.21)
    assert row["sigma"] == 0.25
    assert [level["rate"] for level in row["attacked"]] == [0.8, 0.6, 0.5]


def test_the_page_draws_it_and_stays_well_formed() -> None:
    text = html(attacks(), {}, [certificates()])
    Parsed(text)
    assert "What is proven" in text
    assert "no attack within an l2 radius of" in text
    (plot,) = certificate_plots([certificates()], attacks(), LABELS)
    assert [entry.name for entry in plot.legend][-1] == "no defence, attacked"
    assert plot.panels[0].svg in text
    assert "certified 60.0 % at 0, 40.0 % at 0.25" in plot.panels[0].text
    assert "What is proven" not in html(attacks(), {})


def test_a_file_has_a_panel_for_each_sigma_with_the_denoiser_beside_noise_alone() -> None:
    wide = replace(certificates(), cell=replace(CELL, sigma=0.5, defense="smooth(sigma=0.5)"))
    denoised = replace(certificates(), cell=replace(CELL, defense="smooth(enhancer=compact,sigma=0.25)"))
    svg = proven_plot([certificates(), denoised, wide], attacks())
    assert svg == proven_plot([certificates(), denoised, wide], attacks())
    assert re.findall("sigma 0[.0-9]*<", svg) == ["sigma 0.25<", "sigma 0.5<"]
    for name in (
        "noise alone, certified",
        "noise alone, attacked",
        "with a denoiser, certified",
        "no defence",
    ):
        assert name in svg


def test_certificates_alone_make_a_page_and_a_text() -> None:
    Parsed(html([], {}, [certificates()]))
    assert "| smooth | certified, 1000 draws |" not in markdown(three_columns())
    text = markdown([], [certificates()])
    assert "What is proven:" in text
    assert "| certified, 1000 draws |" in text


def test_the_command_prints_and_writes_it(tmp_path: Path) -> None:
    def call(*arguments: object) -> str:
        answer = CliRunner().invoke(app, ["report", str(tmp_path), *map(str, arguments)])
        assert answer.exit_code == 0, answer.output
        return answer.output

    save(tmp_path, CELL, 0, certificates().images, {"rain": "0"})
    assert "Certified: samples, 224 pixels, small" in call()
    write(tmp_path, attacks())
    rows = json.loads(call("--certificates", "-"))
    assert rows[0]["bare"][1]["rate"] == 0.2
    assert "What is proven:" in call("--markdown", "-")
    call("--html", tmp_path / "page.html")
    assert "What is proven" in (tmp_path / "page.html").read_text()
