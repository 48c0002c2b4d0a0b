"""Documents whose figures come out of result files. Never imports torch.

A document marks what is generated in it by comments, which Markdown does not show. Between the marks stands
what the results gave; ``refresh`` writes it anew. There are four marks:

    <!-- rain report studies/nips2017 -->
    ... what ``rain report studies/nips2017 --markdown -`` writes ...
    <!-- end -->

    <!-- rain streams studies/nips2017 -->
    ... the part of it about mixed traffic ...
    <!-- end -->

    <!-- rain plan docs/imagenet-plan.json -->
    ... what ``rain plan GRID --json`` measured, as that command prints it ...
    <!-- end -->

    It keeps <!-- figure studies/nips2017 rain adaptive 4/255 -->0.0 %<!-- end --> of the images.

A figure is ``figure FOLDER DEFENSE NUMBER [EPS] [WORD]``:

- FOLDER holds the results, and is told from the folder of the project.
- DEFENSE is a spec without spaces, ``none`` for the bare classifier. Where FOLDER holds several classifiers
  it is DEFENSE@CLASSIFIER, with a part of the spec of one of them, such as ``none@madry2``.
- NUMBER is ``clean`` (accuracy on clean images), ``cost`` (points of clean accuracy that the defence costs),
  ``gain`` (points that it holds more than the bare classifier, under all attacks together), or an access
  (``transfer``, ``static``, ``adaptive``, ...): accuracy under the worst of its attacks on each image. All
  are on single draws, as in the sentences of the report. ``pays-ACCESS`` is the share of adversarial images
  from which on the defence pays, as the report says it. ``certified`` is the share that is right and proven
  to stay so within an l2 radius, which stands in the place of EPS.
- EPS is the budget, as the report writes it; ``clean`` and ``cost`` have none.
- WORD is ``interval`` for the 95 % interval of an accuracy, ``images`` for how many images it is of, or,
  under an attack, ``all-N`` for what is right on each of N draws.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from rain.bench.cells import Result
from rain.bench.certificates import CertifiedResult, certified_accuracy, load_certified
from rain.bench.columns import access_of, clean_scores, grouped
from rain.bench.counted import counted, left_of_each
from rain.bench.estimate import read_need, table
from rain.bench.metrics import eps_text, interval, percent_text, place_order, unbounded
from rain.bench.proofs import load as load_proofs
from rain.bench.streams import streams
from rain.bench.submissions import counts_of, worst_on_all
from rain.bench.taking_over import load_each_once
from rain.bench.worth import worth
from rain.errors import ResultError
from rain.files import write_named
from rain.report.labels import defense_labels
from rain.report.markdown import markdown, mixed_traffic
from rain.report.panel import NEEDS
from rain.report.streams import pays_text
from rain.report.verdict import Headline, summary

MARKED = re.compile(
    r"(<!-- (rain report|rain streams|rain plan|figure) ([^\n]*?) -->)(.*?)(<!-- end -->)", re.DOTALL
)

PAYS = "pays-"
"""Before the access, in the name of a number."""

Scores = dict[int, float]


def refresh(text: str, root: Path) -> str:
    """Write anew what stands between the marks of a document.

    Args:
        text: of the document.
        root: the folder that the marks' folders are told from.

    Raises:
        ResultError: a mark that cannot be understood, or results that do not hold what it asks for.
    """
    results = lru_cache(lambda folder: load_each_once(root / folder))

    def write(mark: re.Match[str]) -> str:
        start, kind, arguments, _, end = mark.groups()
        if kind == "rain report":
            certified = load_certified(root / arguments)
            proofs = load_proofs(root / arguments)
            return f"{start}\n\n{markdown(results(arguments), certified, proofs)}\n{end}"
        if kind == "rain streams":
            return f"{start}\n\n{_streams(results(arguments))}\n\n{end}"
        if kind == "rain plan":
            return f"{start}\n\n{table(read_need(root / arguments))}\n\n{end}"
        words = arguments.split()
        if words[2:3] == ["certified"]:
            return f"{start}{_certified(words, load_certified(root / words[0]))}{end}"
        return f"{start}{_figure(words, results)}{end}"

    before, needs, after = MARKED.sub(write, text).partition(NEEDS)
    return before + needs + after.replace(f"{NEEDS}\n\n", "")  # once in a document is enough


def refresh_file(path: Path, root: Path) -> bool:
    """Refresh a file in place.

    Returns: whether that changed it.
    """
    text = path.read_text(encoding="utf-8")
    fresh = refresh(text, root)
    if fresh != text:
        write_named(path, fresh.encode())
    return fresh != text


def _streams(results: list[Result]) -> str:
    """What the results of each place say of mixed traffic."""
    labels = defense_labels(sorted({result.cell.defense for result in results}))
    parts: list[str] = []
    for setting in grouped(results, lambda result: place_order(result.cell)).values():
        parts += mixed_traffic([result for result in setting if result.outcomes], labels)
    return "\n\n".join(parts)


def _figure(words: list[str], results: Callable[[str], list[Result]]) -> str:
    """Say one number."""
    mark = " ".join(["figure", *words])
    if len(words) < 3:
        raise ResultError(f"{mark}: write figure FOLDER DEFENSE NUMBER [EPS] [interval | images | all-N]")
    folder, defense, number, *rest = words
    eps = rest.pop(0) if rest and number not in ("clean", "cost") else ""
    word = rest.pop(0) if rest else ""
    of_all = re.fullmatch(r"all-([1-9]\d*)", word) if number != "clean" else None
    known = word in ("", "interval", "images") or of_all is not None
    if rest or not known or (word and not _is_accuracy(number)):
        raise ResultError(f"{mark}: {' '.join([word, *rest])!r} cannot be understood there")
    defense, _, classifier = defense.partition("@")
    setting = [one for one in results(folder) if classifier in one.cell.classifier.replace(" ", "")]
    if len({place_order(result.cell) for result in setting}) > 1:
        what = f"{folder} has results of several places, and a figure is of one"
        raise ResultError(f"{mark}: {what}; of several classifiers name one, {defense}@CLASSIFIER")
    own = [result for result in setting if result.cell.defense.replace(" ", "") == defense]
    if not own:
        before = f" before {classifier}" if classifier else ""
        raise ResultError(f"{mark}: {folder} has no results of {defense}{before}")
    if number in ("cost", "gain"):
        return _difference(_headline(setting, own[0].cell.defense, eps, mark), number, mark)
    if number.startswith(PAYS):
        return _pays(setting, own[0].cell.defense, number.removeprefix(PAYS), eps, mark)
    attacked = _attacked(own, number, eps)
    if of_all and int(of_all[1]) in counts_of(attacked):
        return _accuracy(worst_on_all(counted(attacked), int(of_all[1])), "")
    scores = clean_scores(setting, own[0].cell.defense) if number == "clean" else left_of_each(attacked)
    if not scores or of_all:
        raise ResultError(f"{mark}: that was not measured")
    return _accuracy(scores, word)


def _certified(words: list[str], results: list[CertifiedResult]) -> str:
    """Say a certified accuracy."""
    mark = " ".join(["figure", *words])
    own = [one for one in results if one.cell.defense.replace(" ", "") == words[1]]
    if len(own) != 1 or len(words) != 4:
        raise ResultError(f"{mark}: {words[0]} must hold one result of {words[1]}, and a radius end the mark")
    return f"{percent_text(certified_accuracy(own[0].images, float(words[3])))} %"


def _is_accuracy(number: str) -> bool:
    return number not in ("cost", "gain") and not number.startswith(PAYS)


def _pays(setting: list[Result], defense: str, access: str, eps: str, mark: str) -> str:
    for stream in streams(setting):
        if (stream.defense, stream.access, eps_text(stream.eps, stream.norm)) == (defense, access, eps):
            value = worth(stream)
            if value:
                return pays_text(value)
    raise ResultError(f"{mark}: that was not measured")


def _attacked(own: list[Result], access: str, eps: str) -> list[Result]:
    """The results of the attacks of an access at a budget."""
    attacked = [one for one in own if access_of(one) == access and not unbounded(one.cell)]
    return [one for one in attacked if eps_text(one.cell.eps, one.cell.norm) == eps]


def _headline(setting: list[Result], defense: str, eps: str, mark: str) -> Headline:
    for headline in summary(setting):
        if headline.defense == defense and eps in ("", eps_text(headline.eps, headline.norm)):
            return headline
    raise ResultError(f"{mark}: that was not measured")


def _difference(headline: Headline, number: str, mark: str) -> str:
    comparison = headline.cost if number == "cost" else headline.gain
    if comparison is None:
        raise ResultError(f"{mark}: there is no bare classifier to compare with")
    return f"{100 * comparison.difference:.1f} points"


def _accuracy(scores: Scores, word: str) -> str:
    if word == "images":
        return str(len(scores))
    rate = sum(scores.values()) / len(scores)
    if word == "interval":
        low, high = interval(rate, len(scores))
        return f"{percent_text(low)} to {percent_text(high)} %"
    return f"{percent_text(rate)} %"
