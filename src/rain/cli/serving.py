"""``rain serve``: a hardened classifier as a web service."""

import ipaddress
import os
import socket
import tempfile
import threading
import time
import urllib.request
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rain.cli.errors import clean_errors
from rain.cli.options import MOST_SIDE, is_typed
from rain.errors import OptionError, RainError

if TYPE_CHECKING:
    from rain.deploy.settings import Settings

MODEL_HELP = (
    "An exported model (rain export), in the place of classifier, defence, gate and size; needs no torch."
)
GATE_HELP = (
    "Share of clean images that the defence may overrule: 0.02 by default where a threshold is known; 0 for "
    "no gate."
)
TOKEN_HELP = "File with the secret of those who may ask; by default the environment variable RAIN_TOKEN."
PROXY_HELP = "Address of a proxy whose word for the client's address is taken; by default nobody's."
SEEDS_HELP = "Let requests say the seed of their draws. Not where an attacker may ask."
INSECURE_HELP = "Serve beyond this machine without a secret."
CONNECTIONS = 1024
"""Open at a time; more are answered with 503."""

SIZE_HELP = "Side of the images in pixels; by default what the classifier sees, 0 for their own size."


REPLACED = ("classifier", "defense", "gate", "calibration", "size", "device")
"""Options of what an exported model holds already."""


def serve(
    context: typer.Context,
    model: Annotated[Path | None, typer.Option(help=MODEL_HELP, metavar="DIR")] = None,
    classifier: Annotated[str, typer.Option(help="See: rain list classifiers.")] = "efficientnet_lite0",
    defense: Annotated[str, typer.Option(help="See: rain list defenses.")] = "rain",
    gate: Annotated[float | None, typer.Option(help=GATE_HELP)] = None,
    calibration: Annotated[Path | None, typer.Option(help="File that rain calibrate wrote.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 for any.")] = 8000,
    draws: Annotated[int, typer.Option(help="Fresh draws whose probabilities are averaged.")] = 8,
    size: Annotated[int | None, typer.Option(min=0, max=MOST_SIDE, help=SIZE_HELP)] = None,
    workers: Annotated[int, typer.Option(help="Processes, each with a model of its own.")] = 1,
    batch: Annotated[int, typer.Option(help="Images that are computed together at most.")] = 8,
    wait_ms: Annotated[float, typer.Option(help="How long an image waits for others.")] = 5.0,
    queue: Annotated[int, typer.Option(help="Images that may wait; more are answered with 503.")] = 128,
    max_megabytes: Annotated[float, typer.Option(help="Size of one request.")] = 16.0,
    max_megapixels: Annotated[float, typer.Option(help="Size of one picture.")] = 32.0,
    max_files: Annotated[int, typer.Option(help="Files in one request.")] = 32,
    timeout: Annotated[
        float, typer.Option(help="Seconds for a request to arrive, and for its answer.")
    ] = 30.0,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="A page at /, on which visitors attack pictures.")
    ] = True,
    allow_seed: Annotated[bool, typer.Option("--allow-seed", help=SEEDS_HELP)] = False,
    token_file: Annotated[Path | None, typer.Option(help=TOKEN_HELP)] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help=INSECURE_HELP)] = False,
    trusted_proxy: Annotated[str, typer.Option(help=PROXY_HELP)] = "",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; a GPU if there is one.")] = None,
) -> None:
    """Serve a hardened classifier on the web, with a page to try it.

    POST /predict, GET /model, /health, /ready, /metrics, /openapi.json. SIGTERM lets it finish what it has
    accepted. It needs pip install 'rain-defense[serve]'.
    """
    with clean_errors():
        from rain.deploy.settings import Settings

        _check_together(context)
        token = _token(token_file)
        _check_reach(host, token, insecure)
        settings = Settings(
            model=str(model or ""),
            classifier=classifier,
            defense=defense,
            gate=gate,
            calibration=str(calibration or ""),
            size=size,
            device=device or "",
            draws=draws,
            batch=batch,
            wait_seconds=wait_ms / 1000,
            queue=queue,
            max_megabytes=max_megabytes,
            max_megapixels=max_megapixels,
            max_files=max_files,
            timeout_seconds=timeout,
            page=page,
            seeds=allow_seed,
            workers=workers,
            token=token,
        )
        _run(settings, host, port, trusted_proxy)


