"""The site: the guide, the results and the notebook as they stand, and a reference from the docstrings."""

import re
from os.path import normpath
from pathlib import Path
from typing import Any

import rain
from rain.registry import REGISTRIES

ROOT = Path(__file__).parents[1]

project = "RAIN"
html_title = "RAIN"
author = copyright = "The RAIN developers"
release = rain.__version__

extensions = ["sphinx.ext.napoleon", "sphinx.ext.viewcode", "autoapi.extension", "myst_parser"]
exclude_patterns = ["_templates"]
nitpicky = True
# Names of other packages, to which there is no link without a network; and private ones, which have no page.
nitpick_ignore_regex = [("py:.*", r"(?!rain\.).*"), ("py:.*", r".*\._.*")]
suppress_warnings = ["autoapi.python_import_resolution"]

myst_heading_anchors = 3

autoapi_dirs = ["../src/rain"]
autoapi_ignore = ["*/cli/*", "*/__main__.py"]
autoapi_root = "reference"
autoapi_add_toctree_entry = False
autoapi_options = ["members", "show-inheritance"]
autoapi_template_dir = "_templates/autoapi"
napoleon_numpy_docstring = False
napoleon_use_param = False
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False

PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "README.md": "index.md"}
"""Files outside docs/, and the pages that show them."""

VALUES = ("attribute", "data", "property")
plain: dict[str, list[str]] = {}
"""The docstrings of values, by name, before napoleon reads them."""

REMARK = re.compile(r"^(Shape|Convention|Source|Differs|Returns|Yields):(?=\s|$)")


def lead(text: str, folder: Path) -> str:
    """Let the links of a page in ``folder`` lead to the pages of the site.

    On GitHub they lead to files, some of which are not under docs/.
    """

    def place(link: re.Match[str]) -> str:
        target, part = link[1], link[2] or ""
        path = normpath(folder / target).removeprefix(f"{ROOT}/")
        if path.startswith("examples/"):
            return f"](/examples.md#{Path(path).name.replace('.', '')})"
        if path in PAGES:
            return f"](/{PAGES[path]}{part})"
        return f"](/{path.removeprefix('docs/')}{part})" if path.startswith("docs/") else link[0]

    return re.sub(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)", place, text)


def contents(text: str) -> str:
    """Make a table of contents from a table whose rows link to pages: the first link of each row."""
    pages = re.findall(r"^\|[^\[\n]*\[[^\]]*\]\((\S+)\.md\)", text, re.MULTILINE)
    return "\n".join(["\n```{toctree}", ":hidden:", "", *pages, "```", ""])


def whole(text: str) -> str:
    """Keep on one line what stands behind a figure: ``(89.2 to 94.5; 400)``, ``(7 / 34, p < 0.001)``."""
    brackets = r"\((?:[\d.]+ to|\d+ / \d+, p) [^()\n]*\)"
    return re.sub(brackets, lambda match: match[0].replace(" ", "\N{NBSP}"), text)


def read(app: Any, docname: str, source: list[str]) -> None:
    """Prepare a page of docs/."""
    page = Path(app.env.doc2path(docname))
    if page.suffix != ".md":
        return
    if docname.endswith("/index"):
        source[0] += contents(source[0])
    source[0] = whole(lead(source[0], page.parent))


def include(app: Any, path: Path, docname: str, source: list[str]) -> None:
    """Prepare a page that another one includes."""
    source[0] = lead(source[0], (Path(app.srcdir) / path).parent)


def mark(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Make fields of a docstring's remarks (``Shape: ...``), which napoleon would leave as plain text."""
    marked: list[str] = []
    inside = False
    for line in lines:
        begins = REMARK.match(line)
        if begins:
            marked += ["", REMARK.sub(r":\1:", line)]
        elif not line.strip() or line.startswith(" ") or not inside:
            marked.append(line)
        else:
            marked.append(f"    {line}")
        inside = bool(begins) or (inside and bool(line.strip()))
    lines[:] = marked
    if what in VALUES:
        plain[name] = marked


def restore(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Undo what napoleon makes of values: it takes what stands before a colon for a type."""
    if what in VALUES:
        lines[:] = plain.pop(name)


def names(app: Any) -> list[Any]:
    """Find what stands behind the names of ``rain.__all__`` that are loaded when first used."""
    homes = {name: f"rain.{home}.{name}" for name, home in rain._HOMES.items()}
    return [app.env.autoapi_all_objects[homes[name]] for name in rain.__all__ if name in homes]


def give(environment: Any) -> None:
    """Give the templates what they ask for."""
    environment.globals |= {"names": names, "plugins": list(REGISTRIES)}


autoapi_prepare_jinja_env = give


def setup(app: Any) -> None:
    """Connect what stands above to the build."""
    app.connect("source-read", read)
    app.connect("include-read", include)
    app.connect("autodoc-process-docstring", mark, priority=400)
    app.connect("autodoc-process-docstring", restore, priority=600)
