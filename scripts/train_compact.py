"""Train ``compact``: first for PSNR, then label-free through a frozen classifier. Resumes where it was stopped.

    python scripts/train_compact.py --images DIR [--images DIR ...] --sharp DIR --validation DIR --out runs/compact

Phase 1 (psnr): L1 between DG(SRd(x)) and x on crops of ``--sharp``, pictures without visible compression.
Phase 2 (accuracy): KL divergence from the classifier's answer to the clean image to its answer to DG(SRd(x)), plus an L1 term, on ``--images`` and
``--sharp``. No label is read. The classifier stays frozen, weights and batch-norm statistics.

Run it with MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=4000000000: on two cores that is 1.5 times as fast.
"""

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rain import checkpoints
from rain.enhancers.compact import Compact
from rain.evaluate import revision
from rain.images import centre_crop, read_image, resize_shorter
from rain.randomize import draw_choice, draw_offsets, pick, shift
from rain.registry import CLASSIFIERS

SIDE = 224


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, action="append", default=[], help="folder of pictures, searched recursively; may be repeated")
    parser.add_argument("--sharp", type=Path, required=True, help="folder of pictures without visible compression")
    parser.add_argument("--validation", type=Path, required=True, help="folder of pictures that choose nothing but the log; never the test set")
    parser.add_argument("--classifier", default="efficientnet_lite0")
    parser.add_argument("--out", type=Path, default=Path("runs/compact"))
    parser.add_argument("--psnr-steps", type=int, default=3000)
    parser.add_argument("--accuracy-steps", type=int, default=2400)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--pixel-weight", type=float, default=2.0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    log = (arguments.out / "log.jsonl").open("a")

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = CLASSIFIERS.build(arguments.classifier).to(device).to(memory_format=torch.channels_last).requires_grad_(False)
    sharp = [to_bytes(read_image(path)) for path in pictures(arguments.sharp)]
    images = [to_bytes(square(read_image(path))) for folder in arguments.images for path in pictures(folder)]
    validation = torch.stack([square(read_image(path)) for path in pictures(arguments.validation)[::5]])[:200]
    print(f"{len(sharp)} sharp, {len(images)} other, {len(validation)} validation images on {device}")

    torch.manual_seed(0)
    network = Compact(weights=None).to(device).to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998))
    optimizer = torch.optim.Adam(network.parameters(), lr=arguments.rate)
    generator = torch.Generator().manual_seed(0)
    total, step = arguments.psnr_steps + arguments.accuracy_steps, 0
    state_file = arguments.out / "state.safetensors"
    if state_file.is_file():
        step = restore(state_file, network, average, optimizer, generator)
        print(f"resumed at step {step}")

    begin, first = time.monotonic(), step
    while step < total:
        psnr_phase = step < arguments.psnr_steps
        if step == arguments.psnr_steps:
            begin, first = time.monotonic(), step
        done, length = (step, arguments.psnr_steps) if psnr_phase else (step - arguments.psnr_steps, arguments.accuracy_steps)
        for group in optimizer.param_groups:
            group["lr"] = arguments.rate * min(1, (done + 1) / 50) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done / length)))
        if psnr_phase:
            clean = torch.stack([crop(draw_from(sharp, generator), 96, generator) for _ in range(arguments.batch)])
        else:
            sources = [sharp if not images or i % 4 == 0 else images for i in range(arguments.batch)]
            clean = torch.stack([zoom(draw_from(source, generator), generator) for source in sources])
        clean = clean.to(device, memory_format=torch.channels_last)
        restored, target = defend(network, clean, generator)
        pixel = F.l1_loss(restored, target)
        divergence = pixel.new_zeros(()) if psnr_phase else kl(classifier, clean, restored)
        loss = divergence + pixel * (1 if psnr_phase else arguments.pixel_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(network)
        step += 1
        if step % 20 == 0 or step == total:
            left = (time.monotonic() - begin) / (step - first) * ((arguments.psnr_steps if psnr_phase else total) - step) / 60
            row = {"step": step, "phase": "psnr" if psnr_phase else "accuracy", "pixel": pixel.item(), "divergence": divergence.item()}
            print(json.dumps(row), f"{left:.0f} min left in this phase", flush=True)
            log.write(json.dumps(row) + "\n")
        if step % 200 == 0 or step == total:
            keep(state_file, step, network, average, optimizer, generator)
            measured = {"step": step, **validate(average.module, classifier, validation, device)}
            print("validation", json.dumps(measured), flush=True)
            log.write(json.dumps(measured) + "\n")
            log.flush()
            card = {
                "data": ", ".join(str(folder.name) for folder in (arguments.sharp, *arguments.images)) + "; no labels",
                "licence": "Apache-2.0",
                "command": " ".join(["python", *sys.argv]),
                "commit": revision(),
                "validation": json.dumps(measured),
            }
            checkpoints.save(average.module, arguments.out / "compact.safetensors", card)


def pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))


