"""What does extraction cost, beside what users would pick? MiniLM over texts, EfficientNet-Lite0 over images.

    python bench/extraction_domains.py [--peers ...] [--repeats 1] [--texts 5000] [--images 2000] [--threads 1]
    python bench/extraction_domains.py --peers "timm channels_last 64" --timm-python ENV/bin/python

Texts: the first 5000 film snippets of the nlp demo, from strings to embeddings, tokenisation included, against
``SentenceTransformer.encode`` at the best of three batch sizes. Images: crops of two photographs as JPEG files of
320 x 320 pixels, from files to features, against a loop over timm's model at its best batch size, with torchvision's
ImageFolder and a DataLoader of two workers, in an environment of its own (torch 2.14.1, torchvision 0.29.1). Every
measurement runs in a process of its own after a warm-up; what was measured before is kept, and repeats add to it.
Compared are seconds of processor time a row, which a busy machine leaves as they are where there is one thread. Cosines
are those with the peer's features.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import RESULTS, machine, publish

NAME = "extraction_domains"
TITLE = "Extraction from raw rows"
TEXTS = ("tlplat", "tlplat bf16", "st 32", "st 64", "st 128", "st bf16 32", "st bf16 64", "st bf16 128")
IMAGES = ("tlplat images", "tlplat images bf16", "timm 64", *(f"timm channels_last {n}" for n in (4, 16, 64, 256)))
WORK = Path(tempfile.gettempdir()) / "tlplat-bench-extraction"
SIDE = 320
"""Pixels of an image file."""
WARM = 200


class Watch:
    """Seconds of wall time, and of processor time of this process and of children that have ended."""

    def __init__(self) -> None:
        self.begin = self.now()

    def now(self) -> tuple[float, float]:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return time.perf_counter(), sum(u.ru_utime + u.ru_stime for u in used)

    def read(self) -> dict[str, float]:
        wall, cpu = (b - a for a, b in zip(self.begin, self.now(), strict=True))
        return {"seconds": wall, "cpu": cpu}


def snippets(count: int) -> list[str]:
    from tlplat_nlp.assets import KINDS

    from tlplat.assets import fetch
    from tlplat.cache import cache_root

    lines = fetch(KINDS["movies"].asset, cache_root()).read_text(encoding="utf-8").splitlines()
    return [line.split("\t", 2)[2].strip() for line in lines[:count]]


def context() -> Any:
    from tlplat import plugins
    from tlplat.cache import cache_root
    from tlplat.domain import DomainContext

    registry = plugins.load("tlplat.domains", ["nlp", "vision"])
    return DomainContext(registry, cache_root(), threads=torch.get_num_threads())


def store(given: Any, folder: str, precision: Any) -> Any:
    """A feature cache of its own, empty."""
    from tlplat.cache import TensorCache
    from tlplat.features import FeatureStore

    return FeatureStore(TensorCache(Path(folder), print), given.registry, precision=precision)


def our_texts(precision: str, texts: list[str]) -> tuple[dict[str, float], torch.Tensor]:
    from tlplat_nlp.preprocess import TextPreprocess
    from tlplat_nlp.sources import minilm

    given = context()
    source = minilm(given, 128)
    with tempfile.TemporaryDirectory() as folder:
        made, how = store(given, folder, precision), TextPreprocess.from_json(source.preprocess)
        made.features(source, how.encode(texts[-WARM:])[0])
        watch = Watch()
        inputs, _ = how.encode(texts)
        prepared = watch.read()["cpu"]
        z = made.features(source, inputs)
        return {**watch.read(), "prepared": prepared}, z


def st_texts(bf16: bool, batch: int, texts: list[str]) -> tuple[dict[str, float], torch.Tensor]:
    from sentence_transformers import SentenceTransformer, models
    from tlplat_nlp.assets import MINILM_CONFIG, MINILM_TOKENIZER, MINILM_WEIGHTS

    from tlplat.assets import fetch
    from tlplat.cache import cache_root

    with tempfile.TemporaryDirectory() as folder:
        for asset, name in (
            (MINILM_CONFIG, "config.json"),
            (MINILM_TOKENIZER, "tokenizer.json"),
            (MINILM_WEIGHTS, "model.safetensors"),
        ):
            (Path(folder) / name).symlink_to(fetch(asset, cache_root()))
        network = models.Transformer(folder, max_seq_length=128)
        model = SentenceTransformer(modules=[network, models.Pooling(384)], device="cpu")
    if bf16:
        model.to(torch.bfloat16)
    options = {"batch_size": batch, "convert_to_tensor": True, "show_progress_bar": False}
    model.encode(texts[-WARM:], **options)
    watch = Watch()
    z = model.encode(texts, **options)
    return watch.read(), z.float()


def photographs(count: int) -> Path:
    """Crops of scikit-learn's two sample photographs as JPEG files, made once."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    folder = WORK / f"images-{count}"
    if not (folder / "done").exists():
        (folder / "all").mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        pictures = [Image.fromarray(image) for image in load_sample_images().images]
        for i in range(count):
            picture = pictures[i % 2]
            left, top = (int(rng.integers(0, n - SIDE)) for n in picture.size)
            crop = picture.crop((left, top, left + SIDE, top + SIDE))
            crop.save(folder / "all" / f"{i:05}.jpg", quality=90)
        (folder / "done").touch()
    return folder


