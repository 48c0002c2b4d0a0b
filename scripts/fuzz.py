"""Send broken files and odd options through every reader: each must work, or end with one error of ours.

    python scripts/fuzz.py --cases 20000 --minutes 10
    python scripts/fuzz.py --only results:1234        # one case again

Bytes are flipped, cut and repeated; fields of tables and options of plug-ins are replaced by odd values;
specs are drawn by hypothesis. All follows from the seed. A case may take 10 seconds and 2 GB. Batches of
cases run in a process of their own, so that a crash is a finding, too, and not the end.
"""

import argparse
import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

import rain
from rain import checkpoints, registry, specs
from rain.bench import cells, grid
from rain.bench.metrics import rows
from rain.calibration import load as load_calibration
from rain.errors import RainError
from rain.report.exports import read_galleries
from rain.report.markdown import markdown
from rain.report.pictures import shown_galleries
from rain.training import log, recipe
from rain.training.state import parse_checkpoint

SECONDS, MEGABYTES = 10, 2000
"""What a case may take."""

BATCH = 100

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("inf"), float("nan")),
    *(
        "",
        "x",
        "\ud800",
        "\x00",
        "a" * 100_000,
        "(" * 3000,
        "pgd(" * 500 + ")" * 500,
        "9" * 5000,
        "\n\x1b[31m",
    ),
    *([], {}, [[]], ["x"], [1] * 1000, {"a": {"b": []}}),
)
"""Values that fields are replaced by."""

GRID = """dataset = "samples"
size = 32
classifier = "small_resnet"
defenses = ["none", "jpeg", ["jpeg", "rain"]]
examples = 4
chunk = 2
draws = 3
seed = 1
gallery = 1

[[attacks]]
attack = "none"

[[attacks]]
attack = "pgd(steps=3)"
access = ["static", "adaptive"]
eps = ["2/255", 0.1]
eot = 2
"""

RECIPE = """images = ["pictures:a"]
validation = ["pictures:b"]
classifier = "small_resnet"
distillation = 1.0
steps = 10
batch = 2
eps = "4/255"
milestones = [0.5]
schedule = "steps"
"""

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "TGA", "PCX", "SGI", "JPEG2000")


