"""The queue of the page: whose turn it is, how many wait, how work ends, and what is kept of it."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import limelight
from helpers.page_attacks import HOST, PREPROCESS, Attacked, attacked, small_network
from limelight.models.network import Network
from limelight.photos.memory import PHOTO_BYTES
from limelight.photos.raster import Raster
from limelight.web.requests import MapRequest, TargetRequest
from limelight.web.routes import documents
from limelight.web.serving import jobs, page_state
from limelight.web.serving.jobs import Job
from limelight.web.serving.refusals import Refusal
from limelight.web.serving.work_queue import WorkQueue
from limelight.web.settings import Limits, PageSettings
from limelight.web.subjects import document_store, uploads
from limelight.web.subjects.looks import Look, Looks
from limelight.web.subjects.networks import ServedNetwork
from limelight.web.subjects.photo_store import PhotoStore, StoredPhoto


class Held:
    """Work that goes on until it is let go, and says when it has begun."""

    def __init__(self, *, reports: bool = True) -> None:
        self.begun, self.let_go, self.reports = threading.Event(), threading.Event(), reports

    def __call__(self, job: Job[str]) -> str:
        self.begun.set()
        while not self.let_go.wait(0.001):
            if self.reports:
                job.check()
        return "let go"


@pytest.fixture
def queue() -> Iterator[WorkQueue]:
    made = WorkQueue(Limits(waiting=6))
    yield made
    made.close()


def submitted(queue: WorkQueue, done: list[str], client: str, name: str = "") -> Job[None]:
    """Submit work that notes its name, that of its client by default."""
    return queue.submit(lambda _job: done.append(name or client), client)


async def ended(*waiting: Job[Any]) -> list[Any]:
    """Return the result, or the code of the refusal, of each job."""
    found = list[Any]()
    for job in waiting:
        async for kind, value in job.events():
            if kind != "event":
                found.append(value.code if isinstance(value, Refusal) else value)
    return found


async def begun(held: Held) -> None:
    await asyncio.to_thread(held.begun.wait, 30)


# ---- whose turn it is


def test_addresses_take_turns_and_one_that_has_many_names_has_no_more_turns(
    queue: WorkQueue,
) -> None:
    async def ask() -> list[str]:
        held, done = Held(), list[str]()
        first = queue.submit(held, "10.0.0.9 x")
        await begun(held)
        clients = ["10.0.0.1 a", "10.0.0.1 b", "10.0.0.1 c", "10.0.0.2 a", "10.0.0.2 a", "10.0.0.3"]
        waiting = [submitted(queue, done, client) for client in clients]
        held.let_go.set()
        await ended(first, *waiting)
        return done

    assert asyncio.run(ask()) == [
        "10.0.0.1 a",
        "10.0.0.2 a",
        "10.0.0.3",
        "10.0.0.1 b",
        "10.0.0.2 a",
        "10.0.0.1 c",
    ]


def test_the_pages_of_one_address_take_turns(queue: WorkQueue) -> None:
    async def ask() -> list[str]:
        held, done = Held(), list[str]()
        first = queue.submit(held, "x")
        await begun(held)
        named = [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("b", "b2")]
        waiting = [submitted(queue, done, f"x {client}", name) for client, name in named]
        held.let_go.set()
        await ended(first, *waiting)
        return done

    assert asyncio.run(ask()) == ["a1", "b1", "a2", "b2", "a3"]


def test_what_goes_first_waits_for_nothing_else_of_its_client_and_keeps_nobody_else_waiting(
    queue: WorkQueue,
) -> None:
    async def ask() -> list[str]:
        held, done = Held(), list[str]()
        first = queue.submit(held, "x")
        await begun(held)
        named = [("a", "strips"), ("b", "other"), ("a", "look"), ("a", "main")]
        waiting = [
            queue.submit(
                lambda _job, name=name: done.append(name),  # type: ignore[misc]
                f"x {client}",
                goes_first=name in ("look", "main"),
            )
            for client, name in named
        ]
        held.let_go.set()
        await ended(first, *waiting)
        return done

    assert asyncio.run(ask()) == ["look", "other", "main", "strips"]


def test_who_fills_the_queue_makes_room_for_others_and_nobody_else_does(queue: WorkQueue) -> None:
    async def ask() -> tuple[list[Any], int]:
        held, done = Held(), list[str]()
        first = queue.submit(held, "x")
        await begun(held)
        hostile = [submitted(queue, done, f"10.0.0.1 {n}") for n in range(6)]
        with pytest.raises(Refusal, match="6 requests are waiting"):
            submitted(queue, done, "10.0.0.1 another name")
        others = [submitted(queue, done, "10.0.0.2 a") for _ in range(3)]
        with pytest.raises(Refusal, match="6 requests are waiting"):  # no more than the first has
            submitted(queue, done, "10.0.0.2 a")
        length = queue.length
        held.let_go.set()
        return await ended(first, *hostile, *others), length

    found, length = asyncio.run(ask())
    assert found == ["let go", None, None, None, "busy", "busy", "busy", None, None, None]
    assert length == 6


def test_a_client_may_replace_only_its_own_work(queue: WorkQueue) -> None:
    async def ask() -> list[Any]:
        held, done = Held(), list[str]()
        first = queue.submit(held, "x a", "map")
        await begun(held)
        own = queue.submit(lambda _job: "old", "x a", "map")
        others = queue.submit(lambda _job: "other", "x b", "map")
        unnamed = submitted(queue, done, "x a")
        new = queue.submit(lambda _job: "new", "x a", "map")
        return await ended(first, own, others, unnamed, new)

    assert asyncio.run(ask()) == ["stopped", "stopped", "other", None, "new"]


# ---- how work ends


@pytest.mark.parametrize(
    "error",
    [ValueError("/secret"), MemoryError(), SystemExit(3), RecursionError(), StopIteration()],
)
def test_work_that_fails_disturbs_no_other(
    queue: WorkQueue, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_job: Job[None]) -> None:
        raise error

    async def ask() -> list[Any]:
        done = list[str]()
        return await ended(queue.submit(fails, "x"), submitted(queue, done, "y"))

    found = asyncio.run(ask())
    assert found == [error, None]
    assert type(error).__name__ in caplog.text  # with its frames, for whoever runs the page


def test_an_error_keeps_nothing_of_the_work_that_failed(queue: WorkQueue) -> None:
    class Large:
        pass

    left = list[weakref.ref[Large]]()

    def fails(_job: Job[None]) -> None:
        large = Large()
        left.append(weakref.ref(large))
        try:
            raise ValueError
        except ValueError as error:
            raise limelight.LimelightError("in between") from error

    async def ask() -> BaseException:
        job = queue.submit(fails, "x")
        (error,) = await ended(job)
        del job
        await ended(queue.submit(lambda _job: None, "x"))
        found: BaseException = error
        return found

    error = asyncio.run(ask())
    gc.collect()
    assert str(error) == "in between"
    assert left[0]() is None


def test_work_whose_time_is_over_ends_at_its_next_step() -> None:
    queue = WorkQueue(Limits(seconds=0.01))

    async def ask() -> list[Any]:
        return await ended(queue.submit(Held(), "x"), queue.submit(lambda _job: "next", "y"))

    assert asyncio.run(ask()) == ["out-of-time", "next"]
    queue.close()


def test_whoever_waits_for_work_that_cannot_be_stopped_is_told_and_so_is_who_comes() -> None:
    queue = WorkQueue(Limits(seconds=0.01))
    held = Held(reports=False)

    async def ask() -> list[Any]:
        found = await ended(queue.submit(held, "x"))  # it is still at work
        while not queue.is_stuck:
            await asyncio.sleep(0.001)
        with pytest.raises(Refusal) as refusal:
            queue.submit(lambda _job: None, "y")
        held.let_go.set()
        while queue.seconds_at_work:
            await asyncio.sleep(0.001)
        again = await ended(queue.submit(lambda _job: "again", "y"))
        return [*found, refusal.value.code, *again]

    assert asyncio.run(ask()) == ["out-of-time", "stuck", "again"]
    queue.close()


def test_what_is_told_and_not_read_is_bounded_for_each_address(
    queue: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_MOST_UNREAD", 1000)

    told = threading.Event()

    def tells(job: Job[str]) -> str:
        try:
            for _ in range(10):
                job.tell({"map": {"heatmap": "x" * 150}})
        finally:
            told.set()
        return "done"

    async def ask() -> list[Any]:
        unread = queue.submit(tells, "10.0.0.1 a")
        told.wait(30)  # nothing is read meanwhile
        same, other = queue.submit(tells, "10.0.0.1 b"), queue.submit(lambda _job: "small", "y")
        waiting = await ended(same)  # which is refused while the first is unread
        return [*waiting, *await ended(unread), *await ended(other)]

    assert asyncio.run(ask()) == ["unread", "unread", "small"]

    async def read() -> list[Any]:
        def slowly(job: Job[str]) -> str:
            for _ in range(30):
                job.tell({"map": "x" * 900})
                while job.client in str(queue._unread._bytes):  # until it is read
                    job.check()
            return "done"

        return await ended(queue.submit(slowly, "10.0.0.1"))

    assert asyncio.run(read()) == ["done"]


def test_what_is_told_after_the_client_left_counts_as_unread_no_longer(
    queue: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_MOST_UNREAD", 1000)

    async def leave() -> list[Any]:
        held = Held(reports=False)

        def tells(job: Job[str]) -> str:
            held(job)
            job.tell({"map": "x" * 900})
            return "done"

        async def read(job: Job[str]) -> None:
            async for _ in job.events():
                pass

        reader = asyncio.create_task(read(queue.submit(tells, "10.0.0.1")))
        await begun(held)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        held.let_go.set()

        def again(job: Job[str]) -> str:
            job.tell({"map": "x" * 900})
            return "read"

        await ended(queue.submit(lambda _job: "next", "10.0.0.1"))
        return await ended(queue.submit(again, "10.0.0.1"))

    assert asyncio.run(leave()) == ["read"]


def test_the_end_stops_the_work_in_hand_and_refuses_what_waits() -> None:
    queue, held = WorkQueue(Limits()), Held()

    async def ask() -> list[Any]:
        first = queue.submit(held, "x")
        await begun(held)
        waiting = queue.submit(lambda _job: "never", "y")
        queue.end()
        with pytest.raises(Refusal) as refusal:
            queue.submit(lambda _job: "never", "z")
        return [*await ended(first, waiting), refusal.value.code]

    assert asyncio.run(ask()) == ["stopped", "stopped", "stopped"]
    queue.close()
    assert not queue.running


# ---- with the server around it


@pytest.fixture(scope="module")
def page() -> Iterator[Attacked]:
    with attacked() as running:
        yield running


def uploaded(page: Attacked) -> str:
    with page.client() as client:
        identity: str = client.post("/api/photos/sample/chelsea").json()["id"]
    return identity


def until(true: Callable[[], bool]) -> None:
    waited = threading.Event()
    for _ in range(3000):
        if true():
            return
        waited.wait(0.01)
    raise AssertionError("it never came true")


@pytest.mark.parametrize("address", ["look", "maps"])
def test_work_stops_when_the_client_leaves(
    page: Attacked, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, held = uploaded(page), Held()
    stopped = list[str]()

    def look(*_: object) -> None:
        job = page.state.queue._current
        assert job is not None
        try:
            held(job)
        except Refusal as refusal:
            stopped.append(refusal.code)
            raise

    monkeypatch.setattr(type(page.state.networks), "get", look)
    monkeypatch.setattr(type(page.state.networks), "answers_questions", lambda *_: False)
    body = b'{"maps":[{}]}' if address == "maps" else b"{}"
    request = f"POST /api/photos/{photo}/{address} HTTP/1.1\r\nContent-Length: {len(body)}\r\n"
    request += "Content-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", page.port), timeout=30) as connection:
        connection.sendall(request.encode() + HOST + b"\r\n" + body)
        assert held.begun.wait(30)
    until(lambda: stopped == ["stopped"])
    monkeypatch.undo()
    assert page.is_well()


def test_many_at_once_are_all_answered_or_told_to_come_back(page: Attacked) -> None:
    photo = uploaded(page)

    def ask(number: int) -> tuple[int, str]:
        headers = {"x-limelight-client": f"page {number}"}
        body = {"maps": [{"target": {"class": number % 3}}]}
        came = client.post(f"/api/photos/{photo}/maps", json=body, headers=headers)
        last = json.loads(came.text.splitlines()[-1])
        return came.status_code, last.get("error", {}).get("code", "done")

    with page.client() as client, ThreadPoolExecutor(80) as pool:
        found = set(pool.map(ask, range(160)))
    assert found <= {(200, "done"), (503, "busy"), (200, "busy")}
    assert (200, "done") in found
    assert page.is_well()


def test_a_walkthrough_lets_the_maps_of_its_own_page_be_made_meanwhile(
    page: Attacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, begun, mapped = uploaded(page), threading.Event(), threading.Event()

    def until_mapped(_look: Look, _asked: object, _language: str, progress: Any) -> str:
        while not mapped.is_set():
            progress("cells", 1, 8)
            begun.set()
        return "the document"

    monkeypatch.setattr(documents, "walk_through", until_mapped)
    headers = {"x-limelight-client": "one page"}
    with page.client(headers=headers) as client, ThreadPoolExecutor(1) as pool:
        walked = pool.submit(client.post, f"/api/photos/{photo}/walkthrough", json={})
        assert begun.wait(30)
        body = {"maps": [{}], "replaces": "main", "first": True}
        came = client.post(f"/api/photos/{photo}/maps", json=body)
        mapped.set()
        last = json.loads(walked.result().text.splitlines()[-1])
        assert json.loads(came.text.splitlines()[-1]) == {"done": 1}
        assert client.get(last["document"]).text == "the document"


def test_slow_maps_let_others_be_made_meanwhile_and_wait_for_each_other(
    page: Attacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, begun, mapped = uploaded(page), threading.Event(), threading.Event()
    explain, at_work, most = Look.explain, [0], [0]

    def until_mapped(look: Look, request: MapRequest, progress: Any = None) -> Any:
        if request.method != "rise:masks=8":
            return explain(look, request, progress)
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        while not mapped.is_set():
            progress("rise", 1, 8)
            begun.set()
        at_work[0] -= 1
        return explain(look, MapRequest(), progress)

    monkeypatch.setattr(Look, "explain", until_mapped)
    address, slow = f"/api/photos/{photo}/maps", {"maps": [{"method": "rise:masks=8"}]}
    with page.client() as client, ThreadPoolExecutor(2) as pool:
        made = [pool.submit(client.post, address, json=slow) for _ in range(2)]
        assert begun.wait(30)
        came = client.post(address, json={"maps": [{"target": {"class": 1}}]})
        mapped.set()
        last = [
            json.loads(each.text.splitlines()[-1]) for each in (came, *(m.result() for m in made))
        ]
    assert last == [{"done": 1}] * 3
    assert most == [1]


def test_the_server_ends_at_once_with_work_in_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    held, told = Held(), list[str]()
    with attacked() as ending:
        photo = uploaded(ending)

        def look(*_: object) -> None:
            job = ending.state.queue._current
            assert job is not None
            held(job)

        def ask(address: str) -> None:
            with ending.client() as client:
                body: dict[str, Any] = {"maps": [{}]} if address == "maps" else {}
                came = client.post(f"/api/photos/{photo}/{address}", json=body)
            told.append(json.loads(came.text.splitlines()[-1])["error"]["code"])

        monkeypatch.setattr(type(ending.state.networks), "get", look)
        monkeypatch.setattr(type(ending.state.networks), "answers_questions", lambda *_: False)
        waiting = [threading.Thread(target=ask, args=(what,)) for what in ("maps", "look", "look")]
        for thread in waiting:
            thread.start()
        assert held.begun.wait(30)
        until(lambda: ending.state.queue.length == 2)
        ending.server.should_exit = True
        for thread in waiting:
            thread.join(30)
    assert told == ["stopped"] * 3
    assert not ending.thread.is_alive()
    assert not ending.state.queue.running
    with pytest.raises(httpx.ConnectError):
        httpx.get(ending.url)


# ---- what is kept


def photo_of(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height))


def test_whoever_holds_most_makes_room_for_others() -> None:
    size = 4 * 100 * 100 + 10_000
    store = PhotoStore(Limits(photo_bytes=4 * size))
    own = store.add(photo_of(100, 100), "own", "10.0.0.2")
    hostile = [store.add(photo_of(100, 100), f"{n}", "10.0.0.1") for n in range(50)]
    assert store.get(own.id).held
    assert [each.held for each in hostile] == [False] * 47 + [True] * 3
    assert store.taken <= 4 * size


def test_many_tiny_photos_are_bounded_too() -> None:
    store = PhotoStore(Limits(photo_bytes=1_000_000))
    for number in range(300):
        store.add(photo_of(1, 1), str(number))
    assert len(store) < 100


def test_a_raster_counts_with_all_its_numbers() -> None:
    values = np.zeros((100, 100, 3), dtype=np.float64)
    stored = StoredPhoto("", "", Raster(values, (0.0, 1.0)))
    assert stored.taken >= values.nbytes


def test_photos_that_nobody_asks_for_are_dropped_wherever_they_stand() -> None:
    now = [0.0]
    store = PhotoStore(Limits(idle_seconds=10), lambda: now[0])
    first, last = store.add(photo_of(2, 2), "first"), store.add(photo_of(2, 2), "last")
    now[0] = 8
    store.get(first.id)
    now[0] = 12
    assert store.get(first.id) is first
    with pytest.raises(Refusal):
        store.get(last.id)
    now[0] = 30
    with pytest.raises(Refusal):
        store.get(first.id)
    assert len(store) == 0


def test_photos_and_documents_are_dropped_also_where_nobody_asks_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_state, "_DROP_SECONDS", 0.001)
    monkeypatch.setattr(document_store, "_SECONDS", 0.001)
    with attacked(PageSettings(port=0, limits=Limits(idle_seconds=0.001))) as idle:
        idle.state.photos.add(photo_of(2, 2), "a")
        idle.state.documents.add("<html>")
        until(lambda: len(idle.state.photos) == len(idle.state.documents) == 0)


def test_the_last_document_is_dropped_after_a_while_too() -> None:
    now = [0.0]
    store = document_store.DocumentStore(lambda: now[0])
    only = store.add("<html>")
    now[0] = 899
    assert store.get(only) == "<html>"
    now[0] = 1900
    with pytest.raises(Refusal):
        store.get(only)


@pytest.fixture(scope="module")
def served() -> ServedNetwork:
    return ServedNetwork.of(small_network())


def test_nothing_is_kept_of_a_photo_that_is_dropped(served: ServedNetwork) -> None:
    looks = Looks(Limits())
    store = PhotoStore(Limits(), dropped=looks.drop)
    photo = photo_of(40, 40)
    stored = store.add(photo, "a")
    left = weakref.ref(photo)
    looks.get(stored, served).answers()
    assert looks.taken > 0
    store.drop(stored.id)
    assert looks.taken == 0
    looks.get(stored, served).answers()  # work that waited when it was dropped
    assert looks.taken == 0
    del photo, stored
    gc.collect()
    assert left() is None


def test_nothing_is_kept_of_whom_a_map_was_reported_to_whether_it_was_made_or_stopped(
    served: ServedNetwork,
) -> None:
    class Reader:
        def __init__(self, last: int) -> None:
            self.told, self.last = list[int](), last

        def __call__(self, _task: str, done: int, _total: int) -> None:
            self.told.append(done)
            if len(self.told) == self.last:
                raise Refusal("stopped", 409)

    look = Look(PhotoStore(Limits()).add(photo_of(40, 40), "a"), served, Limits())
    readers = Reader(2), Reader(-1)
    with pytest.raises(Refusal):
        look.explain(MapRequest(method="rise:masks=20"), readers[0])
    look.explain(MapRequest(method="rise:masks=20"), readers[1])
    assert [len(each.told) for each in readers] == [2, 3]
    left = [weakref.ref(each) for each in readers]
    del readers
    gc.collect()
    assert [each() for each in left] == [None, None]


def test_a_look_keeps_few_layers_that_the_page_does_not_offer_and_still_maps_them() -> None:
    torch.manual_seed(0)
    pairs = [(nn.Conv2d(4 if n else 3, 4, 3, padding=1), nn.ReLU()) for n in range(9)]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    deep = nn.Sequential(*(layer for pair in pairs for layer in pair), *head)
    served = ServedNetwork.of(Network("deep", deep.eval(), PREPROCESS))
    look = Look(PhotoStore(Limits()).add(photo_of(64, 64), "a"), served, Limits())
    names = [str(2 * number) for number in range(9)]
    first = look.explain(MapRequest(layer=names[1]))
    for name in names[1:]:
        look.explain(MapRequest(layer=name))
    assert len(names) > 6
    assert look.taken <= 6 * served.graph_bytes
    again = look.explain(MapRequest(layer=names[1], target=TargetRequest(counterfactual=False)))
    assert again.raw.equal(first.raw)


def test_a_photo_too_long_for_a_network_that_sees_all_of_it_is_refused() -> None:
    whole = limelight.Preprocess(size=None, resize=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    network = small_network()
    served = ServedNetwork.of(Network("whole", network.model, whole, network.classes))
    store, limits = PhotoStore(Limits()), Limits(look_bytes=1)
    assert Look(store.add(photo_of(120, 32), "a"), served, limits).answers()
    with pytest.raises(Refusal, match="'whole' would see the photo as 40000 x 32 pixels"):
        Look(store.add(photo_of(40_000, 32), "a"), served, limits)
    cropped = ServedNetwork.of(Network("cropped", network.model, PREPROCESS, network.classes))
    assert Look(store.add(photo_of(40_000, 32), "a"), cropped, limits).answers()


def test_photos_are_decoded_together_only_as_far_as_the_memory_of_one_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going, most, lock = [0], [0], threading.Lock()

    class Opened:
        bytes = int(PHOTO_BYTES * 0.4)

        def decode(self) -> Image.Image:
            with lock:
                going[0] += 1
                most[0] = max(most[0], going[0])
            threading.Event().wait(0.02)
            with lock:
                going[0] -= 1
            return photo_of(8, 8)

        def close(self) -> None:
            pass

    monkeypatch.setattr(uploads, "open_picture", lambda *_: Opened())
    data = (limelight.photos.samples.find_sample("chelsea")).read_bytes()
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda _: uploads.read_upload(data, "a", Limits()), range(10)))
    assert most[0] == 2


def test_a_page_decodes_and_draws_with_few_threads(page: Attacked) -> None:
    photo = uploaded(page)

    def ask(_: int) -> int:
        client.post("/api/photos/sample/coffee")
        return client.get(f"/api/photos/{photo}/picture").status_code

    with page.client() as client, ThreadPoolExecutor(12) as pool:
        assert set(pool.map(ask, range(24))) == {200}
    mine = [each for each in threading.enumerate() if each.name.startswith("limelight-photos")]
    assert 1 <= len(mine) <= 4


def test_settings_bound_the_page_from_the_start() -> None:
    limits = PageSettings().limits
    assert (limits.upload_bytes, limits.pixels, limits.waiting) == (20_000_000, 40_000_000, 64)
