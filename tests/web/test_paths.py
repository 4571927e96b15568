"""Ids of any text in the paths of requests: what is sent is what is looked up, never another id."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from twotower_client import Client, ServiceError

from tests.web.server import Server
from twotower.web.middleware import encoded_path

ODD = [
    *("a/b", "a%2Fb", "/a", "a/", "a//b", "x/similar", "similar", "/similar", "two:activate"),
    *(
        "a b",
        " a",
        "a+b",
        "%",
        "%25",
        "%zz",
        "a?b=c",
        "a#b",
        "a&b;c=d",
        "a:b",
        "a,b",
        "@",
        "!$'()*",
    ),
    *(".", "..", "...", "../../etc/passwd", "a/../b", "./a", "~a"),
    *(
        "ü",
        "u\u0308",
        "💥",
        "日本語",
        "a\u2028b",
        "a\nb",
        "a\n",
        "\ta",
        "\x7f",
        "a\\b",
        '"a"',
        "<a>",
    ),
    *("[1]", "{a}", "|", "^", "`", "0", "-1", "1e5", "null", "x" * 500),
]


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(str(server.client.base_url)) as opened:
        yield opened


def code(error: pytest.ExceptionInfo[ServiceError]) -> tuple[int, str]:
    return error.value.status, error.value.code


@pytest.mark.parametrize("odd", ODD)
def test_an_item_of_any_id_is_found_changed_and_removed(client: Client, odd: str) -> None:
    title = f"the title of {odd[:20]!r}"
    put = client.put_items(items=[{"item_id": odd, "columns": {"title": title, "price": 3.5}}])
    assert put["added"] == 1
    found = client.get_item(odd)
    assert found["item_id"] in (odd, int(odd) if odd in ("0", "-1") else odd)
    assert found["columns"]["title"] == title
    similar = client.find_similar_items(odd, k=3)
    assert similar["item_id"] == odd
    assert similar["items"]
    assert odd not in [item["item_id"] for item in similar["items"]]
    assert client.remove_item(odd)["item_id"] == odd
    for gone in (client.get_item, client.find_similar_items, client.remove_item):
        with pytest.raises(ServiceError) as caught:
            gone(odd)
        assert code(caught) == (404, "not_found")


def test_ids_that_differ_in_their_encoding_alone_are_different_items(client: Client) -> None:
    alike = ["a/b", "a%2Fb", "a%2fb", "a%252Fb", "a b", "a%20b", "a+b", "a\n", "a"]
    client.put_items(
        items=[{"item_id": name, "columns": {"price": n + 1}} for n, name in enumerate(alike)]
    )
    assert [client.get_item(name)["columns"]["price"] for name in alike] == list(
        range(1, len(alike) + 1)
    )
    for name in alike:
        client.remove_item(name)


@pytest.mark.parametrize("odd", ODD)
def test_a_user_of_any_id_is_found_and_forgotten(client: Client, odd: str) -> None:
    client.post_events({"user_id": odd, "item_id": "i00003"})
    found = client.get_user(odd)
    assert found["user_id"] == odd
    assert [event["item_id"] for event in found["history"]] == ["i00003"]
    removed = client.forget_user(odd)
    assert (removed["user_id"], removed["events"]) == (odd, 1)
    assert client.get_user(odd)["history"] == []


@pytest.mark.parametrize("odd", ["a/b", "..", "a b", "ü", "%2F", "one:activate", "a?b", "one/"])
def test_a_version_of_any_name_is_looked_for_by_that_name(client: Client, odd: str) -> None:
    with pytest.raises(ServiceError) as caught:
        client.activate_model(odd)
    assert code(caught) == (404, "not_found")
    assert repr(odd) in caught.value.message


def sent(server: Server, target: bytes) -> bytes:
    """The answer to a request whose target no client library has changed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        head = b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(head)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/v1/users/a/b", b'"user_id":"a/b"'),  # of a proxy that decodes paths
        (b"/v1/users/a%2fb", b'"user_id":"a/b"'),
        (b"/v1/users/%75%31", b'"user_id":"u1"'),
        (b"/v1/users/..", b'"user_id":".."'),
        (b"/v1/us%65rs/u1", b'"user_id":"u1"'),
        (b"/v1/users/%ff", b"path.user_id: is not UTF-8"),
        (b"/v1/users/%00", b"path.user_id: String should match pattern"),
        (b"/v1/users/%20", b"path.user_id: String should match pattern"),
        (b"/v1/users/" + b"x" * 501, b"path.user_id: String should have at most 500 characters"),
        (b"/v1/items/i00003/similar", b'"item_id":"i00003"'),
        (b"/v1/items/i00003%2Fsimilar", b"no such item (found 'i00003/similar')"),
        (b"/v1/items/a/b/similar", b"no such item (found 'a/b')"),
        (b"/v1/model/", b'"code":"not_found"'),
    ],
)
def test_a_path_is_read_as_it_was_sent(server: Server, target: bytes, expected: bytes) -> None:
    assert expected in sent(server, target)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"/v1/items", "/v1/items"),
        (b"/v1/models%3arollback", "/v1/models:rollback"),
        (b"/a%2Fb", "/a%2Fb"),
        (b"/a%2fb", "/a%2Fb"),
        (b"/%", "/%25"),
        (b"/\xff%ff", "/%FF%FF"),
        (b"//", "//"),
    ],
)
def test_a_path_has_one_spelling(raw: bytes, expected: str) -> None:
    assert encoded_path(raw) == expected
    assert encoded_path(expected.encode()) == expected
