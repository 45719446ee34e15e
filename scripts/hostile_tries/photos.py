"""Photos that are damaged, lie about themselves, or are merely rare; drawn, never downloaded."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features

READ, REFUSED, EITHER = "read", "refused", "either"


@dataclass(frozen=True)
class Hostile:
    """A file, and whether it is to be read or refused (a damaged one may be either)."""

    name: str
    data: bytes
    fate: str = EITHER


def draw(width: int = 200, height: int = 150, seed: int = 0) -> Image.Image:
    """A photo-like picture: blurred noise over a gradient."""
    grain = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC)


def encode(picture: Image.Image, kind: str = "JPEG", **how: Any) -> bytes:
    """A picture as a file's bytes."""
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return file.getvalue()


def good(folder: Path, name: str = "good.jpg", seed: int = 0) -> str:
    """Write a photo that has nothing wrong with it; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(encode(draw(seed=seed)))
    return str(path)


def hostile() -> Iterator[Hostile]:
    """Yield several hundred, cheap ones."""
    formats = _formats()
    for suffix, data in formats.items():
        yield Hostile(f"whole.{suffix}", data, READ)
        yield from _cut_short(suffix, data)
        yield from _flipped(suffix, data)
    yield from _strangers()
    yield from _polyglots(formats)
    yield from _bombs()
    yield from _exif()
    yield from _modes()
    yield from _animated()
    yield from _thin()


def _formats() -> dict[str, bytes]:
    picture = draw()
    made = {
        "jpg": encode(picture),
        "progressive.jpg": encode(picture, progressive=True),
        "png": encode(picture, "PNG"),
        "gif": encode(picture, "GIF"),
        "bmp": encode(picture, "BMP"),
        "ppm": encode(picture, "PPM"),
        "tif": encode(picture, "TIFF"),
        "lzw.tif": encode(picture, "TIFF", compression="tiff_lzw"),
        "deflate.tif": encode(picture, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": encode(picture, "TIFF", compression="jpeg"),
    }
    for suffix, kind, feature in (
        ("webp", "WEBP", "webp"),
        ("jp2", "JPEG2000", "jpg_2000"),
        ("avif", "AVIF", "avif"),
    ):
        if features.check(feature):
            made[suffix] = encode(picture, kind)
    return made


def _cut_short(suffix: str, data: bytes) -> Iterator[Hostile]:
    for length in (0, 1, 2, 4, 10):
        yield Hostile(f"cut-{length}.{suffix}", data[:length], REFUSED)
    for share in (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99):
        yield Hostile(f"cut-at-{share}.{suffix}", data[: int(len(data) * share)])
    yield Hostile(f"cut-last.{suffix}", data[:-1])


def _flipped(suffix: str, data: bytes) -> Iterator[Hostile]:
    dice = random.Random(suffix)
    for turn in range(8):
        changed = bytearray(data)
        for _ in range(1 + turn):
            at = dice.randrange(min(len(data), 400) if turn % 2 else len(data))
            changed[at] ^= 1 << dice.randrange(8)
        yield Hostile(f"flip-{turn}.{suffix}", bytes(changed))


EPS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n"
    b"newpath 9 9 moveto 90 90 lineto stroke\nshowpage\n%%EOF\n"
)


def _strangers() -> Iterator[Hostile]:
    """What is no photo, whatever it is called."""
    strangers = {
        "text": b"a photo of a cat\n" * 9,
        "html": b"<!doctype html><title>404</title><p>Not found</p>" * 5,
        "json": b'{"error": "no such photo"}',
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>',
        "pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
        "zip": b"PK\x03\x04" + bytes(200),
        "elf": b"\x7fELF" + bytes(200),
        "zeros": bytes(4096),
        "ones": b"\xff" * 4096,
        "noise": random.Random(1).randbytes(4096),
        "newlines": b"\n" * 4096,
        "eps": EPS,
        "eps-dos": b"\xc5\xd0\xd3\xc6" + struct.pack("<7I", 32, len(EPS), 0, 0, 0, 0, 0) + EPS,
    }
    for name, data in strangers.items():
        for suffix in ("jpg", "png"):
            yield Hostile(f"{name}.{suffix}", data, REFUSED)
    yield Hostile("eps.tif", EPS, REFUSED)
    for kind in ("PCX", "TGA", "ICO", "ICNS", "DDS", "SGI", "IM", "XBM", "MSP", "SPIDER"):
        picture = draw(64, 64)
        if kind in {"XBM", "MSP"}:
            picture = picture.convert("1")
        elif kind == "SPIDER":
            picture = picture.convert("F")
        yield Hostile(f"rare-{kind.lower()}.jpg", encode(picture, kind))


def _polyglots(formats: dict[str, bytes]) -> Iterator[Hostile]:
    jpg, png = formats["jpg"], formats["png"]
    yield Hostile("jpg-then-zip.jpg", jpg + b"PK\x03\x04" + bytes(100), READ)
    yield Hostile("png-then-html.png", png + b"<script>alert(1)</script>", READ)
    yield Hostile("jpg-called.png", jpg, READ)
    yield Hostile("png-called.jpg", png, READ)
    yield Hostile("gif-script.gif", b"GIF89a/*" + b"*/=1;alert(1)" * 9)
    yield Hostile("text-then-jpg.jpg", b"hello\n" + jpg, REFUSED)
    yield Hostile("two.jpg", jpg + jpg, READ)
    yield Hostile(
        "comment.jpg",
        jpg[:2] + b"\xff\xfe\x00\x20" + b"\x1b[31m<script>%s{{x}}" * 1 + bytes(11) + jpg[2:],
    )
    for name in ("png", "bmp", "tif", "webp", "gif"):
        if name in formats:
            yield Hostile(f"head-of-jpg.{name}", jpg[:20] + formats[name][20:])


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int, colour: int, extra: bytes = b"") -> bytes:
    """A PNG whose pixels are all zero, made without holding them."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    row = bytes(1 + (width * channels * bits + 7) // 8)
    packer, packed = zlib.compressobj(6), []
    for _ in range(height):
        packed.append(packer.compress(row))
    packed.append(packer.flush())
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra
    return start + chunk(b"IDAT", b"".join(packed)) + chunk(b"IEND", b"")


