"""The time left is learned from the work that is done, and is soon right within a factor of two."""

import random

import pytest

from rain.runtime.forecast import Forecast, Piece, duration_text

DEFENSES = {"none": 0.01, "jpeg": 0.012, "rain": 0.06}
"""Seconds that a unit takes."""


class Clock:
    """Time that goes by only where it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def made_up_run(seed: int, chunks: int, attacks: int) -> list[tuple[Piece, float, float]]:
    """Pieces of a run, each with the share of its estimate that it needs and the seconds of a unit."""
    draw = random.Random(seed)
    pairs = [(defense, f"attack {number}") for number in range(attacks) for defense in DEFENSES]
    shares = {pair: draw.uniform(0.1, 0.6) for pair in pairs}
    estimates = {f"attack {number}": draw.uniform(500, 3000) for number in range(attacks)}
    work = []
    for _ in range(chunks):
        for defense, pace in DEFENSES.items():
            work.append((Piece(f"{defense}, none", 100, (f"{defense}, none",), defense), 1.0, pace))
        for (defense, name), share in shares.items():
            target = "bare" if defense == "none" else "defended"
            kinds = (f"{defense}, {name}", f"{name}, {target}", target)
            piece = Piece(kinds[0], estimates[name], kinds, defense, share=0.5)
            work.append((piece, draw.uniform(0.8, 1.25) * share, DEFENSES[defense]))
    return work


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("chunks", "attacks"), [(10, 2), (2, 4), (12, 6)])
def test_after_the_first_tenth_the_time_left_is_right_within_a_factor_of_two(
    seed: int, chunks: int, attacks: int
) -> None:
    work = made_up_run(seed, chunks, attacks)
    clock = Clock()
    forecast = Forecast([piece for piece, _, _ in work], clock)
    total = sum(share * pace * piece.estimate for piece, share, pace in work)
    wrong = []
    for piece, share, pace in work:
        forecast.begin()
        for _ in range(10):
            clock.now += share * pace * piece.estimate / 10
            forecast.advance(share * piece.estimate / 10)
            spent = clock.now - 100.0
            left = total - spent
            shown = forecast.seconds_left()
            is_near = shown is not None and left / 2 <= shown <= left * 2
            # In the last twentieth a piece that is longer than its like is all that is left.
            if 0.1 * total < spent < 0.95 * total and not is_near:
                wrong.append((spent / total, shown, left))
    forecast.end()
    assert wrong == []
    assert forecast.seconds_left() == 0


def test_nothing_is_said_before_anything_is_done() -> None:
    clock = Clock()
    forecast = Forecast([Piece("one", 10), Piece("two", 10)], clock)
    assert forecast.seconds_left() is None
    forecast.begin()
    clock.now += 5
    assert forecast.seconds_left() is None
    forecast.advance(2)
    assert forecast.seconds_left() == pytest.approx(18 * 2.5)


def test_a_piece_ends_whatever_was_told_about_it_and_teaches_its_kind_only() -> None:
    clock = Clock()
    pieces = [Piece("a", 10, ("a", "x"), share=0.5), Piece("a", 10, ("a", "x"), share=0.5), Piece("b", 10)]
    forecast = Forecast(pieces, clock)
    forecast.begin()
    clock.now += 2
    assert forecast.advance(1) == 1
    forecast.begin()
    # A second piece of the kind takes 2 seconds as well; the other one all of its units, of 2 seconds each.
    assert forecast.seconds_left() == pytest.approx(2 + 20)
    assert forecast.advance(100) == 10


def test_what_rests_on_nothing_that_is_done_is_called_a_guess() -> None:
    clock = Clock()
    clean, attack = Piece("clean", 10, ("clean",)), Piece("attack", 100, ("attack", "defended"), share=0.5)
    forecast = Forecast([clean, attack, attack], clock)
    for piece in (clean, attack):
        forecast.begin()
        assert forecast.is_guess() == (piece is attack)
        clock.now += 1
        forecast.advance(10)
    forecast.begin()
    assert not forecast.is_guess()
    assert duration_text(70, is_guess=True) == "perhaps 1 min"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unknown"),
        (0.2, "about 1 s"),
        (40.4, "about 40 s"),
        (359.0, "about 6 min"),
        (3600.0, "about 1 h"),
        (7790.0, "about 2 h 10 min"),
        (86400.0, "about 24 h"),
    ],
)
def test_durations_are_for_people(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text
