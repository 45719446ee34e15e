"""A user's own network: names that are none, factories that fail, exit, or print."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hostile_tries import photos
from hostile_tries.tries import Try

HEAD = "import os, subprocess, sys, torch, limelight\nfrom hostile_tries.tiny import network\n"
LOUD = "print('HELLO'); os.write(1, b'HELLO'); subprocess.run(['echo', 'HELLO'])"
#: A network with a line of its own in its forward.
FORWARD = (
    "class Net(torch.nn.Module):\n"
    "    def __init__(self):\n"
    "        super().__init__()\n"
    "        self.inner = network()\n"
    "    def forward(self, x):\n"
    "        y = self.inner(x)\n"
    "        {line}\n"
    "        return y\n"
    "def build():\n"
    "    return Net()\n"
)

#: Modules whose import fails: the module, and what must be said.
IMPORTS = {
    "syntax error": ("def build(:\n", "invalid syntax|SyntaxError"),
    "tabs": ("if 1:\n\tx = 1\n        y = 2\n", "TabError|inconsistent|unindent"),
    "null bytes": ("x = 1\0\n", "null"),
    "value error": ("raise ValueError('told so')", "told so"),
    "error without text": ("raise RuntimeError", "RuntimeError"),
    "several lines": ("raise ValueError('one\\ntwo\\nthree')", "(?s)one.*two.*three"),
    "assertion": ("assert 1 == 2, 'told so'", "told so"),
    "missing package": ("import surely_not_installed", "surely_not_installed"),
    "missing name": ("from os import surely_not_there", "surely_not_there"),
    "endless recursion": ("def f(): f()\nf()", "recursion"),
    "import of itself": ("from net import build", "build"),
    "exit 0": ("import sys; sys.exit(0)", "exit"),
    "exit 3": ("import sys; sys.exit(3)", "exit"),
    "exit with text": ("import sys; sys.exit('told so')", "exit|told so"),
    "own base exception": ("class E(BaseException): pass\nraise E('told so')", "told so"),
    "generator exit": ("raise GeneratorExit('told so')", "GeneratorExit|told so"),
}
#: The same for what the factory does.
FACTORIES = {
    "value error": ("raise ValueError('told so')", "told so"),
    "error without text": ("raise RuntimeError", "RuntimeError"),
    "several lines": ("raise ValueError('one\\ntwo\\nthree')", "(?s)one.*two.*three"),
    "escape in text": ("raise ValueError('\\x1b[31mtold so')", "told so"),
    "markup in text": ("raise ValueError('[/red] told so [bold]')", r"\[/red\] told so \[bold\]"),
    "surrogate in text": ("raise ValueError('told so \\udcff')", "told so"),
    "error whose text fails": (
        "class E(Exception):\n        def __str__(self): return 1 / 0\n    raise E", "E"),
    "exit 0": ("sys.exit(0)", "exit"),
    "exit 3": ("sys.exit(3)", "exit"),
    "exit none": ("sys.exit()", "exit"),
    "exit with text": ("sys.exit('told so')", "exit|told so"),
    "quit": ("quit()", "exit|quit"),
    "none": ("return None", "None"),
    "number": ("return 5", "int"),
    "text": ("return 'model'", "str"),
    "class": ("return torch.nn.Identity", "type|class"),
    "function": ("return lambda x: x", "function|lambda"),
    "tuple": ("return network(), 1", "tuple"),
    "list": ("return [network()]", "list"),
    "generator": ("yield network()", "generator"),
    "parameter": ("return torch.nn.Parameter(torch.zeros(3))", "Parameter"),
    "no layers": ("return torch.nn.Identity()", ""),
    "no text": ("return limelight.Network(name='', model=None, preprocess=None, classes=None)", ""),
}  # fmt: skip
#: What a forward does, and what must be said; these may name the exception, which is the user's.
FORWARDS = {
    "value error": ("raise ValueError('told so')", "told so"),
    "error without text": ("raise RuntimeError", "RuntimeError"),
    "several lines": ("raise ValueError('one\\ntwo\\nthree')", "(?s)one.*two.*three"),
    "key error": ("raise KeyError('told so')", "told so"),
    "surrogate in text": ("raise ValueError('told so \\udcff')", "told so"),
    "none": ("return None", "None"),
    "text": ("return 'y'", "str"),
    "empty": ("return y[:0]", ""),
    "no batch": ("return y[0]", ""),
    "number": ("return 5", "int"),
    "detached": ("return y.detach()", "graph|detach"),
    "integers": ("return (y * 100).long()", ""),
    "dict": ("return {}", ""),
    "nan": ("return y * float('nan')", "not-finite|NaN"),
    "exit 0": ("sys.exit(0)", "exit"),
    "exit 5": ("sys.exit(5)", "exit"),
}

NAMES = (
    ":", "::", ":net", ":build", "net:", "net", "net:nothing",
    "net:build:more", "net.build", "../w:net", "./net:build", "/net:build",
    "net/x:build", "no.such:build", "net:build()", "net:1", "net: build",
    " net:build", "net:build ", "net:build.more", "net:__name__", "nön:äsci",
    "\x1b[31m:x", "net:\x1b[31m", "[red]:x", "a\nb:c", "os:getcwd", "os:system",
    "builtins:dict", "sys:exit", "builtins:print", "builtins:exit", "sys:maxsize",
    "sys:nothing", "..:x", ".net:x", "net..x:y", "1:2", "x" * 5000 + ":y",
    "hf:", "hf: ", "hf:/nowhere", "hf:../..", "resnet", "resnet51", "VGG16",
    " ", "[red]", "\x1b[31m", "%s", "*", "resnet18:x", "http://127.0.0.1:9/x",
    "--", "-m",
)  # fmt: skip

DRAW = ("--picture", "overlay")
COMMANDS: dict[str, tuple[str, ...]] = {
    "explain": DRAW,
    "compare": ("--methods", "gradcam saliency"),
    "measure": ("--methods", "gradcam", "--metrics", "insertion:steps=2"),
    "sanity": ("--methods", "gradcam", "--steps", "2"),
    "walkthrough": (),
    "trace": (),
    "concepts": ("--count", "2"),
    "layers": (),
}


def tries(work: Path) -> Iterator[Try]:
    """Yield them."""
    good = photos.good(work / "good")
    for one in _all(good):
        yield one
        yield replace(one, name=f"{one.name} --json", argv=(*one.argv, "--json"))


def _all(good: str) -> Iterator[Try]:
    explain = ("explain", good, *DRAW, "--model")
    own = (*explain, "net:build")
    for name, (text, says) in IMPORTS.items():
        yield Try(f"import: {name}", own, codes=(2,), says=(says,), files={"net.py": text})
    for name, (text, says) in FACTORIES.items():
        made = {"net.py": f"{HEAD}def build():\n    {text}\n"}
        yield Try(f"factory: {name}", own, codes=(1, 2), says=(says,), files=made)
        if "exit" in name or name == "quit":
            yield from _everywhere(f"factory: {name}", good, made, (2,), "exit|quit|told so")
    for name, (text, says) in FORWARDS.items():
        made = {"net.py": HEAD + FORWARD.format(line=text)}
        codes = (2,) if "exit" in name else (0, 1, 2) if not says else (1, 2)
        yield Try(f"forward: {name}", own, codes=codes, says=(says,), files=made, foreign=True)
        if "exit" in name:
            yield from _everywhere(f"forward: {name}", good, made, (2,), "exit")
    yield from _odd_factories(own)
    for name in NAMES:
        files = {"net.py": f"{HEAD}def build():\n    return network()\n"}
        codes = (2,) if ":" not in name or "x" * 99 in name else (1, 2)
        yield Try(f"name {name[:30]!a}", (*explain, name), codes=codes, files=files)
    yield from _printing(good)
    yield from _classes(good)


def _everywhere(
    name: str, good: str, files: dict[str, str], codes: tuple[int, ...], says: str
) -> Iterator[Try]:
    """The same in the other commands; those that know --json get it from `tries`."""
    for command, more in COMMANDS.items():
        if command in {"explain", "concepts"}:
            continue
        photo = () if command == "layers" else (good,)
        argv = (command, *photo, *more, "--model", "net:build")
        yield Try(f"{name}: {command}", argv, codes=codes, says=(says,), files=files)


def _odd_factories(own: tuple[str, ...]) -> Iterator[Try]:
    for name, text in {
        "needs arguments": "def build(x): return network()",
        "is a module": "build = network()",
        "is a number": "build = 5",
        "is None": "build = None",
        "abstract": "class build(torch.nn.Module): pass",
    }.items():
        yield Try(
            f"factory {name}",
            own,
            codes=(0, 1, 2),
            foreign=True,
            files={"net.py": f"{HEAD}{text}\n"},
        )


def _printing(good: str) -> Iterator[Try]:
    """What the user's code prints never mixes with the JSON."""
    for place, text in {
        "import": f"{HEAD}{LOUD}\ndef build():\n    return network()\n",
        "factory": f"{HEAD}def build():\n    {LOUD}\n    return network()\n",
        "forward": HEAD + FORWARD.format(line=LOUD),
        "forward, then fails": HEAD + FORWARD.format(line=f"{LOUD}; raise ValueError('told so')"),
    }.items():
        for command, more in COMMANDS.items():
            if command == "concepts":
                continue
            photo = () if command == "layers" else (good,)
            fails = "fails" in place
            yield Try(
                f"prints in {place}: {command}",
                (command, *photo, *more, "--model", "net:build"),
                codes=(1, 2) if fails else (0,),
                foreign=fails,
                files={"net.py": text},
            )