def broken(content: bytes, chance: random.Random) -> bytes:
    """Flip, cut, repeat or fill some bytes."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        if not data:
            break
        place = chance.randrange(len(data))
        way = chance.randrange(6)
        if way <= 2:
            data[place] ^= 1 << chance.randrange(8)
        elif way == 3:
            data[place : place + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
        elif way == 4:
            del data[place : place + chance.randrange(1, 64)]
        else:
            data[place:place] = data[place : place + 32] * chance.randrange(1, 50)
    return bytes(data)


def odd(table: Any, chance: random.Random) -> Any:
    """Replace, add or take away a field of a table, at any depth."""
    fields = list(table) if isinstance(table, dict) else list(range(len(table)))
    if not fields:
        return table
    field = chance.choice(fields)
    inner = table[field]
    if isinstance(inner, dict | list) and inner and chance.random() < 0.7:
        odd(inner, chance)
    elif isinstance(table, dict) and chance.random() < 0.2:
        del table[field]
    elif isinstance(table, dict) and chance.random() < 0.2:
        table[chance.choice(("x", "", "a" * 50_000))] = chance.choice(ODD)
    else:
        table[field] = chance.choice(ODD)
    return table


def images(chance: random.Random, folder: Path) -> None:
    """A picture file."""
    kind, mode = chance.choice(FORMATS), chance.choice(("RGB", "L", "P", "RGBA", "1", "I;16", "CMYK"))
    values = np.random.default_rng(chance.randrange(2**32)).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(values)
    if mode == "I;16":
        picture = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    elif mode != "RGB":
        picture = picture.convert(mode)
    file, exif = io.BytesIO(), picture.getexif()
    exif[0x0112] = chance.randrange(10)
    options: dict[str, Any] = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}
    try:
        picture.save(file, kind, **options)
    except (OSError, ValueError, KeyError):
        file = io.BytesIO()
        Image.fromarray(values).save(file, "PNG")
    rain.read_image(broken(file.getvalue(), chance))


def weights(chance: random.Random, folder: Path) -> None:
    """A weight file, of a plug-in that takes its sizes from it or not."""
    name, options = chance.choice(
        (
            ("compact", {"head": 4, "near": 1, "features": 4, "blocks": 2}),
            ("srresnet", {"features": 2, "blocks": 2}),
            ("srcnn", {"features": 6}),
            ("hdrnet", {"side": 64, "width": 1, "bins": 2}),
            ("edsr", {"features": 2, "blocks": 1}),
        )
    )
    path = folder / "weights.safetensors"
    checkpoints.save(registry.load_enhancer(name, weights=None, **options), path, {"data": "none"})
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    if chance.random() < 0.5:
        header = json.loads(content[8 : 8 + length])
        tensor = chance.choice([key for key in header if key != "__metadata__"])
        way = chance.randrange(4)
        if way == 0:
            for number in range(chance.choice((10, 3000, 30_000))):
                header[f"body.{number}.first.weight"] = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        elif way == 1:
            header[tensor]["shape"] = chance.choice(([2**40, 0], [0], [], [1, 2**62, 0, 3], [-1]))
        elif way == 2:
            header[chance.choice(("a." * 5000, "body.999999999.x", ""))] = header.pop(tensor)
        else:
            odd(header, chance)
        text = json.dumps(header).encode("utf-8", "replace")
        content = struct.pack("<Q", len(text)) + text + content[8 + length :]
    else:
        content = broken(content, chance)
    path.write_bytes(content)
    registry.load_enhancer(chance.choice((name, "compact", "srresnet")), weights=str(path))


def written(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A result file of two images, and its content."""
    cell = cells.Cell("samples", 32, "c", "gated", "pgd(steps=3)", "linf", 0.1, "static", 1, 2, 0, 2, 2)
    outcomes = [
        cells.Outcome(number, 1, (1, 2), 1, (0, 1), 0, 0.05, None, False, (0.5, 1.5), (2.5, 3.5))
        for number in range(2)
    ]
    made_by = {"rain": "1", "gate_threshold": "1.0", "attack": "pgd(steps=3)", "attack_traits": "traits"}
    path = cells.save(folder, cell, 0, outcomes, made_by)
    return path, json.loads(path.read_text(encoding="utf-8"))


def results(chance: random.Random, folder: Path) -> None:
    """A result file, and the report on it."""
    path, content = written(folder)
    if chance.random() < 0.7:
        for _ in range(chance.choice((1, 1, 2))):
            odd(content, chance)
        try:
            text = json.dumps(content).encode()
            moved = cells.path_of(folder, cells.Cell(**content["cell"]), 0)
        except (TypeError, ValueError, KeyError):
            moved, text = path, b"{}"
        path.unlink()
        moved.parent.mkdir(exist_ok=True)
        moved.write_bytes(text)
    else:
        path.write_bytes(broken(path.read_bytes(), chance))
    loaded = cells.load(folder)
    rows(loaded)
    markdown(loaded)


def galleries(chance: random.Random, folder: Path) -> None:
    """The pictures beside a result."""
    path, _ = written(folder)
    pictures = np.zeros((2, 8, 8, 3), np.uint8)
    arrays: dict[str, Any] = {
        **dict.fromkeys(("clean", "adversarial", "enhanced"), pictures),
        "perturbation": pictures.astype(np.float32),
        "index": np.arange(2),
        "says": np.array([["1 (5 %)"] * 4] * 2),
        "truth": np.array(["1", "2"]),
    }
    if chance.random() < 0.5:
        name = chance.choice(list(arrays))
        shape = chance.choice(((0,), (), (2,), (2, 4), (1, 3000, 3000, 3), (2, 8, 8, 3), (10**6,)))
        arrays[name] = np.zeros(shape, chance.choice(("u1", "f4", "f8", "i8", "U3", "c8", "?")))
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    content = file.getvalue()
    path.with_name("gallery.npz").write_bytes(broken(content, chance) if chance.random() < 0.7 else content)
    loaded = cells.load(folder)
    shown_galleries(loaded, read_galleries(folder, loaded), ["gated"])


