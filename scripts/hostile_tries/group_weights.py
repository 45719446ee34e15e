"""Weights files: of a wrong kind, damaged, malicious."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from hostile_tries import photos, tiny
from hostile_tries.contract import PWNED
from hostile_tries.tries import Ran, Try


class Malicious:
    """Runs a command where it is unpickled without care."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {PWNED}",)


def tries(work: Path) -> Iterator[Try]:
    """Yield them."""
    good = photos.good(work / "good")
    folder = work / "files"
    folder.mkdir()
    state = dict(tiny.network().state_dict())
    refused, loaded = (1, 2), (0,)
    rows: dict[str, tuple[bytes, tuple[int, ...]]] = {}
    with warnings.catch_warnings(action="ignore"):  # torch's, of sparse and quantised tensors
        for name, changed in _kinds(state).items():
            rows[f"{name}.pth"] = packed(changed), refused
    for name, changed in _fine(state).items():
        rows[f"{name}.pth"] = packed(changed), loaded
    rows.update({name: (data, refused) for name, data in _damaged(packed(state)).items()})
    rows.update({name: (data, refused) for name, data in _malicious(state).items()})
    rows.update({name: (data, refused) for name, data in _safetensors(state).items()})
    rows["fine.safetensors"] = safe(state), loaded
    for name, (data, codes) in rows.items():
        (folder / name).write_bytes(data)
        for more in ((), ("--json",)):
            yield _explain(f"{name} {''.join(more)}", good, str(folder / name), codes, *more)
    yield from _not_finite(folder, good, state)
    yield from _places(folder, good)


def _explain(name: str, good: str, path: str, codes: tuple[int, ...], *more: str) -> Try:
    argv = ("explain", good, *tiny.MODEL, "--picture", "overlay", "--weights", path, *more)
    never = ("more than tensors",) if "cut-2." in name else ()
    return Try(name, argv, codes=codes, also=_no_pictures, never=never)


def _no_pictures(ran: Ran) -> Iterator[str]:
    """Where weights are refused nothing is drawn with others."""
    if ran.code and any(ran.folder.glob("limelight-out/*")):
        yield "no picture of other weights; one was written"


def packed(what: Any, **how: Any) -> bytes:
    """What torch.save writes."""
    file = io.BytesIO()
    torch.save(what, file, **how)
    return file.getvalue()


