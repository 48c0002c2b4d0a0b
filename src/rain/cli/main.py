"""The command ``rain``: its commands, each in the file of its family.

Every family loads what it needs when it runs, so that ``--help`` and ``report`` stay fast.
"""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rain.cli.calibrating import calibrate
from rain.cli.catalogue import list_names
from rain.cli.certifying import certify
from rain.cli.checking import check
from rain.cli.comparing import compare
from rain.cli.costing import cost
from rain.cli.errors import checked_output, prepare_output
from rain.cli.explaining import explain
from rain.cli.exporting import export
from rain.cli.measuring import demo, run
from rain.cli.merging import merge
from rain.cli.planning import plan
from rain.cli.prediction import predict
from rain.cli.proving import prove
from rain.cli.replaying import replay
from rain.cli.reporting import report
from rain.cli.serving import serve
from rain.cli.training import train
from rain.version import __version__


class Commands(TyperGroup):
    """The commands, none of which takes an argument without letters."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse ``--html ''``: an unset variable of a shell, which a path takes for the folder here."""
        for argument, before in zip(args, ["rain", *args], strict=False):
            name, separator, value = argument.partition("=")
            if argument == "" or (name.startswith("--") and separator and not value):
                raise typer.BadParameter(f"an argument is empty, after {before if argument == '' else name}")
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="RAIN: a defence to put in front of an image classifier, and the bench that says what it is worth.",
)


def main() -> None:
    """Run the command line."""
    prepare_output()
    with checked_output():
        app()


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Options of ``rain`` itself."""
    if version:
        print(__version__)


app.command("list")(list_names)
COMMANDS = (
    *(predict, serve, explain, calibrate, cost, export),
    *(plan, run, merge, replay, certify, prove, report, check, compare),
    *(demo, train),
)
for command in COMMANDS:
    app.command()(command)
