"""Hostile uploads: files cut short, bombs, other files, two files in one, names, broken forms."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

#: What must never come back: a file that is served as it was sent would hold it.
MARK = b"<script>alert(document.domain)</script>"

#: Where the parts of a form begin.
_EDGE = b"xEDGEx"

FORMATS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 80},
    "PNG": {},
    "WEBP": {"quality": 50, "method": 0},
    "TIFF": {"compression": "tiff_lzw"},
    "GIF": {},
    "BMP": {},
    "JPEG2000": {},
    "PPM": {},
    "AVIF": {"speed": 10},
}


@dataclass(frozen=True)
class Upload:
    """One upload.

    Attributes:
        about: What is wrong with it.
        body: The body of the request.
        headers: Its headers.
        parts: Into how many chunks it is cut; 0 for one whose length is told.
        refused: Whether it has to be refused; None where its pixels may do no harm, and be taken.
    """

    about: str
    body: bytes
    headers: dict[str, str] = field(
        default_factory=lambda: {"content-type": f"multipart/form-data; boundary={_EDGE.decode()}"}
    )
    parts: int = 0
    refused: bool | None = None


def form(data: bytes, name: bytes = b"a.png", *, part: bytes = b'name="photo"') -> bytes:
    """Return a form of one file."""
    head = b"Content-Disposition: form-data; " + part + b'; filename="' + name + b'"\r\n'
    kind = b"Content-Type: image/png\r\n\r\n"
    return b"--" + _EDGE + b"\r\n" + head + kind + data + b"\r\n--" + _EDGE + b"--\r\n"


def photo(shape: tuple[int, int] = (48, 36)) -> Image.Image:
    """Return a photo of noise, which compresses badly."""
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def saved(kind: str, picture: Image.Image | None = None, **options: Any) -> bytes:
    """Return a picture as the bytes of a file."""
    buffer = io.BytesIO()
    (picture or photo()).save(buffer, kind, **(options or FORMATS.get(kind, {})))
    return buffer.getvalue()


def uploads() -> Iterator[Upload]:
    """Yield all hostile uploads."""
    for about, data, refused in _files():
        yield Upload(about, form(data), refused=refused)
    for name in NAMES:
        yield Upload(f"named {name!r}", form(saved("PNG"), name))
    yield from _forms()


def _files() -> Iterator[tuple[str, bytes, bool | None]]:
    yield from _cut_short()
    for about, data in {**bombs(), **others()}.items():
        yield about, data, True
    for about, data in both().items():
        yield about, data, None


def _cut_short() -> Iterator[tuple[str, bytes, bool | None]]:
    """Yield files that are cut short, or changed, at random places."""
    random = np.random.default_rng(0)
    for kind in FORMATS:
        whole = saved(kind)
        for place in sorted(random.integers(1, len(whole) - 1, 5)):
            yield f"{kind} cut at {place} of {len(whole)}", whole[:place], None
        for _ in range(4):
            changed = bytearray(whole)
            for place in random.integers(0, len(whole), 12):
                changed[place] = random.integers(256)
            yield f"{kind} with 12 bytes changed", bytes(changed), None


# ---- bombs


def _png(width: int, height: int, *chunks: tuple[bytes, bytes], data: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [
        (b"IHDR", header),
        *chunks,
        (b"IDAT", data or zlib.compress(bytes(1000))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def _tiff(pages: int, width: int = 1, height: int = 1, *, loop: bool = False) -> bytes:
    tags = [
        (256, 4, width),
        (257, 4, height),
        *((258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 1), (277, 3, 1)),
        (278, 4, height),
        (279, 4, min(width * height, 2**32 - 1)),
    ]
    size = 2 + 12 * len(tags) + 4
    body = bytearray(b"II*\0" + struct.pack("<I", 8))
    for page in range(pages):
        last = page == pages - 1
        following = 8 if loop and last else 0 if last else 8 + size * (page + 1)
        body += struct.pack("<H", len(tags))
        body += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
        body += struct.pack("<I", following)
    return bytes(body)


def _scans(count: int) -> bytes:
    """A progressive JPEG that asks for its last scans again and again."""
    whole = saved("JPEG", Image.new("L", (64, 64), 7), progressive=True)
    begins = [place for place in range(len(whole)) if whole[place : place + 2] == b"\xff\xda"]
    return whole[: begins[-1]] + whole[begins[-2] : begins[-1]] * count + whole[begins[-1] :]


def _webp(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    inner = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + size
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


def bombs() -> dict[str, bytes]:
    """Return small files that take much memory or time."""
    text = PngInfo()
    for number in range(70):
        text.add_text(f"k{number}", "A" * 1_000_000, zip=True)
    jpeg = bytearray(saved("JPEG"))
    frame = jpeg.index(b"\xff\xc0") + 5
    jpeg[frame : frame + 4] = b"\xff\xff\xff\xff"
    flat = Image.new("L", (2500, 2500))
    return {
        "PNG of 2^31 pixels a side": _png(2**31 - 1, 2**31 - 1),
        "PNG of 50000 x 50000": _png(50_000, 50_000),
        "PNG of one line that is too long": _png(2**31 - 1, 1),
        "PNG of no pixels": _png(0, 0),
        "PNG a little too large": saved("PNG", flat),
        "PNG with 70 MB of text": saved("PNG", Image.new("L", (4, 4)), pnginfo=text),
        "WebP of 16383 x 16383": _webp(16384, 16384),
        "WebP of 2^24 pixels a side": _webp(2**24, 2**24),
        "TIFF of 2^31 pixels a side": _tiff(1, 2**31 - 1, 2**31 - 1),
        "TIFF of 60000 x 60000": _tiff(1, 60_000, 60_000),
        "TIFF a little too large": saved("TIFF", flat, compression="tiff_deflate"),
        "GIF of 65535 x 65535": b"GIF89a"
        + b"\xff" * 4
        + b"\0\0\0,"
        + b"\0" * 4
        + b"\xff" * 4
        + b"\0\2;",
        "BMP of 2^31 pixels a side": b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0),
        "PPM of 99999999 x 99999999": b"P6 99999999 99999999 255\n" + bytes(100),
        "PPM of a number without end": b"P6 " + b"9" * 100_000 + b" 1 255\n",
        "JPEG of 65535 x 65535": bytes(jpeg),
        "JPEG of 2000 scans": _scans(2000),
        "JPEG a little too large": saved("JPEG", flat),
        "a file that is too large": b"\x89PNG\r\n\x1a\n" + bytes(1_100_000),
    }


# ---- other files


class _Runs:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return print, ("a pickle was read",)


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, MARK)
    return buffer.getvalue()


def _saved_array(save: Callable[..., None], *values: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *values)
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("../../etc/passwd")
        archive.addfile(entry, io.BytesIO())
    return buffer.getvalue()


def others() -> dict[str, bytes]:
    """Return files that are no pictures, whatever they are called."""
    zeros = np.zeros((4, 4, 3), dtype=np.uint8)
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 9))
    return {
        "nothing": b"",
        "one byte": b"\0",
        "zeros": bytes(10_000),
        "noise": np.random.default_rng(1).bytes(10_000),
        "text": b"a cat",
        "zip": _zip("../../etc/passwd", "C:\\a", "/etc/passwd"),
        "gzip": gzip.compress(MARK),
        "gzip bomb": gzip.compress(bytes(5_000_000)),
        "bzip2 bomb": bz2.compress(bytes(5_000_000)),
        "xz": lzma.compress(MARK),
        "tar": _tar(),
        "pickle": pickle.dumps(_Runs()),
        "old pickle": pickle.dumps(_Runs(), 0),
        "torch": _zip("archive/data.pkl", "archive/version"),
        "npy": _saved_array(np.save, zeros),
        "npy of objects": _saved_array(np.save, np.array([_Runs()], dtype=object)),
        "npz": _saved_array(np.savez, zeros),
        "safetensors": struct.pack("<Q", 2**60) + b"{}",
        "Python": b"import os\nos.system('id')\n",
        "shell": b"#!/bin/sh\nid\n",
        "HTML": b"<!doctype html><html><body>" + MARK,
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)">' + MARK + b"</svg>",
        "SVG that reads a file": b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY x SYSTEM '
        b'"file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg"><text>&x;</text></svg>',
        "XML bomb": f'<!DOCTYPE a [<!ENTITY a0 "a">{laughs}]><a>&a8;</a>'.encode(),
        "JavaScript": b"/*\xff\xd8\xff*/alert(document.domain)",
        "JSON": b'{"__class__": "os.system"}',
        "PDF": b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (r) file\n",
        "ELF": b"\x7fELF\2\1\1" + bytes(200),
        "Windows program": b"MZ" + bytes(200) + b"PE\0\0",
        "WebAssembly": b"\0asm\1\0\0\0",
        "SQLite": b"SQLite format 3\0" + bytes(200),
        "video": b"\0\0\0\x20ftypisom" + bytes(200),
        "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "DICOM": bytes(128) + b"DICM" + bytes(200),
        "NIfTI": struct.pack("<i", 348) + bytes(340) + b"n+1\0",
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(200),
        "icon": b"\0\0\1\0\1\0\x10\x10" + bytes(200),
        "Photoshop": b"8BPS\0\1" + bytes(200),
        "font": b"OTTO" + bytes(200),
        "picture by a script": b"%!PS\n/Times findfont",
        "FITS, which reads a file": b"SIMPLE  =                    T" + bytes(200),
        "Windows metafile": b"\xd7\xcd\xc6\x9a" + bytes(200),
    }


# ---- two files in one


def both() -> dict[str, bytes]:
    """Return pictures that are something else besides; their pixels may be taken, and only they."""
    text = PngInfo()
    text.add_text("Comment", MARK.decode())
    jpeg, small = saved("JPEG"), photo((16, 16))
    gif = saved("GIF", small)
    frames = [Image.new("P", (20, 20), number % 250) for number in range(300)]
    deep = np.zeros((40, 12, 12), dtype=np.uint16)
    return {
        "GIF that is JavaScript": gif[:6] + b"/*" + gif[8:] + b"*/=1;" + MARK,
        "GIF with a page behind it": gif + MARK,
        "GIF of 300 frames": saved("GIF", frames[0], save_all=True, append_images=frames[1:]),
        "PNG whose data is a deflate bomb": _png(
            8, 8, data=zlib.compress(bytes(5_000_000), 9)[:-4]
        ),
        "PNG with an archive behind it": saved("PNG") + _zip("a.html"),
        "PNG with a page in its text": saved("PNG", small, pnginfo=text),
        "PNG with a page as its profile": saved("PNG", small, icc_profile=MARK * 100),
        "PNG whose text is a page before its size": _png(8, 8, (b"tEXt", b"a\0" + MARK)),
        "JPEG with a page in its comment": saved("JPEG", small, comment=MARK),
        "JPEG with a page behind it": jpeg + MARK,
        "JPEG that is an archive": jpeg + _zip("a.php"),
        "JPEG with a page in its Exif": saved("JPEG", small, exif=b"Exif\0\0II*\0" + MARK),
        "JPEG that is a PDF": jpeg[:2] + b"\xff\xfe\x00\x40%PDF-1.7" + bytes(54) + jpeg[2:],
        "WebP with a page in its profile": saved("WEBP", small, icc_profile=MARK, quality=50),
        "BMP that is JavaScript": saved("BMP", small) + b"*/=1;" + MARK,
        "TIFF with a page in its text": saved("TIFF", small, description=MARK.decode()),
        "TIFF of 3000 pages": _tiff(3000),
        "TIFF whose pages go round in a circle": _tiff(3, loop=True),
        "TIFF that is a volume": saved(
            "TIFF",
            Image.fromarray(deep[0]),
            save_all=True,
            append_images=[Image.fromarray(each) for each in deep[1:]],
        ),
        "PPM with a page in its comment": b"P6\n#" + MARK + b"\n2 2 255\n" + bytes(12),
    }


#: Names of files.
NAMES = [
    b"../../../../etc/passwd",
    b"..\\..\\windows\\system32\\config",
    b"/etc/passwd",
    b"C:\\boot.ini",
    b"\\\\server\\share\\a.png",
    b"file:///etc/passwd",
    b"a\0.png",
    b"\0",
    b"a.png\r\nSet-Cookie: a=b",
    b"a\nb.png",
    b"a\tb\x1b[2J\x07.png",
    "a\u202egnp.exe".encode(),
    "\u2066\u2069\u200f\u061c\ufeff".encode(),
    "a\u2028b\u2029c".encode(),
    "\U000e0041\ud83d".encode("utf-8", "surrogatepass"),
    b"\xff\xfe\xc3\x28",
    b"a" * 3000,
    "照".encode() * 900,
    b"CON",
    b"NUL.png",
    b"aux.jpg ",
    b".",
    b"..",
    b"",
    b" ",
    MARK,
    b"$(id).png",
    b"`id`;id|id&id",
    b"%2e%2e%2fetc%2fpasswd",
    b"{photo.__class__}",
    b"a.php.png",
    b"a\\",
    b"' OR 1=1 --",
]


# ---- forms


def _forms() -> Iterator[Upload]:
    """Yield requests whose form is the trouble."""
    good = form(saved("PNG"))
    kind = f"multipart/form-data; boundary={_EDGE.decode()}"
    edge = b"--" + _EDGE
    part = edge + b'\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n'
    fields = b"".join(
        edge + b'\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n' % n
        for n in range(2000)
    )
    bodies: dict[str, bytes] = {
        "an empty form": b"",
        "a form without parts": edge + b"--\r\n",
        "another boundary": good.replace(_EDGE, b"other"),
        "a form that ends early": good[:-200],
        "a form without an end": good[: -len(_EDGE) - 6],
        "headers without an end": edge + b"\r\nContent-Disposition: form-data; name",
        "no name": form(saved("PNG"), part=b"x=y"),
        "no disposition": edge + b"\r\nX: y\r\n\r\n" + saved("PNG") + b"\r\n" + edge + b"--\r\n",
        "a field in place of a file": good.replace(b'; filename="a.png"', b""),
        "another field": form(saved("PNG"), part=b'name="file"'),
        "a field with an odd name": form(saved("PNG"), part=b'name="photo\0"'),
        "a field named by a path": form(saved("PNG"), part=b'name="../photo"'),
        "a field of 900 kB": good.replace(b'"; filename="a.png"', b'"').replace(
            b"\x89PNG", b"x" * 900_000
        ),
        "2000 fields": fields + good,
        "two files": part + saved("PNG") + b"\r\n" + good,
        "300 files": (part + b"x\r\n") * 300 + edge + b"--\r\n",
        "a part of 300 headers": edge
        + b"\r\n"
        + b"X: y\r\n" * 300
        + b"\r\nx\r\n"
        + edge
        + b"--\r\n",
        "a header of 100 kB": edge
        + b"\r\nX: "
        + b"y" * 100_000
        + b"\r\n\r\nx\r\n"
        + edge
        + b"--\r\n",
        "line breaks and nothing else": b"\r\n" * 50_000,
        "dashes and nothing else": b"-" * 100_000,
        "boundaries and nothing else": (edge + b"\r\n") * 5000,
        "nearly boundaries": part + (b"\r\n--" + _EDGE[:-1]) * 5000,
    }
    for about, body in bodies.items():
        taken = about in ("another boundary",)
        yield Upload(about, body, {"content-type": kind}, refused=not taken or None)
    for about, content in {
        "no boundary": "multipart/form-data",
        "an empty boundary": "multipart/form-data; boundary=",
        "a boundary of 5000 letters": "multipart/form-data; boundary=" + "a" * 5000,
        "a boundary that is no text": "multipart/form-data; boundary=\xff",
        "another kind": "application/x-www-form-urlencoded",
        "JSON": "application/json",
        "no kind": "",
        "a kind that is none": "multipart",
        "an unknown letters' code": f"{kind}; charset=nonsense",
    }.items():
        yield Upload(
            about, good, {"content-type": content}, refused=None if "code" in about else True
        )
    yield Upload("good, in single bytes", good[:600], {"content-type": kind}, 600, refused=True)
    yield Upload("cut short, in chunks", good[:-300], {"content-type": kind}, 9, refused=True)
    yield Upload(
        "too large, in chunks", form(bytes(1_500_000)), {"content-type": kind}, 50, refused=True
    )
