"""Odd options: each is a clear error that says what to change, in text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hostile_tries import photos
from hostile_tries.tiny import MODEL
from hostile_tries.tries import Try

#: Values that are an error of the request, by option, for `explain`.
BAD: dict[str, tuple[str, ...]] = {
    "--size": ("0", "-1", "1.5", "abc", " ", "1e3", "0x10"),
    "--mean": ("-1", "2", "abc", "0.5,0.5", "0.1,0.2,0.3,0.4", "nan", "inf", ",", "0.5;0.5",
        "1e400"),
    "--std": ("0", "-1", "abc", "nan", "inf", "0.1,0,0.1", "0.5,0.5", ",,", "2"),
    "--device": ("gpu", "cuda:99", "cpu:9:9", "meta", " ", "-1", "CUDA", "xla", "mps:77"),
    "--dtype": ("int8", "float", "32", " ", "complex64", "Float32"),
    "--batch": ("0", "-5", "x", "1.5"),
    "--topk": ("0", "-1", "many", "1e9"),
    "--chunk": ("0", "-1", "x"),
    "--layer": ("nothing", "0.0", "-1", "99", " ", ".", "0..1", "[0]", "0[", "2#7", "\x1b[31m",
        "6", "x" * 5000),
    "--method": ("gradcams", "grad cam", " ", ":", "gradcam:x=1", "rise:masks=0", "rise:masks=-1",
        "rise:masks=x", "rise:masks=", "rise:=5", "rise:masks", "GRADCAMS:", "rise:keep=2",
        "rise:keep=nan", "rise:cells=0", "all", "integrated-gradients:steps=0",
        "smoothgrad:noise=-1", "smoothgrad:samples=0", "occlusion:patch=0", "occlusion:patch=9",
        "occlusion:stride=0", "\x1b[31m", "[red]", "kernelshap:segments=0", "rise:seed=x",
        "centre:width=0", "gradcam;ls", "../gradcam"),
    "--views": ("flip", "noise:samples=0", "noise:samples=-1", "scales:count=0", ":", "x", " ",
        "flips:x=1", "noise:samples=x"),
    "--fuse": ("sum", " ", "Mean", "0"),
    "--target": ("4", "-5", "99999999999999999999", "elephants", " ", "1.5", "nan", "\x1b[31m",
        "[red]"),
    "--against": ("4", "elephants", " ", "-9"),
    "--box": ("1,2,3", "a,b,c,d", "1,2,3,4,5", "nan,0,1,1", ",,,", "0,0,9,9", "9,9,0,0"),
    "--pixel": ("1", "a,b", "1,2,3", "-1,-1", "1,1", "nan,1"),
    "--format": ("bmp", "gif", " ", "PNG ", "tiff", "exe"),
    "--picture": ("figures", " ", "photo"),
    "--colormap": ("nothing", " ", "jet2", "[red]", "\x1b[31m"),
    "--out": ("/dev/null/x", "/proc/nothing/x", "good.exe", "taken.txt", "taken.txt/x"),
    "--classes": ("nowhere.txt", "/", "/dev/null", "binary.txt"),
}  # fmt: skip
#: Pairs that do not go together, or may; what matters is that they are told.
PAIRS = (
    "--topk 2 --target cat", "--topk 2 --against dog", "--counterfactual --against dog",
    "--topk 99", "--box 0,0,9,9 --pixel 1,1", "--layer 0 --layer 0",
    "--layer 0 --fuse max", "--fuse max", "--layer 0 --layer 2 --method saliency",
    "--eigen --method saliency", "--eigen --method random",
    "--views flips --method random", "--views scales:count=3", "--method rollout",
    "--method rollout --layer 0", "--method cam --layer 0", "--method legrad",
    "--format npz --picture overlay", "--out x.png --format pdf",
    "--out x.png --topk 2", "--target cat --target cat", "--target cat --target 2",
    "--size 1", "--size 2", "--size 3", "--dtype float16", "--dtype bfloat16",
    "--dtype float64", "--batch 99999999", "--chunk 99999999",
    "--colormap jet --picture heatmap", "--method random --layer 0", "--method centre",
    "--against cat --target cat", "--against similar", "--counterfactual",
    "--mean 0 --std 1", "--std 1e-30", "--weights none", "--weights default",
    "--target 0 --against 0", "--method guided-backprop --layer 0",
    "--method fullgrad --layer 0", "--views noise:samples=1", "--json --json",
    "--size 64 --size 32", "--compile --method random", "--", "--help",
)  # fmt: skip
#: Whole lines; GOOD stands for a photo, and TINY for the network.
LINES = (
    "", "--version", "--nothing", "nothing", "explian GOOD",
    "explain GOOD --nothing", "explain GOOD --topk", "explain --picture",
    "explain GOOD -z", "explain GOOD TINY --out=", "measure GOOD TINY --methods ,",
    "measure GOOD TINY --methods gradcams",
    "measure GOOD TINY --methods gradcam --metrics nothing",
    "measure GOOD TINY --methods gradcam --metrics insertion:steps=0",
    "measure GOOD TINY --methods gradcam --metrics insertion:steps=x",
    "measure GOOD TINY --methods gradcam --metrics pointing-game",
    "measure GOOD TINY --methods gradcam --metrics road:noise=-1",
    "measure GOOD TINY --methods gradcam --metrics infidelity:samples=0",
    "measure GOOD TINY --methods gradcam --boxes nowhere.csv",
    "measure GOOD TINY --methods gradcam --boxes taken.txt",
    "measure GOOD TINY --methods gradcam --boxes binary.txt",
    "measure GOOD TINY --methods gradcam --masks nowhere",
    "measure GOOD TINY --methods gradcam --masks taken.txt",
    "measure GOOD TINY --methods gradcam --boxes taken.txt --masks taken.txt",
    "measure GOOD TINY --methods gradcam --names nowhere.txt",
    "measure GOOD TINY --methods gradcam --match nowhere.csv",
    "measure GOOD TINY --methods gradcam --mask-value -1",
    "measure GOOD TINY --methods gradcam --target elephants",
    "measure GOOD TINY --methods gradcam --layer nothing",
    "measure GOOD TINY --methods gradcam --out taken.txt",
    "measure GOOD TINY --methods gradcam --out /dev/null/x",
    "choose", "choose GOOD TINY", "choose GOOD TINY --methods nothing",
    "choose GOOD TINY --methods ,", "choose GOOD TINY --metrics nothing",
    "choose GOOD TINY --metrics sparseness", "choose GOOD TINY --metrics pointing-game",
    "choose GOOD TINY --layer nothing", "choose GOOD TINY --target elephants",
    "choose GOOD TINY --budget 0", "choose GOOD TINY --budget nan",
    "choose GOOD TINY --budget -1", "choose GOOD TINY --seed -1",
    "choose GOOD TINY --boxes nowhere.csv", "choose GOOD TINY --names nowhere.txt",
    "choose GOOD TINY --boxes taken.txt --masks taken.txt", "choose nowhere TINY",
    "choose GOOD TINY --out taken.txt", "choose GOOD TINY --out /dev/null/x",
    "compare GOOD TINY --methods nothing", "compare GOOD TINY --methods rollout",
    "compare GOOD TINY --methods gradcam --layer nothing",
    "compare GOOD TINY --methods :",
    "compare GOOD TINY --methods gradcam --target elephants",
    "compare GOOD TINY --methods gradcam --measure --metrics nothing",
    "compare GOOD TINY --methods gradcam --metrics insertion:steps=0",
    "compare GOOD TINY --methods gradcam --out x.exe",
    "sanity GOOD TINY --methods random --steps 0", "sanity GOOD TINY --methods nothing",
    "sanity GOOD TINY --methods gradcam --steps -3", "walkthrough GOOD TINY --lang fr",
    "walkthrough GOOD TINY --method saliency", "walkthrough GOOD TINY --method nothing",
    "walkthrough GOOD TINY --beside nothing", "walkthrough GOOD GOOD TINY",
    "walkthrough GOOD TINY --out x.png", "walkthrough GOOD TINY --layer x",
    "walkthrough GOOD TINY --target elephants",
    "walkthrough GOOD TINY --out /dev/null/x.html", "trace GOOD TINY --layer nothing",
    "trace GOOD TINY --channel 99", "trace GOOD TINY --channel -1",
    "trace GOOD TINY --window 0", "trace GOOD TINY --save bmp",
    "trace GOOD TINY --save npz --out taken.txt", "trace GOOD GOOD TINY",
    "concepts GOOD TINY --count 0", "concepts GOOD TINY --count 9999",
    "concepts GOOD TINY --out x.exe", "layers TINY --photo nowhere.jpg",
    "layers TINY GOOD", "layers --model nothing", "models --nothing",
    "layers TINY --photo GOOD --out x.exe", "models [", "models nothing-like-this",
    "models a b", "methods x", "metrics x",
)  # fmt: skip
#: Of LINES those that may well end with 0.
FINE = (
    "explain GOOD TINY --out=", "--version", "models [", "models nothing-like-this",
    "concepts GOOD TINY --count 9999", "compare GOOD TINY --methods rollout",
    "walkthrough GOOD TINY --method saliency", "",
)  # fmt: skip


def tries(work: Path) -> Iterator[Try]:
    """Yield them."""
    good = photos.good(work / "good")
    for one in _all(good):
        yield one
        if one.argv and one.argv[0] not in {"concepts", "--version", "--nothing", "nothing"}:
            yield replace(one, name=f"{one.name} --json", argv=_with_json(one.argv))


def _with_json(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The option goes first: an option without its value must stay the last."""
    return argv[0], "--json", *argv[1:]


def _all(good: str) -> Iterator[Try]:
    explain = ("explain", good, *MODEL, "--picture", "overlay")
    for option, values in BAD.items():
        for value in values:
            yield Try(
                f"{option} {value[:30]!a}",
                (*explain, option, value),
                codes=(2,),
                files=TEXTS,
                setup=_binary,
            )
    for line in PAIRS:
        yield Try(f"explain {line}", (*explain, *line.split()), codes=(0, 1, 2), seconds=120)
    for line in LINES:
        codes = (0, 1, 2) if line in FINE else (2,)
        argv = line.replace("TINY", " ".join(MODEL)).split()
        filled = tuple(good if word == "GOOD" else word for word in argv)
        yield Try(line or "no command", filled, codes=codes, files=TEXTS, setup=_binary)


TEXTS = {"taken.txt": "taken\n"}


def _binary() -> None:
    Path("binary.txt").write_bytes(b"\xff\x00\x01\n" * 99)