def _bombs() -> Iterator[Hostile]:
    yield Hostile("bomb-30000.png", png(30000, 30000, 1, 0), REFUSED)
    for side in (65535, 2**31 - 1):
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99)))
        yield Hostile(f"bomb-claims-{side}.png", b"\x89PNG\r\n\x1a\n" + body, REFUSED)
    yield Hostile(
        "bomb.gif",
        b"GIF89a\xff\xff\xff\xff\x80\x00\x00"
        + bytes(6)
        + b",\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02\x44\x01\x00;",
        REFUSED,
    )
    yield Hostile(
        "bomb.bmp",
        b"BM"
        + struct.pack("<IHHIIiiHH6I", 54, 0, 0, 54, 40, 65535, 65535, 1, 24, 0, 0, 0, 0, 0, 0),
        REFUSED,
    )
    yield Hostile(
        "bomb.tif",
        _tiff(
            [
                (256, 4, 4_000_000),
                (257, 4, 4_000_000),
                (258, 3, 8),
                (259, 3, 1),
                (262, 3, 1),
                (273, 4, 8),
                (279, 4, 99),
            ]
        ),
        REFUSED,
    )
    yield Hostile("loop.tif", _tiff([(256, 4, 9), (257, 4, 9)], after=8))
    yield Hostile("bomb.ppm", b"P6 99999 99999 255\n" + bytes(99), REFUSED)
    many = zlib.compress(bytes(100_000_000))
    text = chunk(b"zTXt", b"Comment\0\0" + many)
    profile = chunk(b"iCCP", b"icc\0\0" + many)
    yield Hostile("bomb-text.png", png(64, 64, 8, 2, text))
    yield Hostile("bomb-profile.png", png(64, 64, 8, 2, profile))


def _tiff(entries: list[tuple[int, int, int]], after: int = 0) -> bytes:
    rows = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return (
        b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + rows + struct.pack("<I", after)
    ) + bytes(99)


def _exif() -> Iterator[Hostile]:
    picture = draw()
    for turn in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 255, 65535):
        exif = Image.Exif()
        exif[0x0112] = turn
        yield Hostile(f"exif-{turn}.jpg", encode(picture, exif=exif.tobytes()), READ)
    junk = {
        "junk": b"Exif\0\0" + random.Random(2).randbytes(500),
        "empty": b"Exif\0\0",
        "zeros": b"Exif\0\0" + bytes(500),
        "text": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0six\0\0\0\0\0",
        "signed": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x08\0\x01\0\0\0\xff\xff\xff\xff"
        + bytes(4),
        "none": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\0\0\0\0\x06\0\0\0\0\0\0\0",
        "loop": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0",
        "far": b"Exif\0\0II*\0\xff\xff\xff\xff",
    }
    for name, data in junk.items():
        yield Hostile(f"exif-{name}.jpg", encode(picture, exif=data), READ)
        yield Hostile(f"exif-{name}.png", encode(picture, "PNG", exif=data), READ)
    for kind, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("TIFF", "tif")):
        profile = random.Random(3).randbytes(300)
        yield Hostile(f"icc.{suffix}", encode(picture, kind, icc_profile=profile), READ)
    yield Hostile(
        "xmp.jpg", encode(picture, xmp=b"<!DOCTYPE x [<!ENTITY a 'a'>]><x>&a;" * 99), READ
    )