def _check_together(context: typer.Context) -> None:
    """Raise ``OptionError`` for options of which one would be ignored."""
    own = [name for name in context.params if is_typed(context, name)]
    if "model" in own:
        ignored = [f"--{name}" for name in REPLACED if name in own]
        if ignored:
            what = (
                f"--model DIR is an exported model, for which {', '.join(ignored)} cannot be chosen any more"
            )
            raise OptionError(f"{what}: leave out either, or export another model")
        if "page" in own and context.params["page"]:
            what = "--page attacks by gradients, which an exported model (--model) does not have"
            raise OptionError(f"{what}: leave out either")
    if "calibration" in own and context.params["gate"] == 0:
        raise OptionError("--calibration is of a gate, and --gate 0 is none: leave one of them out")
    if "token_file" in own and context.params["insecure"]:
        raise OptionError("--token-file asks for a secret, and --insecure for none: leave one of them out")


def _token(path: Path | None) -> str:
    """The secret, from a file or from the environment; "" for none.

    Raises:
        OptionError: the file cannot be read, or holds none.
    """
    from rain.deploy.settings import TOKEN
    from rain.files import read_text

    if path is None:
        return os.environ.get(TOKEN, "")
    try:
        token = read_text(path).strip()
    except (OSError, ValueError) as error:
        raise OptionError(f"{path}: the secret cannot be read ({error})") from None
    if not token or not token.isascii() or not token.isprintable():
        raise OptionError(f"{path}: a secret is one line of printable ASCII characters")
    return token


def _check_reach(host: str, token: str, insecure: bool) -> None:
    """Raise ``OptionError`` for a service that strangers reach, and nothing asks them for a secret."""
    if token or insecure or _is_loopback(host):
        return
    advice = "give --token-file FILE (or RAIN_TOKEN), or say --insecure"
    raise OptionError(f"--host {host} lets other machines ask, without a secret: {advice}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def open_page(classifier: str | None, device: str | None) -> None:
    """Serve the page on this machine, on any port, and open it in a browser.

    Args:
        classifier: spec; None for the demo's.
        device: where to compute; None for a GPU if there is one.
    """
    from rain.deploy.settings import Settings

    settings = Settings(classifier=classifier or Settings.classifier, device=device or "")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    threading.Thread(target=_open_when_ready, args=(address,), daemon=True).start()
    _run(settings, "127.0.0.1", port, "")


def _open_when_ready(address: str) -> None:
    for _ in range(1200):
        try:
            urllib.request.urlopen(f"{address}ready", timeout=5).close()
        except OSError:
            time.sleep(0.1)
            continue
        print(f"the page: {address} (Ctrl-C ends it)", flush=True)
        webbrowser.open_new_tab(address)
        return


def _run(settings: "Settings", host: str, port: int, trusted_proxy: str) -> None:
    try:
        import uvicorn

        from rain.deploy.measures import SHARED
        from rain.deploy.patience import Patient
        from rain.deploy.service import app_of_environment, build_app, open_model
        from rain.deploy.settings import hand_over
        from rain.runtime.memory import pick_device
    except ImportError as error:
        raise RainError(f"serving needs {error.name}: pip install 'rain-defense[serve]'") from None
    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "http": Patient,
        "ws": "none",
        "server_header": False,
        "proxy_headers": bool(trusted_proxy),
        "forwarded_allow_ips": trusted_proxy or None,
        "log_level": "info",
        "limit_concurrency": CONNECTIONS,
        "timeout_graceful_shutdown": int(settings.timeout_seconds) + 1,
    }
    if settings.workers == 1:
        model = open_model(settings)
        model.warm_up()  # what is wrong is said in one line here, and by its traceback from within the server
        uvicorn.run(build_app(settings, model), **options)
        return
    # A worker that cannot start is started again for good: what is wrong is said here, once. The processor
    # will do, since this process would keep what it takes of a GPU.
    if settings.device:
        pick_device(settings.device)
    open_model(replace(settings, device="cpu")).warm_up()
    with tempfile.TemporaryDirectory(prefix="rain-serve-") as shared:
        os.environ.update(hand_over(settings) | {SHARED: shared})
        name = f"{app_of_environment.__module__}:{app_of_environment.__name__}"
        uvicorn.run(name, factory=True, workers=settings.workers, **options)