def _classes(good: str) -> Iterator[Try]:
    """Names of classes are only text."""
    names = {
        "escape": ("\\x1b]0;owned\\x07", "\\x1b[31mred", "\\x9b31m", "d"),
        "markup": ("[red]a[/red]", "[/]", "[bold", "d"),
        "html": ("<script>a</script>", "&amp;", "\\'\\\"", "d"),
        "paths": ("../../x", "/etc/x", ".", ".."),
        "empty": ("", "", "", ""),
        "newlines": ("a\\nb", "\\r", "\\t", "\\0"),
        "long": ("x" * 400, "y" * 400, "é" * 300, "d"),
        "surrogates": ("\\udcff", "\\ud800", "c", "d"),
        "same": ("a", "a", "a", "a"),
        "formula": ("$x^2$", "$\\\\frac{{$", "$$", "\\\\"),
    }
    for name, classes in names.items():
        row = ", ".join(f"'{one}'" for one in classes)
        made = (
            f"{HEAD}def build():\n    return limelight.Network(name='n', model=network(), "
            f"preprocess=limelight.Preprocess(size=(32, 32)), classes=({row}))\n"
        )
        for command, more in COMMANDS.items():
            if command in {"concepts", "layers", "measure"}:
                continue
            every = ("--topk", "4") if command == "explain" else ()
            yield Try(
                f"class names, {name}: {command}",
                (command, good, *more, *every, "--model", "net:build"),
                files={"net.py": made},
            )
        yield Try(
            f"class names, {name}: figure",
            ("explain", good, "--model", "net:build"),
            files={"net.py": made},
        )
        told = {
            "net.py": f"{HEAD}def build():\n    return network()\n",
            "names.txt": "\n".join(_plain(one) for one in classes),
        }
        yield Try(
            f"--classes, {name}",
            (
                "explain",
                good,
                *DRAW,
                "--model",
                "net:build",
                "--classes",
                "names.txt",
                "--topk",
                "3",
            ),
            codes=(0, 2),
            files=told,
        )


def _plain(text: str) -> str:
    """The characters that an escape in source stands for, surrogates apart."""
    return text.encode().decode("unicode_escape").encode("utf-8", "replace").decode()
