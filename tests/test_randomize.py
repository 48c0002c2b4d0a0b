"""SRd: the picks and shifts against naive loops, the draws against their distributions."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from rain.errors import ImageError, OptionError
from rain.randomize import draw_choice, draw_offsets, draw_size, mend, pick, resize, shift

SIZES = [(6, 8), (7, 8), (6, 5), (9, 3), (2, 2)]


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def rand(*shape: int) -> Tensor:
    return torch.rand(shape, generator=seeded())


def naive_pick(images: Tensor, choice: Tensor, cell: int = 2) -> Tensor:
    """Go through all cells one by one; what is missing of one repeats the edge."""
    count, channels, height, width = images.shape
    rows, columns = choice.shape[2:]
    picked = torch.empty(count, channels, rows, columns)
    for n, c, i, j in product(range(count), range(channels), range(rows), range(columns)):
        place = int(choice[n, c if choice.shape[1] > 1 else 0, i, j])
        row, column = min(cell * i + place // cell, height - 1), min(cell * j + place % cell, width - 1)
        picked[n, c, i, j] = images[n, c, row, column]
    return picked


# --- pick


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_pick_equals_the_naive_loop(size: tuple[int, int], channels: int) -> None:
    images = rand(2, 3, *size)
    choice = draw_choice(images, seeded(), channels=channels)
    assert choice.shape == (2, channels, (size[0] + 1) // 2, (size[1] + 1) // 2)
    assert torch.equal(pick(images, choice), naive_pick(images, choice))
    dropped = choice[:, :, : size[0] // 2, : size[1] // 2]
    assert torch.equal(pick(images, dropped), naive_pick(images, dropped))


@pytest.mark.parametrize("size", [*SIZES, (8, 12), (10, 7)])
@pytest.mark.parametrize("channels", [1, 3])
def test_of_a_cell_of_four_by_four_one_pixel_is_kept(size: tuple[int, int], channels: int) -> None:
    images = rand(2, 3, *size)
    choice = draw_choice(images, seeded(), channels=channels, cell=4)
    assert choice.shape == (2, channels, (size[0] + 3) // 4, (size[1] + 3) // 4)
    assert torch.equal(pick(images, choice, 4), naive_pick(images, choice, 4))
    dropped = choice[:, :, : size[0] // 4, : size[1] // 4]
    assert torch.equal(pick(images, dropped, 4), naive_pick(images, dropped, 4))


def test_all_sixteen_pixels_are_kept_as_often_in_every_copy() -> None:
    copies = draw_choice(torch.empty(8, 3, 200, 200), seeded(), cell=4, copies=4).unflatten(0, (4, 2))
    for copy in copies:
        assert chi_squared(copy, 16) < 16 + 6 * 30**0.5
    # Copies are drawn apart: two keep the same pixel by chance.
    assert (copies[0] == copies[1]).float().mean().item() == pytest.approx(1 / 16, abs=0.01)


def test_what_is_no_cell_is_refused() -> None:
    images = rand(1, 3, 8, 8)
    for cell in (1, 3, 8, 2.0, True):
        with pytest.raises(OptionError, match="cell must be 2 or 4"):
            draw_choice(images, seeded(), cell=cell)  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="cell must be 2 or 4"):
            pick(images, torch.zeros(1, 3, 4, 4, dtype=torch.long), cell)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="one pixel is kept"):
        draw_choice(images, seeded(), cell=4, keep=2)
    with pytest.raises(ImageError, match="integers 0-15"):
        pick(images, torch.full((1, 3, 2, 2), 16), 4)
    with pytest.raises(ImageError, match="4 x 4 cells does not fit"):
        pick(images, torch.zeros(1, 3, 4, 4, dtype=torch.long), 4)


@pytest.mark.parametrize(("value", "row", "column"), [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1)])
def test_pick_counts_row_by_row(value: int, row: int, column: int) -> None:
    images = rand(1, 3, 8, 6)
    assert torch.equal(pick(images, torch.full((1, 3, 4, 3), value)), images[:, :, row::2, column::2])


def test_one_draw_for_all_channels_keeps_pixels_together() -> None:
    places = torch.arange(64.0).reshape(1, 1, 8, 8).expand(1, 3, 8, 8)
    together = pick(places, draw_choice(places, seeded(), channels=1))
    apart = pick(places, draw_choice(places, seeded(), channels=3))
    assert torch.equal(together[:, 0], together[:, 1])
    assert torch.equal(together[:, 0], together[:, 2])
    assert not torch.equal(apart[:, 0], apart[:, 1])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("keep", [2, 3])
def test_several_kept_pixels_of_a_cell_are_different_ones(keep: int, channels: int) -> None:
    images = rand(2, 3, 7, 8)
    choice = draw_choice(images, seeded(), channels=channels, keep=keep)
    assert choice.shape == (2, keep * 3, 4, 4)
    picks = choice.unflatten(1, (keep, 3))
    for one in range(keep):
        assert torch.equal(pick(images, choice)[:, 3 * one : 3 * one + 3], naive_pick(images, picks[:, one]))
        assert all((picks[:, one] != picks[:, other]).all() for other in range(one))
    assert torch.equal(picks[:, :, 0], picks[:, :, 1]) == (channels == 1)


def test_every_pair_of_a_cells_pixels_is_kept_as_often() -> None:
    choice = draw_choice(torch.empty(4, 3, 200, 200), seeded(), keep=2).unflatten(1, (2, 3))
    first, second = choice[:, 0], choice[:, 1]
    pairs = (first - second).abs() * 10 + first + second  # a number for each, whichever pixel came first
    counts = pairs.flatten().unique(return_counts=True)[1]
    assert len(counts) == 6
    assert ((counts - 20000).abs() < 5 * (120000 * 5 / 36) ** 0.5).all()


def test_four_copies_keep_every_pixel_as_often() -> None:
    choice = draw_choice(torch.empty(8, 3, 20, 20), seeded(), keep=2, copies=4)
    choice = choice.unflatten(1, (2, 3)).unflatten(0, (4, 2))
    counts = torch.stack([(choice == place).sum((0, 2)) for place in range(4)])
    assert (counts == 2).all()
    assert not torch.equal(choice[0], choice[2])


def test_small_integer_types_serve_as_draws() -> None:
    images = rand(1, 3, 8, 8)
    choice = draw_choice(images, seeded())
    assert torch.equal(pick(images, choice.to(torch.uint8)), pick(images, choice))


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        (torch.zeros(2, 3, 4, 4, dtype=torch.long), r"must be \(1, 3 or 1"),
        (torch.zeros(1, 2, 4, 4, dtype=torch.long), r"must be \(1, 3 or 1"),
        (torch.zeros(1, 4, 4, dtype=torch.long), r"must be \(1, 3 or 1"),
        (torch.zeros(1, 4, 4, 4, dtype=torch.long), "or a multiple of 3"),
        (torch.zeros(1, 3, 3, 4, dtype=torch.long), "3 x 4 cells does not fit"),
        (torch.zeros(1, 3, 4, 4), "must hold integers"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.bool), "must hold integers"),
        (torch.full((1, 3, 4, 4), 4), "integers 0-3"),
        (torch.full((1, 3, 4, 4), -1), "integers 0-3"),
    ],
)
def test_pick_refuses_bad_draws(choice: Tensor, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        pick(rand(1, 3, 8, 8), choice)


# --- shift


@pytest.mark.parametrize("offset", [(0, 0), (1, 0), (0, -1), (-2, 3), (7, -9), (100, -100)])
@pytest.mark.parametrize("size", SIZES)
def test_shift_equals_roll(offset: tuple[int, int], size: tuple[int, int]) -> None:
    images = rand(2, 3, *size)
    assert torch.equal(shift(images, torch.tensor([offset])), images.roll(offset, (2, 3)))


def test_each_image_has_its_own_shift() -> None:
    images, offsets = rand(3, 3, 6, 7), torch.tensor([[1, -2], [0, 0], [-3, 5]])
    pairs = zip(images, offsets.tolist(), strict=True)
    rolled = [image.roll(tuple(offset), (1, 2)) for image, offset in pairs]
    assert torch.equal(shift(images, offsets), torch.stack(rolled))


def test_shifting_back_restores_every_bit() -> None:
    images = rand(4, 3, 9, 12)
    offsets = draw_offsets(images, seeded(), fraction=0.5)
    assert torch.equal(shift(shift(images, offsets), -offsets), images)


@pytest.mark.parametrize("offset", [(0, 0), (2, 3), (-2, 0), (0, -4), (3, -3), (-1, 4)])
@pytest.mark.parametrize("size", [(8, 10), (9, 9)])
def test_a_mended_shift_is_a_mirrored_one(offset: tuple[int, int], size: tuple[int, int]) -> None:
    images, (down, right) = rand(2, 3, *size), offset
    top, bottom, left, right_ = max(down, 0), max(-down, 0), max(right, 0), max(-right, 0)
    kept = images[:, :, bottom : size[0] - top, right_ : size[1] - left]
    offsets = torch.tensor([offset])
    assert torch.equal(
        mend(shift(images, offsets), offsets), F.pad(kept, (left, right_, top, bottom), mode="reflect")
    )


def test_each_image_has_its_own_seam() -> None:
    images, offsets = rand(3, 3, 8, 9), torch.tensor([[1, -2], [0, 0], [-3, 4]])
    one_by_one = [mend(image[None], offset[None]) for image, offset in zip(images, offsets, strict=True)]
    assert torch.equal(mend(images, offsets), torch.cat(one_by_one))
    assert torch.equal(one_by_one[1][0], images[1])


@pytest.mark.parametrize("offset", [(4, 0), (0, -5), (100, 0)])
def test_there_must_be_something_to_mirror(offset: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="half of the side"):
        mend(rand(1, 3, 8, 10), torch.tensor([offset]))


@pytest.mark.parametrize(
    ("offsets", "says"),
    [
        (torch.zeros(3, 2, dtype=torch.long), r"must be \(2 or 1, 2\)"),
        (torch.zeros(2, dtype=torch.long), r"must be \(2 or 1, 2\)"),
        (torch.zeros(2, 3, dtype=torch.long), r"must be \(2 or 1, 2\)"),
        (torch.zeros(2, 2), "must hold integers"),
    ],
)
@pytest.mark.parametrize("function", [shift, mend])
def test_shift_refuses_bad_draws(
    offsets: Tensor, says: str, function: Callable[[Tensor, Tensor], Tensor]
) -> None:
    with pytest.raises(ImageError, match=says):
        function(rand(2, 3, 8, 8), offsets)


# --- draws


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    images = rand(2, 3, 40, 40)
    for draw in (draw_choice, draw_offsets, draw_size):
        assert torch.equal(draw(images, seeded(3)), draw(images, seeded(3)))
        others = [draw(images, seeded(seed)) for seed in range(4, 9)]
        assert not all(torch.equal(draw(images, seeded(3)), other) for other in others)


def test_a_generator_leaves_the_global_one_alone() -> None:
    images, before = rand(2, 3, 40, 40), torch.get_rng_state()
    for draw in (draw_choice, draw_offsets, draw_size):
        draw(images, seeded())
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_the_global_seed_does_not_count() -> None:
    images = rand(1, 3, 16, 16)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first = draw_choice(images)
        torch.manual_seed(5)
        assert not torch.equal(draw_choice(images), first)


def chi_squared(draws: Tensor, bins: int) -> float:
    counts = torch.bincount(draws.flatten(), minlength=bins).double()
    return float(((counts - counts.mean()) ** 2 / counts.mean()).sum())


def test_choices_are_uniform_for_every_channel() -> None:
    choice = draw_choice(torch.empty(4, 3, 200, 200), seeded())
    assert choice.amin() == 0
    assert choice.amax() == 3
    for channel in range(3):
        assert chi_squared(choice[:, channel], 4) < 16.3  # three degrees of freedom, one in a thousand
    # Two channels agree in a quarter of the cells: 40,000 cells, five standard deviations.
    assert (choice[:, 0] == choice[:, 1]).float().mean().item() == pytest.approx(0.25, abs=0.011)


@pytest.mark.parametrize(("side", "limit"), [(112, 5), (48, 2), (20, 1), (19, 0), (100, 5)])
def test_offsets_are_uniform_up_to_the_limit(side: int, limit: int) -> None:
    offsets = draw_offsets(torch.empty(4000, 3, side, 2), seeded())
    assert offsets.shape == (4000, 2)
    assert offsets[:, 0].unique().tolist() == list(range(-limit, limit + 1))
    assert offsets[:, 1].unique().tolist() == [0]
    assert chi_squared(offsets[:, 0] + limit, 2 * limit + 1) < 2 * limit + 6 * (4 * limit + 1) ** 0.5


def test_a_shared_offset_is_one_for_the_batch() -> None:
    images = rand(5, 3, 48, 48)
    offsets = draw_offsets(images, seeded(), fraction=0.5, shared=True)
    assert offsets.shape == (1, 2)
    assert torch.equal(shift(images, offsets), images.roll(tuple(offsets[0].tolist()), (2, 3)))


def test_sizes_stay_between_the_factors() -> None:
    images, generator = torch.empty(1, 3, 120, 60), seeded()
    sizes = torch.stack([draw_size(images, generator, scale=(1.5, 3.0)) for _ in range(200)])
    assert sizes[:, 0].min() >= 40
    assert sizes[:, 0].max() <= 80
    assert len(sizes[:, 0].unique()) > 20
    assert ((sizes[:, 0] - 2 * sizes[:, 1]).abs() <= 1).all()
    assert resize(rand(1, 3, 120, 60), sizes[0]).shape[2:] == tuple(sizes[0].tolist())


# --- all together


def srd(images: Tensor, choice: Tensor, offsets: Tensor) -> Tensor:
    return shift(pick(images, choice), offsets)


def test_gradients_are_right() -> None:
    images = rand(2, 3, 5, 6).double().requires_grad_()
    choice = draw_choice(images, seeded())
    assert torch.autograd.gradcheck(lambda leaf: srd(leaf, choice, torch.tensor([[1, -1], [0, 2]])), images)


def test_every_value_that_is_kept_gets_its_gradient() -> None:
    images = rand(1, 3, 8, 8).requires_grad_()
    srd(images, draw_choice(images, seeded()), torch.tensor([[1, 2]])).sum().backward()
    assert images.grad is not None
    assert images.grad.sum() == 3 * 16
    assert set(images.grad.unique().tolist()) == {0.0, 1.0}


def test_runs_as_one_graph_whatever_the_batch() -> None:
    compiled = torch.compile(srd, fullgraph=True, backend="eager")
    images = rand(3, 3, 9, 8)
    choice = draw_choice(images, seeded())
    offsets = draw_offsets(pick(images, choice), seeded(), fraction=0.4)
    assert torch.equal(compiled(images, choice, offsets), srd(images, choice, offsets))


def test_empty_batches_pass() -> None:
    images = torch.empty(0, 3, 9, 8)
    choice = draw_choice(images, seeded())
    assert srd(images, choice, draw_offsets(pick(images, choice), seeded())).shape == (0, 3, 5, 4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_keeps_the_type_of_the_images(dtype: torch.dtype) -> None:
    images = rand(1, 3, 8, 8).to(dtype)
    assert srd(images, draw_choice(images, seeded()), torch.tensor([[1, 1]])).dtype == dtype


@pytest.mark.gpu
def test_a_cpu_generator_gives_the_same_draw_for_images_on_a_gpu() -> None:
    images = rand(2, 3, 40, 40)
    assert torch.equal(draw_choice(images.cuda(), seeded()).cpu(), draw_choice(images, seeded()))
    assert torch.equal(draw_offsets(images.cuda(), seeded()).cpu(), draw_offsets(images, seeded()))


def test_copies_of_a_batch_take_turns_and_each_is_drawn_as_if_alone() -> None:
    images, generator = torch.rand(3, 3, 10, 14), torch.Generator().manual_seed(0)
    copies = images.repeat(6, 1, 1, 1)
    drawn = torch.stack([draw_choice(copies, generator, copies=6) for _ in range(300)]).unflatten(1, (6, 3))
    assert drawn.shape == (300, 6, 3, 3, 5, 7)
    every_place = torch.arange(4)[:, None, None, None, None].expand(300, 4, 3, 3, 5, 7)
    assert torch.equal(drawn[:, :4].sort(1).values, every_place)
    assert (drawn[:, 4] != drawn[:, 5]).all()
    for copy in range(6):
        counts = torch.stack([(drawn[:, copy] == place).float().mean(0) for place in range(4)])
        assert (counts - 0.25).abs().max() < 0.13
    # Neither images nor colours nor cells nor turns share an order.
    assert not torch.equal(drawn[:, 0, 0], drawn[:, 0, 1])
    assert not torch.equal(drawn[:, 0, 0, 0], drawn[:, 0, 0, 1])
    assert not torch.equal(drawn[:, 0, 0, 0, 0], drawn[:, 0, 0, 0, 1])
    assert not torch.equal(drawn[:, 0], drawn[:, 4])
