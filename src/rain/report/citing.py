"""How to cite the method and the software, as BibTeX. Never imports torch."""

from rain.version import __version__

PAPER = """@misc{du2020rain,
  title = {{RAIN}: Robust and Accurate Classification Networks with Randomization and Enhancement},
  author = {Du, Jiawei and Yan, Hanshu and Tan, Vincent Y. F. and Zhou, Joey Tianyi
            and Goh, Rick Siow Mong and Feng, Jiashi},
  year = {2020},
  eprint = {2004.14798},
  archivePrefix = {arXiv}
}"""
"""The paper, under the title of its first version."""

SOFTWARE = """@software{{rain_defense,
  title = {{rain-defense: {{RAIN}} before an image classifier, and a bench for such defences}},
  author = {{{{The RAIN developers}}}},
  version = {{{version}}}
}}"""


def bibtex() -> str:
    """Cite the paper, and this version of the software; ``CITATION.cff`` says the same."""
    return f"{PAPER}\n\n{SOFTWARE.format(version=__version__)}\n"