def _fine(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {
        "same": state,
        "half": {key: value.half() for key, value in state.items()},
        "bfloat16": {key: value.bfloat16() for key, value in state.items()},
        "double": {key: value.double() for key, value in state.items()},
        "parameters": {key: torch.nn.Parameter(value) for key, value in state.items()},
        "nested": {"state_dict": state, "epoch": 3},
        "strided": {
            key: value.t().contiguous().t() if value.ndim == 2 else value
            for key, value in state.items()
        },
    }


def _kinds(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """States that do not fit, one way or another."""
    weight = "0.weight"

    def every(change: Callable[[torch.Tensor], Any]) -> dict[str, Any]:
        return {key: change(value) for key, value in state.items()}

    def one(value: Any, key: str = weight) -> dict[str, Any]:
        return {**state, key: value}

    matrix = state["6.weight"]
    return {
        "int32": every(lambda value: value.int()),
        "int8": every(lambda value: value.to(torch.int8)),
        "bool": every(lambda value: value.bool()),
        "complex": every(lambda value: value.to(torch.complex64)),
        "one-int": one(state[weight].int()),
        "one-bool": one(state[weight].bool()),
        "one-complex": one(state[weight].to(torch.complex64)),
        "sparse": one(matrix.to_sparse(), "6.weight"),
        "sparse-csr": one(matrix.to_sparse_csr(), "6.weight"),
        "quantised": one(torch.quantize_per_tensor(state[weight], 0.1, 0, torch.qint8)),
        "meta": every(lambda value: value.to("meta")),
        "one-meta": one(state[weight].to("meta")),
        "missing": {key: value for key, value in state.items() if key != weight},
        "extra": {**state, "more.weight": torch.zeros(3)},
        "shape": one(torch.zeros(8, 3, 5, 5)),
        "empty-tensor": one(torch.zeros(0)),
        "scalar": one(torch.tensor(1.0)),
        "other": {f"layer.{number}": torch.zeros(3) for number in range(500)},
        "escape-key": {**state, "\x1b]0;owned\x07\x1b[31m": torch.zeros(3)},
        "newline-key": {**state, "a\nb[red]": torch.zeros(3)},
        "long-key": {**state, "k" * 100_000: torch.zeros(3)},
        "int-keys": dict(enumerate(state.values())),
        "none-value": one(None),
        "text-value": one("weights"),
        "list-value": one([1.0, 2.0]),
        "nothing": {},
        "list": list(state.values()),
        "tensor": state[weight],
        "number": 5,
        "none": None,
        "text": "weights",
        "nested-empty": {"state_dict": {}},
        "nested-text": {"state_dict": "weights"},
    }


def _damaged(whole: bytes) -> dict[str, bytes]:
    made = {f"cut-{length}.pth": whole[:length] for length in (0, 1, 2, 4, 10, 100)}
    made |= {f"cut-at-{share}.pth": whole[: int(len(whole) * share)] for share in (0.3, 0.7, 0.99)}
    made["cut-last.pth"] = whole[:-1]
    made["zeros.pth"] = bytes(5000)
    made["text.pth"] = b"version https://git-lfs.github.com/spec/v1\n"
    made["html.pth"] = b"<!doctype html><title>404</title>"
    made["gzip.pth"] = gzip.compress(whole)
    made["photo.pth"] = photos.encode(photos.draw())
    for name in ("text", "pth-called", "photo"):
        made[f"{name}.safetensors"] = whole if name == "pth-called" else made[f"{name}.pth"]
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w"):
        pass
    made["zip-empty.pth"] = empty.getvalue()
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/version", "3\n")
        file.writestr("archive/data.pkl", bytes(600_000_000))
    made["zip-bomb.pth"] = bomb.getvalue()
    return made


def _malicious(state: dict[str, torch.Tensor]) -> dict[str, bytes]:
    evil = {**state, "evil": Malicious()}
    command = f"touch {PWNED}".encode()
    return {
        "evil-zip.pth": packed(evil),
        "evil-legacy.pth": packed(evil, _use_new_zipfile_serialization=False),
        "evil-raw.pth": pickle.dumps(Malicious()),
        "evil-protocol-4.pth": pickle.dumps(evil, protocol=4),
        "evil-global.pth": b"cos\nsystem\n(S'" + command + b"'\ntR.",
        "evil-eval.pth": b'c__builtin__\neval\n(S\'__import__("os").system("'
        + command
        + b"\")'\ntR.",
        "evil.pt": packed(Malicious()),
        "evil.safetensors": pickle.dumps(Malicious()),
        "evil-nested.pth": packed({"state_dict": evil}),
        "model.pth": packed(tiny.network()),
        "model-legacy.pth": packed(tiny.network(), _use_new_zipfile_serialization=False),
        "script.pth": _scripted(),
    }


def _scripted() -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        script = torch.jit.trace(tiny.network(), torch.zeros(1, 3, 32, 32))  # type: ignore[no-untyped-call]
        torch.jit.save(script, file)
    return file.getvalue()


def safe(state: dict[str, torch.Tensor]) -> bytes:
    """The state as safetensors."""
    from safetensors.torch import save

    return save(state)


def _safetensors(state: dict[str, torch.Tensor]) -> dict[str, bytes]:
    whole = safe(state)
    size = struct.unpack("<Q", whole[:8])[0]
    head, body = json.loads(whole[8 : 8 + size]), whole[8 + size :]

    def with_head(text: str | bytes) -> bytes:
        data = text.encode() if isinstance(text, str) else text
        return struct.pack("<Q", len(data)) + data + body

    def changed(**more: Any) -> bytes:
        return with_head(json.dumps({**head, "0.weight": {**head["0.weight"], **more}}))

    return {
        "cut-2.safetensors": whole[:2],
        "cut-8.safetensors": whole[:8],
        "cut-half.safetensors": whole[: len(whole) // 2],
        "cut-1.safetensors": whole[:-1],
        "longer.safetensors": whole + bytes(99),
        "huge-head.safetensors": struct.pack("<Q", 2**62) + whole[8:],
        "peta-head.safetensors": struct.pack("<Q", 4 * 2**50) + whole[8:],
        "no-head.safetensors": struct.pack("<Q", 0) + body,
        "head-no-json.safetensors": with_head("{nonsense"),
        "head-list.safetensors": with_head("[]"),
        "head-empty.safetensors": with_head("{}"),
        "head-not-utf8.safetensors": with_head(b'{"\xff": 1}'),
        "head-deep.safetensors": with_head("[" * 50_000),
        "false-offsets.safetensors": changed(data_offsets=[0, 2**40]),
        "negative-offsets.safetensors": changed(data_offsets=[-8, 8]),
        "false-shape.safetensors": changed(shape=[2**40, 2**40]),
        "false-kind.safetensors": changed(dtype="Q77"),
        "int.safetensors": safe({key: value.int() for key, value in state.items()}),
        "escape-key.safetensors": safe({**state, "\x1b[31mx": torch.zeros(2)}),
        "missing.safetensors": safe({"0.weight": state["0.weight"]}),
    }


def _not_finite(folder: Path, good: str, state: dict[str, torch.Tensor]) -> Iterator[Try]:
    for name, value in (("nan", float("nan")), ("inf", float("inf"))):
        path = folder / f"{name}.pth"
        path.write_bytes(packed({key: torch.full_like(old, value) for key, old in state.items()}))
        one = _explain(f"weights of {name} --json", good, str(path), (1,), "--json")
        yield Try(one.name, one.argv, codes=(1,), says=("not-finite",))
        yield Try(
            f"weights of {name}: compare",
            (
                "compare",
                good,
                *tiny.MODEL,
                "--methods",
                "gradcam saliency",
                "--weights",
                str(path),
                "--json",
            ),
            codes=(0, 1),
        )
        for more in ((), ("--json",)):
            yield Try(
                f"weights of {name}: measure {''.join(more)}",
                (
                    "measure",
                    good,
                    *tiny.MODEL,
                    "--methods",
                    "gradcam",
                    "--metrics",
                    "insertion:steps=2",
                    "--weights",
                    str(path),
                    *more,
                ),
                codes=(0, 1, 2),
            )
        yield Try(
            f"weights of {name}: trace",
            ("trace", good, *tiny.MODEL, "--weights", str(path), "--json"),
            codes=(0, 1),
        )
        yield Try(
            f"weights of {name}: walkthrough",
            ("walkthrough", good, *tiny.MODEL, "--weights", str(path), "--json"),
            codes=(0, 1),
        )


def _places(folder: Path, good: str) -> Iterator[Try]:
    (folder / "loop.pth").symlink_to("loop.pth")
    (folder / "zero.pth").symlink_to("/dev/zero")
    (folder / "zero.safetensors").symlink_to("/dev/zero")
    os.mkfifo(folder / "fifo.pth")
    (folder / "folder.pth").mkdir()
    for name, path in {
        "missing": "nowhere.pth",
        "over-long name": "w" * 300 + ".pth",
        "over-long safetensors": "w" * 300 + ".safetensors",
        "loop": str(folder / "loop.pth"),
        "zero": str(folder / "zero.pth"),
        "zero safetensors": str(folder / "zero.safetensors"),
        "fifo": str(folder / "fifo.pth"),
        "folder": str(folder / "folder.pth"),
        "newline": "a\nb.pth",
        "escape": "a\x1b[31m.pth",
        "not utf-8": os.fsdecode(b"\xff.pth"),
        "empty name": "",
        "space": " ",
        "markup": "[red].pth",
        "tilde": "~nobody/x.pth",
    }.items():
        for more in ((), ("--json",)):
            codes = (2,) if name in {"missing", "empty name"} else (1, 2)
            yield _explain(f"{name} {''.join(more)}", good, path, codes, *more)