def _modes() -> Iterator[Hostile]:
    picture = draw()
    grey = picture.convert("L")
    deep = np.asarray(grey).astype(np.uint16) * 257
    real = np.asarray(grey).astype(np.float32) / 255
    holed = real.copy()
    holed[::7] = np.nan
    endless = real.copy()
    endless[::7] = np.inf
    see = picture.convert("RGBA")
    see.putalpha(grey)
    for name, made, kind in (
        ("cmyk.jpg", picture.convert("CMYK"), "JPEG"),
        ("cmyk.tif", picture.convert("CMYK"), "TIFF"),
        ("ycbcr.tif", picture.convert("YCbCr"), "TIFF"),
        ("grey.jpg", grey, "JPEG"),
        ("one-bit.png", picture.convert("1"), "PNG"),
        ("one-bit.tif", picture.convert("1"), "TIFF"),
        ("grey-alpha.png", see.convert("LA"), "PNG"),
        ("alpha.png", see, "PNG"),
        ("alpha.tif", see, "TIFF"),
        ("palette.png", picture.convert("P"), "PNG"),
        ("palette.bmp", picture.convert("P"), "BMP"),
        ("sixteen.png", Image.fromarray(deep), "PNG"),
        ("sixteen.tif", Image.fromarray(deep), "TIFF"),
        ("integer.tif", grey.convert("I"), "TIFF"),
        ("float.tif", Image.fromarray(real), "TIFF"),
    ):
        yield Hostile(f"mode-{name}", encode(made, kind), READ)
    yield Hostile("mode-nan.tif", encode(Image.fromarray(holed), "TIFF"))
    yield Hostile("mode-inf.tif", encode(Image.fromarray(endless), "TIFF"))
    yield Hostile("mode-lab.tif", _lab())
    yield Hostile("mode-deep-alpha.png", png(64, 64, 16, 6), READ)
    palette = picture.quantize(16)
    yield Hostile("mode-palette-alpha.png", encode(palette, "PNG", transparency=bytes(16)), READ)
    yield Hostile("mode-palette-hole.png", encode(palette, "PNG", transparency=3), READ)
    yield Hostile("mode-palette-alpha.gif", encode(palette, "GIF", transparency=3), READ)
    for packing in ("group3", "group4", "packbits", "tiff_ccitt"):
        how = {"compression": packing}
        yield Hostile(f"mode-{packing}.tif", encode(picture.convert("1"), "TIFF", **how), READ)


def _lab() -> bytes:
    from PIL import ImageCms

    lab = ImageCms.createProfile("LAB")
    rgb = ImageCms.createProfile("sRGB")
    made = ImageCms.applyTransform(draw(), ImageCms.buildTransform(rgb, lab, "RGB", "LAB"))
    assert made is not None
    return encode(made, "TIFF")


def _animated() -> Iterator[Hostile]:
    frames = [draw(64, 64, seed) for seed in range(4)]
    how: dict[str, Any] = {"save_all": True, "append_images": frames[1:]}
    kinds = [("gif", "GIF"), ("png", "PNG"), ("tif", "TIFF"), ("jpg", "MPO")]
    if features.check("webp"):
        kinds.append(("webp", "WEBP"))
    if features.check("avif"):
        kinds.append(("avif", "AVIF"))
    for suffix, kind in kinds:
        data = encode(frames[0], kind, **how)
        yield Hostile(f"animated.{suffix}", data, READ)
        yield Hostile(f"animated-cut.{suffix}", data[: len(data) * 2 // 3])
    film = [Image.new("P", (64, 64), number % 256) for number in range(1000)]
    data = encode(film[0], "GIF", save_all=True, append_images=film[1:])
    yield Hostile("animated-1000.gif", data, READ)


def _thin() -> Iterator[Hostile]:
    for width, height in ((1, 1), (1, 2), (2, 1), (1, 900), (900, 1), (3, 20000), (20000, 3)):
        yield Hostile(f"thin-{width}x{height}.png", encode(draw(width, height), "PNG"))