def _toml(text: str, chance: random.Random, path: Path) -> Path:
    lines = text.splitlines()
    values = ("[]", "{}", "0x" + "f" * 400, "9" * 5000, "[" * 3000, "nan", "1e400", "2020-01-01", '""', "-1")
    for _ in range(chance.choice((1, 2))):
        place = chance.randrange(len(lines))
        key = lines[place].partition(" = ")[0]
        lines[place] = f"{key} = {chance.choice(values)}"
    if chance.random() < 0.1:
        lines.insert(0, ".".join(["a"] * chance.choice((20, 20_000))) + " = 1")
    content = "\n".join(lines).encode()
    path.write_bytes(content if chance.random() < 0.6 else broken(text.encode(), chance))
    return path


def grids(chance: random.Random, folder: Path) -> None:
    """A grid."""
    grid.read(_toml(GRID, chance, folder / "grid.toml"), examples=chance.choice((None, 1)))


def recipes(chance: random.Random, folder: Path) -> None:
    """A recipe, or a field of it on the command line."""
    path = _toml(RECIPE, chance, folder / "recipe.toml")
    recipe.setting(f"rate={path.read_bytes()[:50].decode('latin-1')}")
    recipe.read(path)


def resumed(chance: random.Random, folder: Path) -> None:
    """The files of a run of training, and of a gate."""
    config = recipe.Config(images=("a",), validation=("b",), distillation=1.0, steps=1)
    table = {"steps": 1, "epochs": 0, "validate_every": 200, "images": ["a"]}
    way = chance.randrange(4)
    if way == 0:
        (folder / log.STATE).write_bytes(b"x")
        (folder / log.RECIPE).write_bytes(broken(json.dumps(odd(table, chance)).encode(), chance))
        log.prepare(folder, config, resume=True)
    elif way == 1:
        line = json.dumps(chance.choice((ODD, {"step": chance.choice(ODD)}, {"step": 1})), default=str)
        (folder / log.LOG).write_bytes(broken(f"{line}\n".encode() * 3, chance))
        log.Journal(folder, config, 2).close()
    elif way == 2:
        numbers = {f"number.{name}": torch.tensor(1) for name in ("step", "best_step", "since_best", "best")}
        numbers[chance.choice(list(numbers))] = chance.choice((torch.zeros(3), torch.tensor(float("nan"))))
        numbers[chance.choice(("optimizer.x", "optimizer.1.2.3", "optimizer.-1.y", "weights."))] = (
            torch.zeros(1)
        )
        parse_checkpoint(numbers, {"measured": json.dumps(chance.choice(ODD))})
    else:
        scores = {"evidence": [3.0, 2.0, 1.0, 0.5, 0.1]}
        gate = {"format": 1, "classifier": "a", "defense": "b", "sizes": [[8, 8]], "pictures": 10}
        gate |= {"disagree": 0.1, "scores": scores, "origin": "x"}
        text = json.dumps(odd(gate, chance) if chance.random() < 0.6 else gate).encode()
        (folder / "gate.json").write_bytes(text if chance.random() < 0.6 else broken(text, chance))
        load_calibration(folder / "gate.json")


def tables(chance: random.Random, folder: Path) -> None:
    """A table of pictures (CSV)."""
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    text = b"file,label,category\na.png,0,cat\na.png,1,\xc3\xa4\n"
    (folder / "labels.csv").write_bytes(broken(text, chance))
    dataset = registry.load_dataset(f"csv:{folder}")
    dataset[0]


def options(chance: random.Random, folder: Path) -> None:
    """Options of plug-ins."""
    kind = chance.choice(("enhancers", "defenses", "attacks"))
    entries = registry.REGISTRIES[kind]
    plain = [name for name in entries.names() if not entries.about(name).argument]
    name = chance.choice([each for each in plain if each not in ("autoattack", "quilting", "ensemble")])
    names = _option_names(entries.get(name))
    if not names:
        return
    value = chance.choice([each for each in ODD if isinstance(each, int | float | str | None)])
    values = {chance.choice(names): value}
    if kind == "enhancers" and "weights" in names:
        values.setdefault("weights", None)
    if kind != "attacks":
        entries.build(name, **values)
        return
    attack = registry.load_attack(name, **values)
    empty = torch.zeros(0, 3, 8, 8)
    attack(lambda batch: batch.flatten(1)[:, :5], empty, torch.zeros(0, dtype=torch.long), eps=0.1, norm="l2")


