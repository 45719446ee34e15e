"""The page under load, from its start to a first map, and from a click to the next.

load: Clients ask for 60 seconds of what a visitor asks for: a photo is sent, looked at, mapped for
    several classes and layers, and shown. The page runs in a process of its own. Plain forwards of
    the same network, here, take turns with it. The memory of the page is read as it goes.
start: From the start of the command to the first map, in fresh processes, beside `import torch`.
click: From a request to the last byte of its answer, on an idle page, with what it is made of: the
    network and what limelight does with it, the packing of the answer, and the rest: the way to the
    page and back, the queue, and JSON. What the browser takes to draw is not in it.

    python benchmarks/page.py
    python benchmarks/page.py load --seconds 20 --clients 4
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image

import limelight
from limelight.photos.samples import SAMPLES, find_sample
from limelight.web.answers.maps import map_as_dict
from limelight.web.answers.probes import probe
from limelight.web.requests import MapRequest, ProbeRequest
from limelight.web.settings import Limits
from limelight.web.subjects.looks import Look
from limelight.web.subjects.networks import ServedNetwork
from limelight.web.subjects.photo_store import PhotoStore
from measure import Table, plain_forward, report, taken

#: What runs the command.
START = [sys.executable, "-c", "from limelight.cli import main; main()", "page", "--port", "0"]

#: How often the sides of the load take turns, and how often the memory is read in each turn.
TURNS, READINGS = 6, 5


@contextlib.contextmanager
def page() -> Iterator[tuple[str, int]]:
    """Start the page in a process of its own; yield its address and its process id."""
    with subprocess.Popen(START, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                found = re.search(r"http://127\.0\.0\.1:\d+", line)
                if found:
                    yield found[0], process.pid
                    return
            raise RuntimeError("the page did not start")
        finally:
            process.terminate()
            process.stdout.read()
            process.wait(30)


def asking(url: str) -> httpx.Client:
    """Return a client; certificates, which take long to load, are of no use here."""
    return httpx.Client(base_url=url, timeout=120, verify=False)


def resident(pid: int) -> float:
    """Return the resident memory of a process, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def sent(client: httpx.Client, data: bytes) -> str:
    """Send a photo; return its id."""
    identity: str = (
        client.post("/api/photos", files={"photo": data}).raise_for_status().json()["id"]
    )
    return identity


def mapped(client: httpx.Client, photo: str, maps: Sequence[dict[str, Any]]) -> None:
    """Ask for maps.

    Raises:
        RuntimeError: One is an error, or is not what was asked for.
    """
    came = client.post(f"/api/photos/{photo}/maps", json={"maps": maps}).raise_for_status()
    events = [json.loads(line) for line in came.text.splitlines()]
    made = [event for event in events if "map" in event]
    if len(made) != len(maps) or any("error" in event for event in events):
        raise RuntimeError(came.text[:500])


# ---- load


