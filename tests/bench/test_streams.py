"""A mixed stream is what its two ends say, image by image; its interval covers as often as it promises."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import cell, of_cell, result, share, stream, three_columns, unattacked

from rain.bench.cells import Result
from rain.bench.metrics import interval
from rain.bench.streams import Stream, levels, streams, streams_of_attacks


def one_of(every: list[Stream], defense: str, access: str) -> Stream:
    (single,) = [one for one in every if (one.defense, one.access) == (defense, access)]
    return single


def attacked(defense: str, access: str, *, right: list[int], attack: str = "pgd(confidence=inf)") -> Result:
    about = cell(defense=defense, access=access, attack=attack, eot=1)
    return result(about, right, [1] * len(right))


def attacked_nothing(defense: str, right: list[int]) -> Result:
    return result(unattacked(defense=defense), right, right)


# --- accuracy at a share


def test_accuracy_is_a_straight_line_between_clean_and_attacked() -> None:
    rates = [level.rate for level in levels(stream([1, 1, 1, 0], [1, 0, 0, 0]), (0, 0.2, 0.5, 1))]
    assert rates == pytest.approx([0.75, 0.65, 0.5, 0.25])


def test_at_its_ends_the_interval_is_that_of_the_tables() -> None:
    first, last = levels(stream(share(0.8), share(0.3)), (0, 1))
    assert (first.low, first.high) == interval(0.8, 200)
    assert (last.low, last.high) == interval(0.3, 200)


def test_a_mixture_that_is_the_same_for_each_image_is_known_better() -> None:
    """All are right clean and wrong attacked: only the share decides."""
    (level,) = levels(stream([1] * 100, [0] * 100), (0.5,))
    low, high = interval(0.5, 100)
    assert low < level.low < 0.5 < level.high < high
    assert level.high - level.low < 0.3 * (high - low)


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("scores", [(1, 1), (0, 0), (1, 0), (0, 1), (0.5, 0.5)])
def test_the_interval_holds_the_rate(count: int, scores: tuple[float, float]) -> None:
    for level in levels(stream([scores[0]] * count, [scores[1]] * count), (0, 0.3, 0.5, 1)):
        assert 0 <= level.low <= level.rate <= level.high <= 1


@pytest.mark.parametrize("part", [0.05, 0.3, 0.7])
@pytest.mark.parametrize(("clean", "kept"), [(0.85, 0.0), (0.85, 0.7), (0.6, 0.97), (0.97, 0.03)])
def test_the_interval_covers(clean: float, kept: float, part: float) -> None:
    """What is right clean stays right with a probability: answers of one image go together."""
    random = np.random.default_rng(0)
    truth = (1 - part) * clean + part * clean * kept
    before = random.random((400, 60)) < clean
    after = before & (random.random((400, 60)) < kept)
    inside = 0
    for first, second in zip(before, after, strict=True):
        (level,) = levels(stream(list(map(float, first)), list(map(float, second))), (part,))
        inside += level.low <= truth <= level.high
    assert inside >= 0.925 * 400


def test_more_clean_images_make_the_clean_end_surer_and_leave_the_other() -> None:
    few, many = stream(share(0.8, 20), share(0.3, 20)), stream(share(0.8, 400), share(0.3, 20))
    (first, middle, last), (few_first, few_middle, few_last) = (
        levels(one, (0, 0.1, 1)) for one in (many, few)
    )
    assert (first.low, first.high) == interval(0.8, 400)
    assert last == few_last
    assert first.high - first.low < few_first.high - few_first.low
    assert middle.high - middle.low < few_middle.high - few_middle.low


@pytest.mark.parametrize("part", [0.05, 0.5])
def test_the_interval_covers_where_few_of_the_images_were_attacked(part: float) -> None:
    random = np.random.default_rng(3)
    truth = (1 - part) * 0.85 + part * 0.85 * 0.6
    inside = 0
    for _ in range(400):
        before = (random.random(200) < 0.85).astype(float)
        after = before[:40] * (random.random(40) < 0.6)
        (level,) = levels(stream(before.tolist(), after.tolist()), (part,))
        inside += level.low <= truth <= level.high
    assert inside >= 0.925 * 400


# --- which images, which attacks


def test_every_image_that_was_measured_clean_counts() -> None:
    clean = [attacked_nothing("none", [1, 1, 1, 1]), attacked_nothing("rain", [1, 1, 0, 0])]
    few = [attacked("none", "transfer", right=[0, 0]), attacked("rain", "transfer", right=[1, 0])]
    single = one_of(streams([*clean, *few]), "rain", "transfer")
    assert (single.clean, single.robust) == ({0: 1, 1: 1, 2: 0, 3: 0}, {0: 1, 1: 0})
    assert (single.bare_clean, single.bare_robust) == ({0: 1, 1: 1, 2: 1, 3: 1}, {0: 0, 1: 0})


def test_a_few_images_of_a_further_attack_take_the_place_of_none() -> None:
    whole = attacked("rain", "transfer", right=[1, 1, 0, 0])
    half = replace(of_cell(whole, attack="fgsm"), outcomes=whole.outcomes[:2], complete=False)
    single = one_of(streams([whole, half]), "rain", "transfer")
    assert single.robust.keys() == {0, 1, 2, 3}
    assert single.attacks == (whole.cell.attack,)
    assert not single.complete


def test_each_image_meets_the_worst_of_an_access() -> None:
    pair = [
        attacked("rain", "transfer", right=[1, 0, 1]),
        attacked("rain", "transfer", right=[0, 1, 1], attack="fgsm"),
    ]
    assert one_of(streams(pair), "rain", "transfer").robust == {0: 0, 1: 0, 2: 1}
    assert [one.robust[0] for _, one in streams_of_attacks(pair)] == [0, 1]


def test_the_bare_classifier_meets_attacks_of_the_same_access() -> None:
    results = [
        attacked("none", "transfer", right=[1, 0]),
        attacked("none", "adaptive", right=[0, 0]),
        attacked("rain", "transfer", right=[1, 1]),
        attacked("rain", "static", right=[1, 1]),
    ]
    every = streams(results)
    assert one_of(every, "rain", "transfer").bare_robust == {0: 1, 1: 0}
    # Nobody attacked the bare classifier statically: it meets all that there is.
    assert one_of(every, "rain", "static").bare_robust == {0: 0, 1: 0}
    assert one_of(every, "none", "static").robust == {0: 0, 1: 0}


def test_alone_an_attack_meets_its_like() -> None:
    results = [
        attacked("none", "query", right=[1], attack="nes"),
        attacked("none", "query", right=[0], attack="square"),
        attacked("none", "transfer", right=[0], attack="pgd(confidence=inf)"),
        attacked("rain", "query", right=[1], attack="nes(confidence=3.0)"),
        attacked("rain", "adaptive", right=[1], attack="pgd(confidence=inf)"),
    ]
    pairs = {
        one.cell.access: single for one, single in streams_of_attacks(results) if one.cell.defense == "rain"
    }
    assert pairs["query"].bare_robust == {0: 1}
    assert pairs["adaptive"].bare_robust == {0: 0}


def test_one_attack_alone_meets_the_bare_classifier_with_the_same_seed() -> None:
    """Not with the worst of all its seeds, which would flatter the defence."""
    results = []
    for seed, right in ((0, [0, 1]), (1, [1, 0])):
        results.append(of_cell(attacked("none", "adaptive", right=right), defense="none", seed=seed))
        results.append(of_cell(attacked("rain", "adaptive", right=[1, 1]), defense="rain", seed=seed))
    pairs = {
        one.cell.seed: single for one, single in streams_of_attacks(results) if one.cell.defense == "rain"
    }
    assert pairs[0].bare_robust == {0: 0, 1: 1}
    assert pairs[1].bare_robust == {0: 1, 1: 0}


def test_what_does_not_follow_the_model_is_not_adaptive() -> None:
    noise = attacked("rain", "adaptive", right=[0, 0], attack="noise")
    follows = attacked("rain", "adaptive", right=[1, 1])
    assert one_of(streams([noise, follows]), "rain", "adaptive").robust == {0: 1, 1: 1}
    assert streams([noise]) == []


def test_without_a_budget_there_is_no_stream() -> None:
    assert streams([result(cell(norm="l2", eps=1000.0, attack="deepfool"), share(0.0))]) == []
    assert streams([]) == []


def test_places_budgets_and_norms_are_kept_apart() -> None:
    more = [of_cell(one, eps=1 / 255) for one in three_columns()]
    elsewhere = [of_cell(one, dataset="others") for one in three_columns()]
    in_l2 = [of_cell(one, norm="l2", eps=0.5) for one in three_columns()]
    every = streams([*three_columns(), *more, *elsewhere, *in_l2])
    assert len(every) == 4 * 4
    assert {one.images for one in every} == {200}
