"""The page shows a transferred attack that is undone and an adaptive one that is not, and says so."""

from typing import Any

import numpy as np
import pytest
from synthetic import cell, gallery, result, share

from rain.bench.cells import Result
from rain.report.pictures import GALLERY_IMAGES, shown_galleries

RIGHT, WRONG = "cat (91 %)", "dog (60 %)"


def answers(*pairs: tuple[str, str]) -> np.ndarray:
    """What is said to each image: attacked, by the bare and by the defended classifier."""
    return np.array([[RIGHT, bare, RIGHT, defended] for bare, defended in pairs])


def attacked(**changes: Any) -> Result:
    return result(cell(**changes), share(0.5, 4))


@pytest.fixture
def pair() -> list[Result]:
    return [attacked(access="adaptive"), attacked(access="transfer", eot=1)]


def test_the_image_that_tells_is_shown_first_and_its_number_is_said(pair: list[Result]) -> None:
    adaptive, transfer = pair
    says = answers((RIGHT, RIGHT), (WRONG, WRONG), (WRONG, RIGHT), (RIGHT, WRONG), *[(RIGHT, RIGHT)] * 6)
    galleries = {one.cell.key: gallery(10, says=says) for one in pair}
    first, second = shown_galleries(pair, galleries, ["rain"])
    assert (first.cell, second.cell) == (transfer.cell, adaptive.cell)
    assert [image["index"] for image in first.images] == [2, 0, 1, 3]
    assert first.note == (
        "The first 10 images of the dataset were kept. Attacked, the bare classifier is wrong and the "
        "defended one is right on 1 of them; what is shown here was chosen for that."
    )
    # Of those that the adaptive attack fooled, first the ones that stand above, too.
    assert [image["index"] for image in second.images] == [1, 3, 0, 2]
    assert "the defended classifier is wrong on 2 of them; what is shown" in second.note


def test_an_image_that_stands_above_is_shown_again_where_it_tells(pair: list[Result]) -> None:
    adaptive, transfer = (one.cell.key for one in pair)
    undone = answers(*[(RIGHT, RIGHT)] * 8, (WRONG, RIGHT), (RIGHT, RIGHT))
    galleries = {
        transfer: gallery(10, says=undone),
        adaptive: gallery(10, says=answers(*[(WRONG, WRONG)] * 10)),
    }
    _, shown = shown_galleries(pair, galleries, ["rain"])
    assert [image["index"] for image in shown.images] == [0, 1, 2, 8]
    assert shown.note.endswith("is wrong on 10 of them.")


def test_where_nothing_tells_the_first_are_shown_and_that_is_said(pair: list[Result]) -> None:
    key = pair[1].cell.key
    (shown,) = shown_galleries(pair, {key: gallery(10, says=answers(*[(RIGHT, RIGHT)] * 10))}, ["rain"])
    assert [image["index"] for image in shown.images] == list(range(GALLERY_IMAGES))
    assert shown.note.endswith("right on none of them.")


def test_all_that_was_kept_is_not_chosen(pair: list[Result]) -> None:
    key = pair[0].cell.key
    (shown,) = shown_galleries(
        pair, {key: gallery(2, says=answers((WRONG, WRONG), (RIGHT, RIGHT)))}, ["rain"]
    )
    assert shown.note.endswith("is wrong on 1 of them.")


def test_of_many_attacks_each_access_has_one_and_the_defence_with_steps_comes_first() -> None:
    results, galleries = [], {}
    for defense in ("jpeg", "rain"):
        for attack in ("apgd(confidence=inf)", "pgd(confidence=inf)"):
            for access in ("transfer", "adaptive"):
                results.append(attacked(defense=defense, attack=attack, access=access))
    for one in results:
        arrays = gallery()
        if one.cell.defense == "jpeg":
            del arrays["randomized"]
        galleries[one.cell.key] = arrays
    shown = shown_galleries(results, galleries, ["jpeg", "rain"])
    assert [(one.cell.defense, one.cell.access) for one in shown] == [
        ("rain", "transfer"),
        ("rain", "adaptive"),
        ("jpeg", "transfer"),
        ("jpeg", "adaptive"),
    ]
