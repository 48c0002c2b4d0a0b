r"""The table of results for a paper: LaTeX with booktabs. Never imports torch.

>>> escape(r"50 % of \input{x}")
'50 \\% of \\textbackslash{}input\\{x\\}'
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rain.bench.cells import Result
from rain.bench.columns import grouped, without_corruptions
from rain.bench.metrics import eps_text, percent_text, size_text
from rain.bench.records import records
from rain.report.labels import defense_labels, meanings_of, spec_text

SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
}
"""What LaTeX would read as something else, by itself or with the sign behind it."""

HEAD = r"% Needs \usepackage{booktabs} and \usepackage[T1]{fontenc}; LuaLaTeX for names in other alphabets."

COLUMNS = {
    "Defence": "l",
    "Attack": "l",
    r"$\epsilon$": "l",
    "Access": "l",
    "EOT": "r",
    "Images": "r",
    "Clean": "r",
    "Attacked": "r",
    r"95\,\% interval": "c",
    "$n$": "r",
    "Averaged": "r",
    "All right": "r",
}
"""The columns, and how each is aligned."""

ABOUT = (
    r"Accuracy in \% of all images. Clean and attacked: the mean over single draws of the defence, with "
    "Wilson's interval over images. Averaged: the answer by the probabilities averaged over $n$ draws. All "
    "right: each of the $n$ draws is right. EOT: draws that the attacker averages over at each step."
)

NONE = "--"

Row = Mapping[str, Any]
"""One of ``rain.bench.records.cell_records``."""


def latex(results: Iterable[Result]) -> str:
    """Write a table for each place. Its caption explains every access that occurs, and every short name.

    Names are escaped: whoever sent the results may have written anything into them.
    """
    measured = list(records(without_corruptions(results)))
    labels = defense_labels(dict.fromkeys(row["defense"] for row in measured))
    places = grouped(measured, lambda row: (row["dataset"], row["size"], row["classifier"]))
    return "\n".join([HEAD, *(_table(group, labels) for group in places.values())])


def escape(text: str) -> str:
    """Write a text so that LaTeX prints it, whatever it holds. What cannot be printed becomes a blank."""
    plain = "".join(sign if sign.isprintable() else " " for sign in text)
    escaped = "".join(SIGNS.get(sign, sign) for sign in plain)
    return re.sub("([-,])(?=\\1)", r"\1{}", escaped)  # two of them would become one other sign


def _table(group: Sequence[Row], labels: Mapping[str, str]) -> str:
    """The table of one place."""
    lines: list[str] = []
    for defense, same in grouped(group, lambda row: row["defense"]).items():
        names = [escape(labels[defense]), *[""] * (len(same) - 1)]
        lines += ["\\midrule"] if lines else []
        lines += [_line([name, *_figures(row)]) for name, row in zip(names, same, strict=True)]
    parts = [
        r"\begin{table}",
        r"\centering\footnotesize",
        rf"\caption{{{_caption(group, labels)}}}",
        rf"\begin{{tabular}}{{{''.join(COLUMNS.values())}}}",
        r"\toprule",
        _line(COLUMNS),
        r"\midrule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(parts) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _figures(row: Row) -> list[str]:
    """What stands in a line behind the defence's name."""
    attacked, random = row["attack"] != "none", row["draws"] > 1
    budget = eps_text(row["eps"], row["norm"]) if row["norm"] == "linf" else _in_norm(row)
    interval = f"{percent_text(row['low'])} to {percent_text(row['high'])}"
    return [
        escape(spec_text(row["attack"])),
        escape(budget) if attacked else NONE,
        escape(row["access"]) if attacked else NONE,
        str(row["eot"]) if row["access"] == "adaptive" else NONE,
        str(row["images"]) if row["complete"] else f"{row['images']} of {row['examples']}",
        percent_text(row["clean"]),
        percent_text(row["robust"]) if attacked else NONE,
        interval if attacked else NONE,
        str(row["draws"]),
        percent_text(row["robust_averaged"]) if attacked and random else NONE,
        percent_text(row["worst"]) if attacked and random else NONE,
    ]


def _in_norm(row: Row) -> str:
    return f"{eps_text(row['eps'], row['norm'])} in {row['norm']}"


def _caption(group: Sequence[Row], labels: Mapping[str, str]) -> str:
    first = group[0]
    place = f"{first['dataset']}, {size_text(first['size'])}, {first['classifier']}"
    meanings = meanings_of(row["access"] for row in group)
    words = [f"{access}: {escape(meaning)}." for access, meaning in meanings.items()]
    present = dict.fromkeys(row["defense"] for row in group)
    shortened = [spec for spec in present if spec not in (labels[spec], "none")]
    names = [f"{escape(labels[spec])} is {escape(spec)}." for spec in shortened]
    return " ".join([f"{escape(place)}.", ABOUT, *words, *names])