def our_images(precision: str, count: int) -> tuple[dict[str, float], torch.Tensor]:
    import dataclasses

    from tlplat_vision import userdata
    from tlplat_vision.imagenet import load_imagenet
    from tlplat_vision.images import Limits
    from tlplat_vision.preprocess import Preprocess
    from tlplat_vision.records import Columns

    given, folder = context(), photographs(count) / "all"
    source = load_imagenet(given)
    how = Preprocess.from_json(source.preprocess)
    with tempfile.TemporaryDirectory() as cache:
        given = dataclasses.replace(given, cache=Path(cache))
        made = store(given, cache, precision)
        rows = userdata.read_rows([folder], Columns(), given, labelled=False)
        few = dataclasses.replace(rows, records=rows.records[:32], content="few")
        made.features(source, userdata.inputs_of(few, how, Limits(), given))
        watch = Watch()
        rows = userdata.read_rows([folder], Columns(), given, labelled=False)
        inputs = userdata.inputs_of(rows, how, Limits(), given)
        prepared = watch.read()["cpu"]
        z = made.features(source, inputs)
        return {**watch.read(), "prepared": prepared}, z


def timm_weights() -> Path:
    """The ImageNet weights under timm's names, for the other environment."""
    from safetensors.torch import save_file
    from tlplat_vision.efficientnet import EfficientNetLite
    from tlplat_vision.imagenet import load_imagenet
    from tlplat_vision.litenames import SCHEMES, own

    path = WORK / "lite0.safetensors"
    if not path.exists():
        pairs = zip(own(EfficientNetLite()), SCHEMES["timm"].layers(), strict=True)
        names = {mine: theirs for ours, others in pairs for mine, theirs in zip(ours, others, strict=True)}
        source = load_imagenet(context())
        state = {
            f"{names[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}": v.contiguous() for k, v in source.state.items()
        }
        WORK.mkdir(parents=True, exist_ok=True)
        save_file(state, path)
    return path


def timm_images(last: bool, batch: int, folder: str, weights: str) -> tuple[dict[str, float], torch.Tensor]:
    """As its documentation has it: the model's own transform, inference mode."""
    import timm
    from safetensors.torch import load_file
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    net = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0).eval()
    net.load_state_dict(load_file(weights))
    net = net.to(memory_format=torch.channels_last) if last else net
    how = timm.data.create_transform(**timm.data.resolve_model_data_config(net), is_training=False)
    loader = DataLoader(ImageFolder(folder, transform=how), batch_size=batch, num_workers=2)
    with torch.inference_mode():
        net(torch.zeros(batch, 3, 224, 224))
        watch = Watch()
        parts = []
        for images, _ in loader:
            parts.append(net(images.to(memory_format=torch.channels_last) if last else images))
        del loader  # its workers end here, and are counted
        return watch.read(), torch.cat(parts)


def measure(peer: str, count: int, rest: list[str]) -> None:
    """In the child: print what was found, and leave the features for the cosine."""
    if peer.startswith("st"):
        *_, batch = peer.split()
        found, z = st_texts("bf16" in peer, int(batch), snippets(count))
    elif peer.startswith("timm"):
        found, z = timm_images("channels_last" in peer, int(peer.split()[-1]), *rest)
    elif "images" in peer:
        found, z = our_images("bf16" if "bf16" in peer else "full", count)
    else:
        found, z = our_texts("bf16" if "bf16" in peer else "full", snippets(count))
    WORK.mkdir(parents=True, exist_ok=True)
    np.save(WORK / f"{peer.replace(' ', '-')}-{count}.npy", z.numpy())
    print(json.dumps({**found, "torch": torch.__version__}))


