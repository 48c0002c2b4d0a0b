"""Time a service under load, side by side with a plain loop over the same model.

    python benchmarks/serve.py [--requests 200] [--clients 16] [--rounds 3] [--memory 0]

Each round sends so many requests, one picture each, by several clients at once; then the same pictures go
through the model in batches of eight, without a service. Printed are the medians over the rounds: pictures a
second, their ratio, and the 50th and 99th percentile of the time to an answer. ``--memory 20000`` sends
so many more requests, and prints what the process holds after each tenth of them.
"""

import argparse
import http.client
import io
import socket
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import torch
import uvicorn
from PIL import Image

from rain.deploy.model import Model
from rain.deploy.service import build_app
from rain.deploy.settings import Settings
from rain.registry import load_dataset

BATCH = 8
BOUNDARY = "----rain"


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--classifier", default="efficientnet_lite0")
    parser.add_argument("--defense", default="rain")
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, default=0)
    arguments = parser.parse_args()
    settings = Settings(
        classifier=arguments.classifier,
        defense=arguments.defense,
        gate=0.0,
        draws=arguments.draws,
        batch=BATCH,
    )
    model = Model(settings)
    files = pictures(arguments.requests)
    port, server, thread = start(settings, model)
    served, plain, waits = [], [], []
    for _ in range(arguments.rounds):
        seconds, each = send(port, files, arguments.clients)
        served.append(len(files) / seconds)
        waits += each
        plain.append(len(files) / loop(model, files))
    waits.sort()
    of_service, of_loop = statistics.median(served), statistics.median(plain)
    half, last = (1000 * waits[share * len(waits) // 100] for share in (50, 99))
    ratio = f"{of_service / of_loop:.2f}x"
    print(f"plain loop, batches of {BATCH}   {of_loop:7.1f} pictures/s")
    print(f"service, {arguments.clients} clients        {of_service:7.1f} pictures/s   {ratio}")
    print(f"time to an answer: p50 {half:.0f} ms, p99 {last:.0f} ms")
    for _ in range(10 if arguments.memory else 0):
        for first in range(0, arguments.memory // 10, len(files)):
            send(port, files[: arguments.memory // 10 - first], arguments.clients)
        print(f"resident memory: {resident_mb():.0f} MB")
    server.should_exit = True
    thread.join()


def pictures(count: int) -> list[bytes]:
    """So many JPEG files, of the twenty sample pictures in turn."""
    dataset = load_dataset("samples")
    files = []
    for index in range(min(count, len(dataset))):
        content = io.BytesIO()
        levels = (dataset[index][0] * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(levels).resize((256, 256)).save(content, "JPEG", quality=90)
        files.append(content.getvalue())
    return [files[number % len(files)] for number in range(count)]


def start(settings: Settings, model: Model) -> tuple[int, uvicorn.Server, threading.Thread]:
    """Run the service in a thread of this process, on any port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(build_app(settings, model), log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    return listener.getsockname()[1], server, thread


def send(port: int, files: list[bytes], clients: int) -> tuple[float, list[float]]:
    """Send files by several clients at once: seconds for all, and for each."""

    def ask(content: bytes) -> float:
        begin = time.perf_counter()
        head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request(
            "POST", "/predict", body, {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
        )
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != 200:
            raise SystemExit(f"the service answered {answer.status}")
        return time.perf_counter() - begin

    begin = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        each = list(threads.map(ask, files))
    return time.perf_counter() - begin, each


@torch.no_grad()
def loop(model: Model, files: list[bytes]) -> float:
    """Seconds for the same files without a service: decoded one by one, classified in batches."""
    begin = time.perf_counter()
    for first in range(0, len(files), BATCH):
        questions = [model.read(content, None, 1) for content in files[first : first + BATCH]]
        model.answer(questions)
    return time.perf_counter() - begin


def resident_mb() -> float:
    """What this process holds, in MB; Linux says it."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


if __name__ == "__main__":
    main()