def _option_names(definition: Callable[..., Any]) -> list[str]:
    import inspect

    parameters = inspect.signature(definition).parameters.values()
    named = [each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    return [name for name in named if name not in registry.CALLED_WITH]


KINDS = {
    each.__name__: each
    for each in (*(images, weights, results, galleries, grids, recipes, resumed, tables, options),)
}

PIECES = (
    "(",
    ")",
    ",",
    "=",
    "+",
    "/",
    ":",
    " ",
    "pgd",
    "rain",
    "jpeg",
    "steps",
    "attack",
    "parts",
    "1",
    "0x",
)
SPECS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=60).map("".join)


def specs_by_hypothesis(count: int, start: int) -> list[str]:
    """Specs out of pieces and letters: how many, and from which seed. Returns what went wrong."""
    findings: list[str] = []

    @seed(start)
    @settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(SPECS)
    def look(spec: str) -> None:
        for entries in (registry.ATTACKS, registry.DEFENSES, registry.ENHANCERS):
            try:
                specs.canonical(spec)
                specs.nesting(spec)
                entries.look_up(spec)
            except RainError:
                continue
            except Exception as error:
                findings.append(f"specs: {spec!r}: {type(error).__name__}: {error}")

    look()
    return findings


def warm_up() -> None:
    """Load the libraries that some plug-ins bring, which takes longer than any case."""
    for name in ("nlm", "jpeg_soft", "wavelet_sr", "quilting", "tv", "rain"):
        with suppress(RainError):
            registry.load_defense(name)
    with suppress(RainError):
        registry.load_attack("corruption")


def attempt(kind: str, number: int, start: int) -> str:
    """Do one case; what went wrong, or nothing."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            KINDS[kind](random.Random(f"{start}/{kind}/{number}"), folder)
    except RainError as error:
        if len(str(error)) > 100_000:
            return f"an error of {len(str(error))} letters"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]!r} ({place.filename}:{place.lineno})"
    finally:
        signal.alarm(0)
        shutil.rmtree(folder, ignore_errors=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return f"{peak} MB" if peak > MEGABYTES else ""


def run_batch(kind: str, numbers: list[int], start: int) -> tuple[int, list[str]]:
    """Do cases in a process of their own: how many were done, and what went wrong."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_AS, (8 * 10**9, 8 * 10**9))
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        for number in numbers:
            fault = attempt(kind, number, start)
            os.write(writer, (json.dumps([number, fault]) + "\n").encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as lines:
        answers = [json.loads(line) for line in lines]
    _, status = os.waitpid(child, 0)
    findings = [f"{kind}:{number}: {fault}" for number, fault in answers if fault]
    done = len(answers)
    if done < len(numbers):
        how = "took too long" if os.WTERMSIG(status) == signal.SIGALRM else f"ended with status {status}"
        findings.append(f"{kind}:{numbers[done]}: {how}")
        done += 1
    return done, findings


def main() -> None:
    """Run cases until there are enough, or the time is over."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="KIND, or KIND:NUMBER for one case")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warm_up()
    name, _, number = arguments.only.partition(":")
    if number:
        KINDS[name](random.Random(f"{arguments.seed}/{name}/{number}"), Path(tempfile.mkdtemp()))
        return
    kinds = [name] if name else list(KINDS)
    end, counts, findings = time.monotonic() + 60 * arguments.minutes, Counter[str](), []
    if not name:
        counts["specs"] = arguments.cases // 10
        findings += specs_by_hypothesis(counts["specs"], arguments.seed)
    while counts.total() < arguments.cases and time.monotonic() < end:
        kind = min(kinds, key=lambda each: counts[each])
        done, faults = run_batch(kind, list(range(counts[kind], counts[kind] + BATCH)), arguments.seed)
        counts[kind] += done
        findings += faults
        for fault in faults:
            print(fault, flush=True)
    print(", ".join(f"{kind} {count}" for kind, count in sorted(counts.items())))
    print(f"{counts.total()} cases, {len(findings)} findings")
    for finding in findings:
        print(finding)
    raise SystemExit(1 if findings else 0)


if __name__ == "__main__":
    main()