@dataclass
class Load:
    """What clients asked for, and how long it took.

    Attributes:
        url: The page.
        photos: The photos that they send.
        layers: The layers that they ask about.
        seconds: The seconds of each request, by what was asked.
        errors: What went wrong.
        maps: How many maps were made.
    """

    url: str
    photos: Sequence[bytes]
    layers: Sequence[str]
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    maps: int = 0

    def run(self, clients: int, until: float) -> None:
        """Let clients ask until some time."""
        threads = [
            threading.Thread(target=self._visit, args=(number, until)) for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _visit(self, number: int, until: float) -> None:
        random = np.random.default_rng(number)
        with asking(self.url) as client:
            client.headers["x-limelight-client"] = f"visitor {number}"
            while time.perf_counter() < until:
                try:
                    self._look_around(client, random, until)
                except Exception as error:
                    self.errors.append(repr(error))

    def _look_around(self, client: httpx.Client, random: np.random.Generator, until: float) -> None:
        """Do what a visitor does with one photo."""
        data = self.photos[int(random.integers(len(self.photos)))]
        photo = self._timed("a photo sent", lambda: sent(client, data))
        self._timed("the photo shown", lambda: _got(client, f"/api/photos/{photo}/picture"))
        self._timed("the answers", lambda: _posted(client, f"/api/photos/{photo}/look", {}))
        for _ in range(4):
            if time.perf_counter() > until:
                return
            classes = [{"target": {"class": int(n)}} for n in random.integers(0, 1000, 3)]
            self._timed("maps of 3 classes", lambda: mapped(client, photo, classes))  # noqa: B023
            layers = [{"layer": str(name)} for name in random.choice(self.layers, 3)]
            self._timed("maps of 3 layers", lambda: mapped(client, photo, layers))  # noqa: B023
            self.maps += 6

    def _timed(self, what: str, ask: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        result = ask()
        self.seconds[what].append(time.perf_counter() - begun)
        return result


def _got(client: httpx.Client, address: str) -> httpx.Response:
    return client.get(address).raise_for_status()


def _posted(client: httpx.Client, address: str, body: dict[str, Any]) -> Any:
    return client.post(address, json=body).raise_for_status().json()


def visitors_photos() -> list[bytes]:
    """Return photos as visitors send them: JPEG, of 0.1 to 6 million pixels."""
    photos = []
    for name in SAMPLES:
        with Image.open(find_sample(name)) as opened:
            photo = opened.convert("RGB")
        for width in (400, 1000, 3000):
            buffer = BytesIO()
            photo.resize((width, width * 2 // 3)).save(buffer, "JPEG", quality=85)
            photos.append(buffer.getvalue())
    return photos


def load(seconds: float, clients: int) -> list[Table]:
    """Return the table of the load, and that of the memory.

    Raises:
        RuntimeError: A request failed.
    """
    network = limelight.load_model()
    photo = limelight.load_photo(find_sample("chelsea"))
    images = network.images(photo)
    forwards, at_work = list[float](), 0.0
    memory = Table({f"seconds of load, {clients} clients": ".0f", "resident, MiB": ".0f"})
    with page() as (url, pid):
        with asking(url) as client:
            facts = client.get(f"/api/networks/{network.name}").raise_for_status().json()
            mapped(client, sent(client, visitors_photos()[0]), [{}])
        asked = Load(url, visitors_photos(), [layer["path"] for layer in facts["layers"]])
        memory.add(0, resident(pid))
        for _ in range(TURNS):
            slice_ = seconds / TURNS
            begun = time.perf_counter()
            reading = threading.Thread(target=asked.run, args=(clients, begun + slice_))
            reading.start()
            for number in range(READINGS):
                time.sleep(max(0.0, begun + (number + 1) * slice_ / READINGS - time.perf_counter()))
                memory.add(round(at_work + time.perf_counter() - begun), resident(pid))
            reading.join()
            at_work += time.perf_counter() - begun
            ended = time.perf_counter() + slice_ / 4
            while time.perf_counter() < ended:
                forwards.append(taken(lambda: plain_forward(network.model, images)))
    if asked.errors:
        raise RuntimeError(f"{len(asked.errors)} requests failed: {asked.errors[:3]}")
    forward = statistics.median(forwards)
    table = Table(
        {
            f"{clients} clients, {at_work:.0f} s, {network.name}": "",
            "asked": ",",
            "a second": ".1f",
            "over plain forwards": ".3f",
            "median, ms": ".0f",
            "95 of 100 within, ms": ".0f",
        }
    )
    for what, times in asked.seconds.items():
        rate = len(times) / at_work
        cut = statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
        table.add(what, len(times), rate, rate * forward, 1e3 * statistics.median(times), 1e3 * cut)
    every = [each for times in asked.seconds.values() for each in times]
    rate, cut = len(every) / at_work, statistics.quantiles(every, n=20)[-1]
    table.add("all", len(every), rate, rate * forward, 1e3 * statistics.median(every), 1e3 * cut)
    rate = asked.maps / at_work
    table.add("maps made", asked.maps, rate, rate * forward, "", "")
    table.add("errors", 0, "", "", "", "")
    table.add("plain forwards", len(forwards), 1 / forward, 1.0, 1e3 * forward, "")
    return [table, memory]


# ---- start


def start(rounds: int) -> Table:
    """Return the table of the way to a first map."""
    data = visitors_photos()[0]
    parts: dict[str, list[float]] = defaultdict(list)
    torch_alone = [sys.executable, "-c", "import torch"]
    for _ in range(rounds):
        parts["import torch, alone"].append(taken(lambda: subprocess.run(torch_alone, check=True)))
        begun = time.perf_counter()
        with page() as (url, _pid), asking(url) as client:
            times = [begun, time.perf_counter()]
            photo = sent(client, data)
            times.append(time.perf_counter())
            _posted(client, f"/api/photos/{photo}/look", {})
            times.append(time.perf_counter())
            mapped(client, photo, [{}])
            times.append(time.perf_counter())
        steps = ("until the page answers", "a photo sent", "the answers", "the first map")
        for name, earlier, later in zip(steps, times, times[1:], strict=False):
            parts[name].append(later - earlier)
        parts["from the command to the first map"].append(times[-1] - begun)
    table = Table({"start": "", "s": ".2f", "over import torch": ".3f"})
    base = parts["import torch, alone"]
    for name, times in parts.items():
        ratios = [one / other for one, other in zip(times, base, strict=True)]
        table.add(name, statistics.median(times), statistics.median(ratios))
    return table


# ---- click


def strokes(random: np.random.Generator, side: int = 64) -> dict[str, Any]:
    """Return a request for a brush that was drawn over a part of a photo."""
    painted = np.zeros((side, side), dtype=bool)
    row, column = random.integers(0, side - 16, 2)
    painted[row : row + 16, column : column + 16] = True
    bits = base64.b64encode(np.packbits(painted, axis=1).tobytes()).decode()
    return {"strokes": bits, "raster": [side, side], "target": {"class": 281}}


def click(rounds: int) -> Table:
    """Return the table of clicks: on another class, another layer, and with the brush."""
    network = limelight.load_model()
    served = ServedNetwork.of(network)
    layers = [layer.path for layer in served.layers]
    random, data = np.random.default_rng(0), visitors_photos()[1]
    stored = PhotoStore(Limits()).add(limelight.load_photo(find_sample("chelsea")), "chelsea")
    look = Look(stored, served, Limits())
    look.answers()
    times: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def note(name: str, client: httpx.Client, address: str, body: dict[str, Any]) -> None:
        """Ask, and do the same here, step by step."""
        begun = time.perf_counter()
        came = client.post(address, json=body).raise_for_status()
        parts = times[name]
        parts["all"].append(time.perf_counter() - begun)
        parts["bytes"].append(len(came.content))
        if "maps" in body:
            one = MapRequest.model_validate(body["maps"][0])
            found = list[Any]()
            parts["network"].append(taken(lambda: found.append(look.explain(one))))
            parts["packing"].append(taken(lambda: map_as_dict(found[0], 224, "en")))
        else:
            asked = ProbeRequest.model_validate(body)
            parts["network"].append(taken(lambda: probe(look, asked, "en")))
            parts["packing"].append(0.0)

    with page() as (url, _pid), asking(url) as client:
        client.get(f"/api/networks/{network.name}").raise_for_status()
        photo = sent(client, data)
        address = f"/api/photos/{photo}"
        _posted(client, f"{address}/look", {})
        mapped(client, photo, [{"layer": name} for name in layers])
        for number in range(rounds):
            target = {"class": int(random.integers(0, 1000))}
            note("a class", client, f"{address}/maps", {"maps": [{"target": target}]})
            layer = layers[number % len(layers)]
            body = {"maps": [{"layer": layer, "target": {"class": int(random.integers(0, 1000))}}]}
            note("a layer, of another class", client, f"{address}/maps", body)
            note("the brush", client, f"{address}/probe", strokes(random))
    forward = statistics.median(
        taken(lambda: plain_forward(network.model, look.inputs.image)) for _ in range(rounds)
    )
    columns = {"click": "", "ms": ".1f", "over a plain forward": ".3f"}
    columns |= {"network, ms": ".1f", "packing, ms": ".1f", "the rest, ms": ".1f"}
    table = Table(columns | {"kB": ".0f", "goal of 150 ms": ""})
    for name, parts in times.items():
        middle = {part: statistics.median(found) for part, found in parts.items()}
        rest = statistics.median(
            whole - network_ - packing
            for whole, network_, packing in zip(
                parts["all"], parts["network"], parts["packing"], strict=True
            )
        )
        met = "met" if middle["all"] < 0.15 else "missed"
        seconds = (middle["network"], middle["packing"], rest)
        table.add(
            name,
            1e3 * middle["all"],
            middle["all"] / forward,
            *(1e3 * each for each in seconds),
            middle["bytes"] / 1e3,
            met,
        )
    table.add("a plain forward", 1e3 * forward, 1.0, 1e3 * forward, 0.0, 0.0, 0, "")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", nargs="*", choices=["load", "start", "click", []], default=[])
    parser.add_argument("--seconds", type=float, default=60, help="of load")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5, help="of starts; 12 times as many clicks")
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md and .json")
    args = parser.parse_args()
    what = args.what or ["load", "start", "click"]
    torch.manual_seed(0)
    tables = list[Table]()
    if "load" in what:
        tables += load(args.seconds, args.clients)
    if "start" in what:
        tables.append(start(args.rounds))
    if "click" in what:
        tables.append(click(12 * args.rounds))
    told = "the embedded network, over loopback"
    report("page", tables, told=told, publish=args.publish)


if __name__ == "__main__":
    main()
