"""Who may ask the page, how much may arrive, how long it may take, and what is told."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from helpers.page_attacks import HOST, Answer, Attacked, asked, attacked, received, serving
from limelight.web.serving import arrivals, server
from limelight.web.serving.guard import Guard
from limelight.web.serving.passwords import Passwords
from limelight.web.serving.refusals import Refusal
from limelight.web.serving.server import uvicorn_config
from limelight.web.settings import Limits, PageSettings

SMALL = Limits(upload_bytes=1000, files=2)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """A page that reads all of a request, and answers with the number of its bytes."""
    count, more = 0, True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        count += len(message["body"])
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(count).encode()})


def answer(settings: PageSettings | None = None, path: str = "/", **how: Any) -> Answer:
    return asyncio.run(asked(Guard(echo, settings or PageSettings()), path, **how))


# ---- for whom, and from where


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860", "192.168.1.4", "ward-pc:7860"],
)
def test_the_page_is_asked_for_by_its_address_or_its_names(host: str) -> None:
    assert answer(PageSettings(names=("Ward-PC",)), headers={"host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example@127.0.0.1",
        "127.0.0.1/evil",
        "localhost:port",
        "[::1",
        "[",
        "localhost:7860:7860",
        "lоcalhost".encode().decode("latin-1"),  # noqa: RUF001 - a Cyrillic letter
        "\N{SUPERSCRIPT TWO}",
        "localhost\x00",
        "",
        " ",
    ],
)
def test_a_page_elsewhere_cannot_have_its_name_point_here(host: str) -> None:
    refused = answer(headers={"host": host})
    assert (refused.status, refused.error) == (421, "host")


@pytest.mark.parametrize("hosts", [(), ("localhost", "evil.example"), ("localhost", "localhost")])
def test_a_request_is_meant_for_one_host(hosts: tuple[str, ...]) -> None:
    pairs = [("host", host) for host in hosts] or [("host", "")]
    assert answer(headers=pairs).error == "host"


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        ("http://127.0.0.1:7860", True),
        ("https://127.0.0.1:7860", True),  # behind a proxy that encrypts
        ("HTTP://127.0.0.1:7860", True),
        ("https://ward.example", True),  # a name that was set
        ("http://127.0.0.1:8888", False),
        ("http://127.0.0.1", False),
        ("http://localhost:7860", False),
        ("http://evil.example", False),
        ("http://127.0.0.1:7860.evil.example", False),
        ("null", False),
        ("http://[", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_the_page_itself_may_ask(method: str, origin: str, may: bool) -> None:
    settings = PageSettings(names=("ward.example",))
    given = answer(settings, method=method, headers={"origin": origin})
    assert (given.status, given.error) == ((200, "") if may else (403, "origin"))


def test_a_form_elsewhere_cannot_post_here() -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        headers = {"origin": "http://evil.example", "content-type": kind}
        assert answer(method="POST", headers=headers, body=[b"{}"]).error == "origin"


@pytest.mark.parametrize(
    ("site", "mode", "method", "path", "may"),
    [
        ("same-origin", "cors", "POST", "/api/photos", True),
        ("none", "navigate", "GET", "/", True),
        ("cross-site", "navigate", "GET", "/", True),  # a link, or a notebook's frame
        ("cross-site", "navigate", "GET", "/documents/x", True),
        ("cross-site", "navigate", "GET", "/api/networks/x", False),
        ("cross-site", "navigate", "POST", "/", False),
        ("cross-site", "no-cors", "GET", "/", False),
        ("same-site", "no-cors", "GET", "/api/photos/x/picture", False),  # another port
    ],
)
def test_what_a_browser_says_of_who_asks_is_heard(
    site: str, mode: str, method: str, path: str, may: bool
) -> None:
    headers = {"sec-fetch-site": site, "sec-fetch-mode": mode}
    given = answer(path=path, method=method, headers=headers)
    assert given.error == ("" if may else "origin")


def test_web_sockets_are_closed() -> None:
    sent = list[Any]()

    async def send(message: Any) -> None:
        sent.append(message)

    async def connect() -> None:
        await Guard(echo, PageSettings())({"type": "websocket", "path": "/"}, None, send)  # type: ignore[arg-type]

    asyncio.run(connect())
    assert [message["type"] for message in sent] == ["websocket.close"]


# ---- who is known

SECRET = PageSettings(user="ward", password="päss:word")


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_user_and_password_let_in() -> None:
    assert answer(SECRET, headers=basic("ward:päss:word")).status == 200
    lower = {"authorization": basic("ward:päss:word")["authorization"].replace("Basic", "basic")}
    assert answer(SECRET, headers=lower).status == 200


def test_an_answer_does_not_tell_whether_the_user_or_the_password_is_wrong() -> None:
    wrong = ["ward:wrong", "nobody:päss:word", "nobody:wrong", "ward:", ":", ""]
    answers = [answer(SECRET, headers=basic(text)) for text in wrong]
    assert {(each.status, each.body) for each in answers} == {(401, answers[0].body)}
    assert all(each.headers["www-authenticate"].startswith("Basic ") for each in answers)


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic ",
        "Basic !",
        "Basic =",
        "Bearer x",
        "Basic \xff",
        "Basic d2FyZA==",
        "x" * 9000,
    ],
)
def test_a_header_that_holds_no_password_lets_nobody_in(header: str) -> None:
    assert answer(SECRET, headers={"authorization": header}).status == 401


def test_supervisors_need_no_password_and_nothing_else_is_open() -> None:
    assert answer(SECRET, "/health").status == 200
    for path in ("/", "/metrics", "/health/", "/health/..", "//health", "/static/health"):
        assert answer(SECRET, path).status == 401


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def guess(passwords: Passwords, text: str, address: str = "10.0.0.1") -> int:
    """Return the status of an answer to a password; 200 if it lets in."""
    try:
        passwords.check(basic(text)["authorization"], address)
    except Refusal as refusal:
        return refusal.http_status
    return 200


def test_who_guesses_is_not_listened_to_for_a_while_right_or_wrong() -> None:
    clock = Clock()
    passwords = Passwords(SECRET, clock)
    assert [guess(passwords, f"ward:{n}") for n in range(12)] == [401] * 10 + [429] * 2
    assert guess(passwords, "ward:päss:word") == 429
    clock.now += 10  # one more guess
    assert [guess(passwords, "ward:x"), guess(passwords, "ward:y")] == [401, 429]
    clock.now += 10
    assert guess(passwords, "ward:päss:word") == 200


def test_long_guessing_gives_few_guesses() -> None:
    clock = Clock()
    passwords = Passwords(SECRET, clock)
    heard = 0
    for _ in range(5000):
        heard += guess(passwords, "ward:x") == 401
        clock.now += 1
    assert heard <= 10 + 5000 / 10


def test_others_are_listened_to_while_somebody_guesses() -> None:
    passwords = Passwords(SECRET, Clock())
    assert [guess(passwords, "ward:x", "2001:db8::1") for _ in range(10)] == [401] * 10
    assert guess(passwords, "ward:päss:word", "2001:db8:0:1::1") == 200
    assert guess(passwords, "ward:päss:word", "2001:db8::2") == 429  # the same customer


def test_who_sends_no_password_is_asked_for_one_as_often_as_they_like() -> None:
    passwords = Passwords(SECRET, Clock())
    for _ in range(50):
        with pytest.raises(Refusal) as refusal:
            passwords.check("", "10.0.0.1")
        assert refusal.value.http_status == 401
    assert guess(passwords, "ward:päss:word") == 200


# ---- how much arrives

FORM = {"content-type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize("length", ["400000", "9" * 30])
def test_a_request_that_says_it_is_too_large_is_refused_unread(length: str) -> None:
    headers = {**FORM, "content-length": length, "expect": "100-continue"}
    refused = answer(PageSettings(limits=SMALL), method="POST", headers=headers)
    assert (refused.status, refused.error, refused.parts) == (413, "too-many-bytes", 0)


@pytest.mark.parametrize(
    "headers",
    [{"transfer-encoding": "chunked"}, {"content-length": "10"}],
    ids=["chunked", "lying"],
)
def test_what_arrives_is_counted_whatever_is_said_of_it(headers: dict[str, str]) -> None:
    parts = [b"x" * 1000] * 203
    settings = PageSettings(limits=SMALL)
    refused = answer(settings, method="POST", headers=FORM | headers, body=parts)
    assert (refused.status, refused.error) == (413, "too-many-bytes")
    assert answer(settings, method="POST", headers=FORM | headers, body=parts[1:]).body == b"202000"


def test_what_is_no_form_may_be_no_larger_than_one_photo_and_json_than_2_megabytes() -> None:
    large = [b"x" * 1_000_000] * 3
    for kind, status in (("application/json", 413), ("text/plain", 413), ("image/png", 200)):
        headers = {"content-type": kind, "transfer-encoding": "chunked"}
        assert answer(method="POST", headers=headers, body=large).status == status


def test_requests_that_arrive_together_are_bounded_and_counted_no_longer_when_answered() -> None:
    guard = Guard(echo, PageSettings(limits=SMALL))
    headers = {**FORM, "transfer-encoding": "chunked"}
    full = [b"x" * 201_000]

    async def all_of_them() -> list[Answer]:
        waiting = [
            asyncio.create_task(asked(guard, method="POST", headers=headers, body=full, ends=False))
            for _ in range(2)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        third = await asked(guard, method="POST", headers=headers, body=full)
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
        return [third, await asked(guard, method="POST", headers=headers, body=full)]

    third, later = asyncio.run(all_of_them())
    assert (third.status, third.error, later.status) == (503, "too-much-at-once", 200)


def test_a_request_that_does_not_arrive_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "_PATIENCE", 0.01)
    monkeypatch.setattr(arrivals, "_READ_ON_SECONDS", 0.01)
    headers = {"transfer-encoding": "chunked"}
    refused = answer(method="POST", headers=headers, body=[b"x"], ends=False)
    assert (refused.status, refused.error) == (408, "too-slow")


def test_refusals_are_in_the_readers_language() -> None:
    headers = {"host": "evil.example", "accept-language": "zh-CN,zh;q=0.9,en;q=0.5"}
    assert "本页不以名称 evil.example 应答" in answer(headers=headers).body.decode()
    headers = {"host": "evil.example", "accept-language": "zh"}
    assert "does not answer for the name" in answer(path="/?lang=en", headers=headers).body.decode()


def test_a_page_that_fails_is_told_as_an_error_and_names_nothing_of_the_machine(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise FileNotFoundError("/etc/secret/place")

    failed = asyncio.run(asked(Guard(fails, PageSettings())))
    assert (failed.status, failed.error) == (500, "internal")
    assert b"secret" not in failed.body
    assert "/etc/secret/place" in caplog.text  # for whoever runs the page


# ---- on the wire


@pytest.fixture(scope="module")
def page() -> Iterator[Attacked]:
    with attacked() as running:
        yield running


JUNK = {
    "nothing": b"",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n" + HOST + b"Host: evil\r\n\r\n",
    "a long line": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a long header": b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 20_000 + b"\r\n",
    "a null byte": b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a folded header": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    "a header without a name": b"GET / HTTP/1.1\r\n" + HOST + b": a\r\n\r\n",
    "negative length": b"POST /api/photos HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
    "two lengths": b"POST /api/photos HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\nx",
    "a length that is no number": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: \xb2\r\n\r\n",
    "chunks that are none": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    b"zz\r\nx\r\n",
    "a chunk of many exabytes": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n"
    b"fffffffffffffffff\r\nx\r\n",
    "an encoding that is unknown": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: x\r\n\r\n",
    "an absolute address": b"GET http://evil.example/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "a proxy": b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a web socket": b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "a request cut short": b"POST /api/photos HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 100\r\n\r\nx",
}


@pytest.mark.parametrize("sent", JUNK.values(), ids=JUNK)
def test_junk_is_answered_or_cut_and_the_next_request_is_answered(
    page: Attacked, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_HEADER_SECONDS", 0.1)
    monkeypatch.setattr(arrivals, "_PATIENCE", 0.1)
    came = page.wire(sent)
    assert came == b"" or re.match(rb"HTTP/1\.1 [245]\d\d ", came)
    assert not came.startswith(b"HTTP/1.1 500")
    assert page.is_well()


def test_what_is_smuggled_behind_a_request_is_a_request_of_its_own(page: Attacked) -> None:
    both = b"POST /api/page HTTP/1.1\r\n" + HOST + b"Content-Length: 50\r\n"
    both += b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /nowhere HTTP/1.1\r\n" + HOST
    came = page.wire(both + b"Connection: close\r\n\r\n")
    # What is not read as the body of the first is refused as what it is.
    assert [line[9:12] for line in re.findall(rb"HTTP/1\.1 \d+ ", came)] in (
        [b"405", b"404"],
        [b"400"],
    )


INSIDE = [
    "../application.py",
    "..%2fapplication.py",
    "%2e%2e/application.py",
    "%2e%2e%2fapplication.py",
    "..%5capplication.py",
    "%252e%252e/application.py",
    "../../../../../../etc/passwd",
    "..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "index.html%00.js",
    "%00",
    "%0d%0aset-cookie:%20a=b",
    "%ff%fe",
    "%ed%a0%80",
    "a" * 5000,
    "a/" * 2000,
    "",
    ".",
    "..",
    "con",
    "__init__.py",
]


@pytest.mark.parametrize("path", INSIDE)
def test_no_file_is_served_but_those_of_the_page(page: Attacked, path: str) -> None:
    came = page.wire(
        f"GET /static/{path} HTTP/1.1\r\n".encode() + HOST + b"Connection: close\r\n\r\n"
    )
    assert re.match(rb"HTTP/1\.1 40[0-9] ", came), came[:200]
    for secret in (b"root:", b"import", b"/src/", b"site-packages", b"set-cookie:"):
        assert secret not in came


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PATCH", "TRACE", "DELETE", "BREW"])
def test_other_methods_are_refused_and_open_nothing_to_others(page: Attacked, method: str) -> None:
    with page.client(headers={"origin": page.url.rstrip("/")}) as client:
        refused = client.request(method, "/api/page")
    assert refused.status_code == 405
    assert refused.headers["allow"] == "GET"
    assert not [name for name in refused.headers if name.startswith("access-control")]


def test_a_head_has_no_body_and_keeps_the_connection_in_step(page: Attacked) -> None:
    with page.client() as client:
        assert client.head("/api/page").content == b""
        assert client.get("/health").json()["status"] == "ok"


def test_an_answer_tells_nothing_of_the_server_and_lets_nothing_in(page: Attacked) -> None:
    with page.client() as client:
        for address in ("/", "/api/page", "/nowhere", "/static/nowhere"):
            headers = client.get(address).headers
            assert "server" not in headers
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cross-origin-resource-policy"] == "same-origin"


def test_the_server_is_bounded_and_believes_no_proxy() -> None:
    config = uvicorn_config(echo, PageSettings())
    assert {config.server_header, config.proxy_headers, config.access_log} == {False}
    assert config.ws == "none"
    assert (config.limit_concurrency, config.workers) == (256, 1)
    assert config.h11_max_incomplete_event_size == 16_384
    assert config.timeout_graceful_shutdown == 3


def test_silent_connections_are_cut(page: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEADER_SECONDS", 0.05)
    answered = b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n"
    for begun in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost:", answered):
        came = page.wire(begun)  # which returns only once the page cuts it
        assert b"200 OK" not in came
    monkeypatch.undo()
    assert page.is_well()


def test_who_does_not_read_is_cut(page: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_UNREAD_SECONDS", 0.05)
    ended = threading.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
        ended.set()

    with (
        serving(endless, PageSettings(), page.state) as stalled,
        socket.create_connection(("127.0.0.1", stalled.port), timeout=30) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert ended.wait(30)  # though nothing is read
        assert len(received(connection)) < 50_000_000


# ---- what is asked as JSON

MAPS = [
    '{"maps":[{"target":{"pixel":[NaN,1]}}]}',
    '{"maps":[{"target":{"pixel":[1e400,1]}}]}',
    '{"maps":[{"target":{"pixel":[-Infinity,1]}}]}',
    '{"maps":[{"target":{"box":[1e308,-1e308,1e308,1e308]}}]}',
    '{"maps":[{"target":{"class":1' + "0" * 100 + "}}]}",
    '{"maps":[{"target":{"class":1' + "0" * 5000 + "}}]}",
    '{"maps":[{"target":{"class":-1}}]}',
    '{"maps":[{"target":{"class":1e3}}]}',
    '{"maps":[{"target":{"class":["a"]}}]}',
    '{"maps":[{"target":{"class":"' + "a" * 100_000 + '"}}]}',
    '{"maps":[{"method":"rise:masks=1000000000"}]}',
    '{"maps":[{"method":"smoothgrad:samples=1000000000"}]}',
    '{"maps":[{"method":"kernelshap:samples=99999999999999999999"}]}',
    '{"maps":[{"method":"integrated-gradients:steps=1000000000"}]}',
    '{"maps":[{"method":"gradcam:__class__=1"}]}',
    '{"maps":[{"method":"../../etc/passwd"}]}',
    '{"maps":[{"layer":"__class__"}]}',
    '{"maps":[{"layer":"../../etc/passwd"}]}',
    '{"maps":[{"layer":"0.weight"}]}',
    '{"maps":[{"network":"os:system"}]}',
    '{"maps":[{"network":"/etc/passwd"}]}',
    '{"maps":[{"network":"hf:evil/model"}]}',
    '{"maps":[' + ",".join(["{}"] * 65) + "]}",
    '{"maps":[],"longest":1000000}',
    '{"maps":[{}],"longest":99999999999999999999999}',
    '{"maps":[{}],"' + "a" * 100_000 + '":1}',
    '{"maps":[{}],"\\u202e\\u0000":1}',
    '{"maps":[{}],"replaces":"' + "a" * 41 + '"}',
    "[" * 100_000,
    '{"maps":' * 50_000,
    '{"a":' * 900 + "1" + "}" * 900,
    "null",
    '"text"',
    "",
    "\x00",
    "\ufeff{}",
    '{"maps":[{}]',
    "9" * 10_000,
]


@pytest.fixture(scope="module")
def photo(page: Attacked) -> str:
    with page.client() as client:
        identity: str = client.post("/api/photos/sample/chelsea").json()["id"]
    return identity


@pytest.mark.parametrize("body", MAPS, ids=range(len(MAPS)))
def test_what_is_asked_in_odd_numbers_and_names_is_refused_with_a_sentence(
    page: Attacked, photo: str, body: str
) -> None:
    headers = {"content-type": "application/json", "accept-language": "zh"}
    with page.client() as client:
        came = client.post(f"/api/photos/{photo}/maps", content=body.encode(), headers=headers)
    said = came.text if came.status_code != 200 else came.text.splitlines()[0]
    error = json.loads(said)["error"]
    assert error["code"] not in ("internal", "out-of-memory", "out-of-time")
    assert re.search("[一-鿿]", error["message"])
    assert len(said) < 5000
    for place in ("/src/", "site-packages", "Traceback", "root:", "\u202e"):
        assert place not in said


def test_bytes_that_are_no_text_are_refused(page: Attacked, photo: str) -> None:
    headers = {"content-type": "application/json"}
    with page.client() as client:
        for body in (b"\xff\xfe{\x00", b'{"maps":"\xc3\x28"}', b"\x80\x04\x95pickle"):
            came = client.post(f"/api/photos/{photo}/maps", content=body, headers=headers)
            assert came.status_code in (400, 422), came.text


def test_a_photo_is_asked_for_by_its_id_alone(page: Attacked, photo: str) -> None:
    others = [
        photo[:-1],
        photo + "a",
        photo.swapcase(),
        "*",
        "%",
        "..",
        "0",
        photo + "%00",
    ]
    assert len(photo) == 24  # 144 bits
    with page.client() as client:
        for other in others:
            assert client.get(f"/api/photos/{other}/picture").status_code in (404, 410)
            assert client.post(f"/api/photos/{other}/look", json={}).status_code in (404, 405, 410)
        assert client.get(f"/api/photos/{photo}/picture").status_code == 200


@pytest.mark.parametrize("longest", ["1e400", "NaN", "-5", "0", "99999999", "9" * 5000, "", "x"])
def test_a_picture_is_of_a_size_that_can_be(page: Attacked, photo: str, longest: str) -> None:
    with page.client() as client:
        came = client.get(f"/api/photos/{photo}/picture?longest={longest}")
    assert came.status_code in (200, 422)
    assert len(came.content) < 1_000_000