def square(image: Tensor) -> Tensor:
    return centre_crop(resize_shorter(image[None], SIDE), SIDE)[0]


def to_bytes(image: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8)


def draw_from(images: list[Tensor], generator: torch.Generator) -> Tensor:
    return images[int(torch.randint(len(images), (), generator=generator))]


def crop(image: Tensor, side: int, generator: torch.Generator) -> Tensor:
    top, left = (int(torch.randint(extent - side + 1, (), generator=generator)) for extent in image.shape[1:])
    piece = image[:, top : top + side, left : left + side].float() / 255
    return piece.flip(2) if torch.rand((), generator=generator) < 0.5 else piece


def zoom(image: Tensor, generator: torch.Generator) -> Tensor:
    """The whole picture half the time, else a random square of it, enlarged or reduced to 224."""
    short = min(image.shape[1:])
    part = 1.0 if torch.rand((), generator=generator) < 0.5 else 0.5 + 0.5 * float(torch.rand((), generator=generator))
    piece = crop(image, int(short * part), generator)
    return resize_shorter(piece[None], SIDE)[0]


def defend(network: nn.Module, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """DG(SRd(x)), and x shifted as SRd shifted it."""
    low = pick(clean, draw_choice(clean, generator))
    offsets = draw_offsets(low, generator)
    return network(shift(low, offsets)), shift(clean, 2 * offsets)


def kl(classifier: nn.Module, clean: Tensor, restored: Tensor) -> Tensor:
    with torch.no_grad():
        wanted = classifier(clean).log_softmax(1)
    return F.kl_div(classifier(restored).log_softmax(1), wanted, reduction="batchmean", log_target=True)


@torch.no_grad()
def validate(network: nn.Module, classifier: nn.Module, images: Tensor, device: torch.device) -> dict[str, float]:
    generator = torch.Generator().manual_seed(1)
    agree, divergence, error = 0.0, 0.0, 0.0
    for batch in images.split(20):
        batch = batch.to(device, memory_format=torch.channels_last)
        restored, target = defend(network, batch, generator)
        clean, answer = classifier(batch), classifier(restored)
        agree += (clean.argmax(1) == answer.argmax(1)).sum().item()
        divergence += F.kl_div(answer.log_softmax(1), clean.log_softmax(1), reduction="sum", log_target=True).item()
        error += F.mse_loss(restored, target).item() * len(batch)
    count = len(images)
    return {"agreement": agree / count, "kl": divergence / count, "psnr": -10 * math.log10(error / count)}


def keep(path: Path, step: int, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> None:
    """Write all that a resumed run needs, atomically, as safetensors."""
    from safetensors.torch import save_file

    tensors = {"step": torch.tensor(step), "generator": generator.get_state()}
    tensors |= {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    temporary = path.with_suffix(".tmp")
    save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, temporary)
    os.replace(temporary, path)


def restore(path: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> int:
    tensors, _ = checkpoints.read(path)

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    network.load_state_dict(part("network."))
    average.load_state_dict(part("average."))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in part("optimizer.").items():
        index, slot = name.split(".")
        state.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    generator.set_state(tensors["generator"])
    return int(tensors["step"])


if __name__ == "__main__":
    main()