def cosine(peer: str, rival: str, count: int) -> float:
    """Least cosine of a row's features with the rival's; NaN where one of them was not measured here."""
    paths = [WORK / f"{name.replace(' ', '-')}-{count}.npy" for name in (peer, rival)]
    if not all(path.exists() for path in paths):
        return float("nan")
    a, b = (torch.from_numpy(np.load(path)).double() for path in paths)
    return float(torch.nn.functional.cosine_similarity(a, b, dim=1).min())


def rows_of(measured: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a peer; a peer is compared, a row of data each, with the fastest rival of its precision."""
    rows = []

    def each(peer: str) -> float:
        return statistics.median(measured[peer]["cpu"]) / float(measured[peer]["rows"])

    for what, peers in (("texts", TEXTS), ("images", IMAGES)):
        half = {p: ("bf16" in p) for p in peers}
        rivals = [p for p in peers if p in measured and p.startswith(("st", "timm"))]
        for peer in (p for p in peers if p in measured):
            times = measured[peer]["cpu"]
            same = [r for r in rivals if half[r] == half[peer]] or rivals
            best = min(same, key=each, default=None)
            ours = peer.startswith("tlplat")
            gain = each(best) / each(peer) if best and ours else None
            rows.append(
                {
                    "rows": f"{measured[peer]['rows']} {what}",
                    "peer": re.sub("^st ", "sentence-transformers ", peer),
                    "cpu s [least, most]": f"{statistics.median(times):.1f} [{min(times):.1f}, {max(times):.1f}]",
                    "least wall s": f"{min(measured[peer]['seconds']):.1f}",
                    "runs": len(times),
                    "of it reading": f"{measured[peer]['prepared']:.1f}" if "prepared" in measured[peer] else "",
                    "rival / peer": "" if gain is None else f"{gain:.2f}",
                    "least cosine": f"{measured[peer]['cosine']:.5f}" if ours and "cosine" in measured[peer] else "",
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="+", default=[*TEXTS, *IMAGES[:2]], choices=[*TEXTS, *IMAGES])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--texts", type=int, default=5000)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--timm-python", help="python of an environment with timm and torchvision")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.child:
        peer, count, *rest = args.child
        measure(peer, int(count), rest)
        return
    path, runs = RESULTS / f"{NAME}.json", []
    sizes = {"texts": args.texts, "images": args.images}
    env = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    for peer in [p for p in args.peers for _ in range(args.repeats)]:
        count, python, rest = sizes["images" if peer in IMAGES else "texts"], sys.executable, []
        if peer.startswith("timm"):
            python, rest = args.timm_python or sys.executable, [str(photographs(count)), str(timm_weights())]
        child = [python, __file__, "--threads", str(args.threads), "--child", peer, str(count), *rest]
        printed = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True, env=env).stdout
        runs.append((peer, {**json.loads(printed.splitlines()[-1]), "rows": count}))
    measured: dict[str, dict[str, Any]] = {}
    if path.exists() and not args.fresh:
        measured = json.loads(path.read_text(encoding="utf-8"))["about"]["measured"]
    for peer, found in runs:
        before = measured.get(peer, {"seconds": [], "cpu": []})
        measured[peer] = {**found, **{k: [*before[k], found[k]] for k in ("seconds", "cpu")}}
    for peer in measured:
        if peer.startswith("tlplat"):
            rival = "timm channels_last 64" if peer in IMAGES else "st 32"
            near = cosine(peer, rival, sizes["images" if peer in IMAGES else "texts"])
            measured[peer] |= {} if np.isnan(near) else {"cosine": near}
    about = {**machine(), "threads": args.threads}
    columns = [
        "rows",
        "peer",
        "cpu s [least, most]",
        "least wall s",
        "runs",
        "of it reading",
        "rival / peer",
        "least cosine",
    ]
    publish(NAME, TITLE, columns, rows_of(measured), about)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["about"]["measured"] = measured
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
