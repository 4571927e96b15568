"""Behind a real nginx: a path prefix, and the addresses of clients."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect
from twotower_client import Client

from tests.processes import ending_with_tests
from tests.web.conftest import Serve
from tests.web.server import Server, free_port

NGINX = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)

CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location /recs/ {{
      proxy_pass http://127.0.0.1:{upstream}/;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Prefix /recs;
    }}
    location /kept/ {{
      proxy_pass http://127.0.0.1:{upstream};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Prefix /kept/;
    }}
    location /odd/ {{
      proxy_pass http://127.0.0.1:{upstream}/;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Prefix //evil.example/x?y;
    }}
  }}
}}
"""


@pytest.fixture(
    scope="module",
    params=[("--root-path", "/recs"), ("--proxy", "127.0.0.1")],
    ids=["root-path", "forwarded-prefix"],
)
def proxied(
    serve: Serve, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The address of a service behind the prefix `/recs`, which an option or nginx tells it."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    server: Server = serve(*request.param)
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    file = folder / "nginx.conf"
    file.write_text(CONFIG.format(folder=folder, port=port, upstream=server.port), encoding="utf-8")
    process = subprocess.Popen(
        ending_with_tests([NGINX, "-c", str(file), "-e", str(folder / "error.log")]),
    )
    address = f"http://127.0.0.1:{port}/recs/"
    try:
        until(lambda: answers(address))
        yield address
    finally:
        process.terminate()
        process.wait(10)


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}healthz").status_code == 200
    except httpx.TransportError:
        return False


def until(found: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.05)


def test_the_api_is_reached_and_described_below_the_prefix(proxied: str) -> None:
    with httpx.Client(base_url=proxied) as client:
        assert client.post("v1/recommendations", json={"user_id": "u00001"}).status_code == 200
        assert client.get("openapi.json").json()["servers"] == [{"url": "/recs"}]
        client.post("v1/events", json={"user_id": "u1", "item_id": "a/b c"}).raise_for_status()
        assert client.get("v1/items/i00001/similar").status_code == 200
    with Client(proxied) as api:
        for odd in ("a/b c", "ü", "a?b#c", "%2F"):
            api.put_items(items=[{"item_id": odd, "columns": {"price": 3.5}}])
            assert api.get_item(odd)["item_id"] == odd
            assert api.find_similar_items(odd)["item_id"] == odd
            api.remove_item(odd)


def test_a_prefix_is_believed_from_named_proxies_alone(
    proxied: str, request: pytest.FixtureRequest
) -> None:
    from_proxy = "forwarded-prefix" in request.node.name
    base = proxied.removesuffix("/recs/")
    with httpx.Client(base_url=base) as client:
        # The prefix is still there when the service sees the path.
        assert client.get("/kept/v1/model").status_code == (200 if from_proxy else 404)
        described = client.get("/kept/openapi.json")
        if from_proxy:
            assert described.json()["servers"] == [{"url": "/kept"}]
        odd = client.get("/odd/openapi.json").json()
        assert odd.get("servers") == (None if from_proxy else [{"url": "/recs"}])
        # What a client sends itself is replaced by nginx.
        own = client.get("/recs/openapi.json", headers={"X-Forwarded-Prefix": "/own"}).json()
        assert own["servers"] == [{"url": "/recs"}]


def test_the_studio_loads_below_the_prefix(proxied: str, browser: Browser) -> None:
    failed: list[str] = []
    page = browser.new_page()
    page.on(
        "response", lambda seen: None if seen.ok else failed.append(f"{seen.status} {seen.url}")
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(proxied)
    expect(page.get_by_role("heading").first).to_be_visible()
    expect(page.locator("#view .waiting")).to_have_count(0)
    for view in ("architecture", "map", "quality", "learn"):
        page.goto(f"{proxied}#/{view}")
        expect(page.locator("#view")).not_to_be_empty()
    page.wait_for_load_state("networkidle")
    page.close()
    assert failed == []
    assert len(asked) > 10
    assert [url for url in asked if not url.startswith((proxied, "data:", "blob:"))] == []
