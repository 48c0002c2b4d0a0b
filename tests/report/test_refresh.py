"""What is generated in a document is what the results say, and a mark that is wrong is named."""

from pathlib import Path

import pytest
from synthetic import cell, result, share, three_columns, unattacked, write

from rain.bench.cells import load
from rain.bench.certificates import CertifiedCell, CertifiedImage, save
from rain.errors import ResultError
from rain.report.markdown import markdown
from rain.report.panel import NEEDS
from rain.report.refresh import refresh, refresh_file

REPORT = "before\n<!-- rain report study -->\nold\n<!-- end -->\nbehind\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(
        tmp_path / "study",
        three_columns(defense="rain(preset=released, seam=wrapped)", bare=0.1, adaptive=0.3),
    )
    return tmp_path


def figure(root: Path, words: str) -> str:
    fresh = refresh(f"it keeps <!-- figure study {words} -->OLD<!-- end -->, so", root)
    assert fresh.startswith(f"it keeps <!-- figure study {words} -->")
    return fresh.removesuffix("<!-- end -->, so").rpartition("-->")[2]


def test_a_report_is_written_between_its_marks(root: Path) -> None:
    fresh = refresh(REPORT, root)
    report = markdown(load(root / "study"))
    assert fresh == f"before\n<!-- rain report study -->\n\n{report}\n<!-- end -->\nbehind\n"
    assert refresh(fresh, root) == fresh


def test_what_a_claim_needs_is_said_once_in_a_document(root: Path) -> None:
    fresh = refresh(REPORT + REPORT, root)
    first, second = fresh.split("behind\n", 1)
    assert NEEDS in first
    assert NEEDS not in second
    assert "The evaluation checklist:\n\n*" in second
    assert refresh(fresh, root) == fresh


def test_mixed_traffic_alone_is_written_between_its_marks(root: Path) -> None:
    fresh = refresh(REPORT.replace("rain report", "rain streams"), root)
    table = fresh[fresh.index("| Mixed traffic |") : fresh.index("\n\n<!-- end -->")]
    assert table in markdown(load(root / "study"))
    assert "What may mislead" not in fresh
    assert refresh(fresh, root) == fresh


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("none clean", "80.0 %"),
        ("none adaptive 4/255", "10.0 %"),
        ("rain(preset=released,seam=wrapped) transfer 4/255", "62.0 %"),
        ("rain(preset=released,seam=wrapped) adaptive 4/255", "30.0 %"),
        ("rain(preset=released,seam=wrapped) adaptive 4/255 interval", "24.1 to 36.7 %"),
        ("rain(preset=released,seam=wrapped) clean images", "200"),
        ("rain(preset=released,seam=wrapped) adaptive 4/255 all-1", "30.0 %"),
        ("rain(preset=released,seam=wrapped) cost", "14.0 points"),
        ("rain(preset=released,seam=wrapped) gain 4/255", "20.0 points"),
        ("rain(preset=released,seam=wrapped) pays-adaptive 4/255", "from 41.2 % (28.9 to 53.5 %)"),
    ],
)
def test_a_figure_is_one_number(root: Path, words: str, text: str) -> None:
    assert figure(root, words) == text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rain", "write figure FOLDER"),
        ("jpeg clean", "no results of jpeg"),
        ("none transfer 4/255", "not measured"),
        ("none adaptive 8/255", "not measured"),
        ("none adaptive", "not measured"),
        ("none clean images images", "cannot be understood"),
        ("none clean 4/255", "cannot be understood"),
        ("none gain 4/255", "not measured"),
        ("none adaptive 4/255 all-8", "not measured"),
        ("none adaptive 4/255 all-0", "cannot be understood"),
        ("none clean all-1", "cannot be understood"),
        ("none pays-adaptive 4/255", "not measured"),
        ("none pays-query 4/255", "not measured"),
        ("none pays-adaptive 4/255 interval", "cannot be understood"),
    ],
)
def test_a_wrong_figure_is_named(root: Path, words: str, message: str) -> None:
    with pytest.raises(ResultError, match=f"figure study {words.partition(' ')[0]}.*{message}"):
        figure(root, words)


def test_a_figure_may_be_a_certified_accuracy(root: Path) -> None:
    proven = CertifiedCell("samples", 8, "small", "smooth(sigma=0.25)", 0.25, 100, 1000, 0.001, 0, 2, 10)
    images = [CertifiedImage(0, 1, 1, 0.3, 1, 990), CertifiedImage(1, 1, 1, 0.2, 1, 900)]
    save(root / "study", proven, 0, images, {"rain": "0"})
    assert figure(root, "smooth(sigma=0.25) certified 0") == "100.0 %"
    assert figure(root, "smooth(sigma=0.25) certified 0.25") == "50.0 %"
    with pytest.raises(ResultError, match="must hold one result"):
        figure(root, "smooth(sigma=0.5) certified 0.25")


def test_a_figure_of_two_places_is_refused(root: Path) -> None:
    write(root / "study", [result(unattacked(dataset="others"), share(0.5, 4), share(0.5, 4))])
    with pytest.raises(ResultError, match="several places"):
        figure(root, "none clean")


def test_a_figure_of_one_of_several_classifiers_names_it(root: Path) -> None:
    for weights, clean in (("first", 0.5), ("second", 0.25)):
        before = unattacked(defense="none", classifier=f"small_resnet(width=4, weights={weights})")
        write(root / "study", [result(before, share(clean, 4), share(clean, 4))])
    assert figure(root, "none@first clean") == "50.0 %"
    assert figure(root, "none@small_resnet(width=4,weights=second) clean") == "25.0 %"
    with pytest.raises(ResultError, match=r"several places.*name one, none@CLASSIFIER"):
        figure(root, "none@small_resnet clean")
    with pytest.raises(ResultError, match="no results of none before third"):
        figure(root, "none@third clean")


def test_the_adaptive_figure_is_of_attacks_that_follow_the_model(root: Path) -> None:
    noise = result(
        cell(defense="rain(preset=released, seam=wrapped)", attack="noise"), share(0.0), share(0.66)
    )
    write(root / "study", [noise])
    assert figure(root, "rain(preset=released,seam=wrapped) adaptive 4/255") == "30.0 %"


def test_a_file_is_written_only_where_it_changes(root: Path) -> None:
    path = root / "page.md"
    path.write_text(REPORT)
    assert refresh_file(path, root)
    assert not refresh_file(path, root)
    path.write_text("no marks, and <!-- a comment -->\n")
    assert not refresh_file(path, root)
