"""The pictures of the page: what went in, what was changed, what the defence made of it, what was answered.

Never imports torch.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rain.bench.cells import Cell, Result
from rain.bench.columns import grouped
from rain.bench.metrics import access_order, place_order

Gallery = Mapping[str, NDArray[Any]]
"""The arrays of a cell's ``gallery.npz``.

They are clean, adversarial, randomized (may be absent), enhanced, perturbation, index, says, truth.
"""

GALLERY_IMAGES = 8
"""Images shown over all galleries: more would make the file too heavy to send."""

SPECTRUM = (-3.0, 1.5)
"""Decades of magnitude from black to white: the same for every spectrum, so that they can be compared."""

BARE_ATTACKED, DEFENDED_ATTACKED = 1, 3
"""The places, among the four answers to an image, of those to the attacked one."""


class Picture(NamedTuple):
    """A picture and its spectrum, as data URIs."""

    name: str
    picture: str
    spectrum: str


class Shown(NamedTuple):
    """What the page shows of one cell.

    Args:
        note: on how many of the images that were kept the defence won or lost, and which of them are shown.
        images: their pictures and answers.
    """

    cell: Cell
    note: str
    images: list[dict[str, Any]]


def shown_galleries(
    results: Iterable[Result], galleries: Mapping[str, Gallery], defenses: Sequence[str]
) -> list[Shown]:
    """Choose what to show: of each defence an attack that it may undo, and one that it may not.

    Args:
        galleries: by the key of the cell.
        defenses: in the order of the page; those whose steps can be seen come first.
    """
    cells = [result.cell for result in results if result.cell.key in galleries]
    by_defense = grouped(cells, lambda cell: (place_order(cell), cell.defense))

    def order(cells: Sequence[Cell]) -> tuple[bool, int]:
        steps_are_seen = any("randomized" in galleries[cell.key] for cell in cells)
        return not steps_are_seen, defenses.index(cells[0].defense)

    kept: list[Cell] = []
    for same in sorted(by_defense.values(), key=order):
        one_of_each = grouped(sorted(same, key=_order), lambda cell: cell.access)
        kept += [cells[0] for cells in one_of_each.values()]
    kept = kept[:GALLERY_IMAGES]
    count = GALLERY_IMAGES // max(1, len(kept))
    shown: list[Shown] = []
    for cell in kept:
        same_defense = [
            one for one in shown if (one.cell.defense, one.cell.size) == (cell.defense, cell.size)
        ]
        above = {image["index"] for one in same_defense for image in one.images}
        shown.append(_shown(cell, galleries[cell.key], count, above))
    return shown


def _order(cell: Cell) -> tuple[int, float, str]:
    """Attackers who know least come first, and of one access the largest budget."""
    return access_order(cell.access), -cell.eps, cell.attack


def _shown(cell: Cell, gallery: Gallery, count: int, above: AbstractSet[int]) -> Shown:
    """Show some images of a gallery: first those on which happened what its access is known for.

    Args:
        above: the indices of images that the page shows of the same defence; of these the better.
    """
    kept = len(gallery["index"])
    telling = [place for place in range(kept) if _is_telling(cell.access, gallery, place)]
    telling.sort(key=lambda place: int(gallery["index"][place]) not in above)
    others = [place for place in range(kept) if place not in telling]
    places = [*telling, *others][:count]
    what = "the defended classifier is wrong"
    if cell.access == "transfer":
        what = "the bare classifier is wrong and the defended one is right"
    count_telling = str(len(telling)) if telling else "none"
    note = f"The first {kept} images of the dataset were kept. Attacked, {what} on {count_telling} of them"
    is_choice = 0 < len(telling) < kept and len(places) < kept
    chosen = "; what is shown here was chosen for that" if is_choice else ""
    return Shown(cell, f"{note}{chosen}.", [_shown_image(gallery, place) for place in places])


def _is_telling(access: str, gallery: Gallery, place: int) -> bool:
    """Whether a transferred attack is undone; whether another attack is not."""
    truth, says = str(gallery["truth"][place]), gallery["says"][place]
    defended = _answer(str(says[DEFENDED_ATTACKED]), truth)["right"]
    if access != "transfer":
        return not defended
    return bool(defended and not _answer(str(says[BARE_ATTACKED]), truth)["right"])


def png(picture: NDArray[Any]) -> str:
    """Write (H, W, 3) or (H, W), uint8, as a data URI."""
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"


def spectrum(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """Show the frequencies of a picture: the log-magnitude of its luminance's Fourier transform.

    Args:
        picture: (H, W, 3), values in [-1, 1].

    Returns: (H, W), low frequencies in the middle.
    """
    luminance = picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    magnitude = np.abs(np.fft.fftshift(np.fft.fft2(luminance, norm="ortho")))
    black, white = SPECTRUM
    decades = np.log10(np.maximum(magnitude, 10**black))
    shade = np.clip((decades - black) / (white - black), 0, 1)
    # 32 greys are enough for the eye, and halve the file.
    return (np.round(shade * 31) * (255 / 31)).astype(np.uint8)


def _shown_image(gallery: Gallery, place: int) -> dict[str, Any]:
    """One image of a gallery: its pictures side by side, and what was answered."""
    pictures = [
        _picture("Clean", gallery["clean"][place]),
        _picture("Attacked", gallery["adversarial"][place]),
    ]
    pictures.append(_perturbation(gallery["perturbation"][place]))
    if "randomized" in gallery:
        pictures.append(_picture("After SRd", gallery["randomized"][place]))
        pictures.append(_picture("After DG", gallery["enhanced"][place]))
    else:
        pictures.append(_picture("After the defence", gallery["enhanced"][place]))
    truth = str(gallery["truth"][place])
    answers = [_answer(str(text), truth) for text in gallery["says"][place]]
    return {
        "index": int(gallery["index"][place]),
        "truth": truth,
        "columns": pictures,
        "answers": {"Bare": answers[:2], "Defended": answers[2:]},
    }


def _picture(name: str, picture: NDArray[Any]) -> Picture:
    return Picture(name, png(picture), png(spectrum(picture / 255)))


def _perturbation(perturbation: NDArray[Any]) -> Picture:
    """A perturbation as a picture, magnified around grey."""
    largest = float(np.abs(perturbation).max())
    factor = max(1, int(0.5 / max(largest, 1e-6)))
    magnified = np.round(255 * np.clip(0.5 + factor * perturbation, 0, 1)).astype(np.uint8)
    name = f"Perturbation, {factor} times" if perturbation.any() else "Perturbation: none"
    return Picture(name, png(magnified), png(spectrum(perturbation)))


def _answer(text: str, truth: str) -> dict[str, Any]:
    """An answer is the class, and behind it, in brackets, how sure the classifier is."""
    label, _, _ = text.rpartition(" (")
    return {"text": text, "right": truth in (text, label)}
