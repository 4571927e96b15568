"""The files in `deploy/`: checked by the tools that read them, and run."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.processes import ending_with_tests
from tests.web.bundles import UNTRAINED, train_shop, write_shop
from tests.web.server import Server, free_port

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"


def tool(name: str) -> str:
    """The path of a program of the machine."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path, **arguments: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, timeout=200, **arguments
    )
    return done


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config, its tables, and a folder of bundles with one version."""
    folder = tmp_path_factory.mktemp("deploy")
    config = write_shop(folder)
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("[data]\n", '[data]\nexported = "exported"\n', 1), "utf-8")
    # So bad that any retraining passes the gate.
    weak = ("training.epochs=1", "retriever.blend=false")
    train_shop(config, folder / "bundles" / "first", *weak)
    shutil.rmtree(folder / "bundles" / "first.run", ignore_errors=True)
    return folder


@pytest.fixture(scope="module")
def server(shop: Path) -> Iterator[Server]:
    started = Server(shop / "bundles", shop / "events.sqlite")
    yield started
    started.stop()


# --- metrics ---


def test_the_rules_of_alerts() -> None:
    promtool = tool("promtool")
    checked = run(promtool, "check", "rules", DEPLOY / "alerts.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = run(promtool, "test", "rules", DEPLOY / "alerts_test.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_is_tested() -> None:
    tests = (DEPLOY / "alerts_test.yaml").read_text(encoding="utf-8")
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]
    assert [rule["alert"] for rule in rules["rules"] if rule["alert"] not in tests] == []


def expressions() -> dict[str, str]:
    """The queries of alerts and of the dashboard, by title."""
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]
    found = {rule["alert"]: rule["expr"] for rule in rules["rules"]}
    panels = json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))["panels"]
    for panel in panels:
        for target in panel["targets"]:
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    return found


def test_the_service_exports_each_metric_with_each_label(server: Server) -> None:
    server.recommend("u1", k=3)
    text = server.client.get("/metrics").text
    described = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    labels: dict[str, set[str]] = {}
    for name, listed in re.findall(r"^(\w+)(?:\{(.*)\})? ", text, re.MULTILINE):
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', listed))
    used = set()
    for title, expression in expressions().items():
        names = set(re.findall(r"\btwotower_\w+", expression))
        assert names or "up{" in expression, title
        for name in names:
            used.add(name)
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            assert described & {name, family, name.removesuffix("_total")}, f"{title}: {name}"
        sampled = [name for name in names if name in labels]
        for asked in re.findall(r"by \(([\w, ]+)\)", expression):
            for label in asked.split(", "):
                for name in sampled:
                    assert label in labels[name], f"{title}: {name} has no label {label}"
        for name, asked in re.findall(r"(twotower_\w+)\{([^}]*)\}", expression):
            for label in re.findall(r"(\w+)=", asked):
                assert name not in labels or label in labels[name], f"{title}: {name}.{label}"
    own = {name for name in described if name.startswith("twotower_") and "_created" not in name}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used} | used
    assert own <= families, "each metric of the service is on the dashboard"


def is_ready(prometheus: httpx.Client) -> bool:
    try:
        return prometheus.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_prometheus_runs_the_queries(server: Server, tmp_path: Path) -> None:
    """A real Prometheus scrapes the service, loads the rules and evaluates each query."""
    prometheus = tool("prometheus")
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(DEPLOY / "alerts.yaml")],
        "scrape_configs": [
            {
                "job_name": "twotower",
                "static_configs": [{"targets": [f"127.0.0.1:{server.port}"]}],
            }
        ],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    port = free_port()
    process = subprocess.Popen(
        ending_with_tests(
            [
                prometheus,
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ]
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:

            def query(expression: str) -> list[Any]:
                answer = client.get("/api/v1/query", params={"query": expression})
                assert answer.status_code == 200, f"{expression}: {answer.text}"
                found: list[Any] = answer.json()["data"]["result"]
                return found

            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                if not is_ready(client):
                    time.sleep(0.1)
                    continue
                server.recommend("u1", k=3)
                try:
                    if query("rate(twotower_answers_total[10s]) > 0"):
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.2)
            for expression in expressions().values():
                query(expression.replace("$__rate_interval", "10s"))
            assert query('up{job="twotower"} == 1')
            assert query("max by (version) (twotower_model_info) == 1")
            assert query('ALERTS{alertstate="firing", rollback="true"}') == []
    finally:
        process.terminate()
        process.wait(30)


# --- units, images, manifests ---


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    for file in (DEPLOY / "systemd").iterdir():
        # The programs are not installed here.
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", file.read_text("utf-8"), flags=re.M)
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    checked = run(analyze, "verify", "--man=no", *sorted(tmp_path.iterdir()))
    ours = [line for line in checked.stderr.splitlines() if "twotower" in line]
    assert ours == []
    for name in ("twotower.service", "twotower-retrain.service"):
        graded = run(
            analyze, "security", "--offline=true", "--threshold=50", "--no-pager", tmp_path / name
        )
        assert graded.returncode == 0, graded.stdout[-300:]


def commands() -> dict[str, list[str]]:
    """The options of `twotower serve` in each file."""
    unit = (DEPLOY / "systemd" / "twotower.service").read_text(encoding="utf-8")
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    docker = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    started = re.search(r"^ExecStart=\S+ (.*)$", unit, re.MULTILINE)
    command = re.search(r"^CMD (\[.*\])$", docker, re.MULTILINE)
    assert started is not None
    assert command is not None
    return {
        "systemd": started[1].split(),
        "compose": compose["services"]["service"]["command"],
        "docker": json.loads(command[1]),
        "kubernetes": container()["args"],
    }


def manifests() -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")))


def container() -> Any:
    (deployment,) = (one for one in manifests() if one["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]["containers"][0]


def test_the_service_has_the_options() -> None:
    shown = run(
        *(sys.executable, "-m", "twotower", "serve", "--help"),
        env={"COLUMNS": "200", "PATH": "", "NO_COLOR": "1"},
    ).stdout
    for name, words in commands().items():
        assert words[0] == "serve", name
        for word in words:
            if word.startswith("--"):
                assert f"{word.partition('=')[0]} " in shown, f"{name}: {word}"


def test_kubernetes_accepts_the_manifests() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for manifest in manifests():
        kubernetes_validate.validate(manifest, "1.37", strict=True)


def test_the_probes_are_routes(server: Server) -> None:
    service = container()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = service[probe]["httpGet"]
        assert server.client.get(asked["path"]).status_code == 200
        assert asked["port"] == service["ports"][0]["name"]
    assert f"--port={service['ports'][0]['containerPort']}" in service["args"]
    assert server.client.get("/metrics").status_code == 200


def test_the_health_check_of_the_image(server: Server) -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"HEALTHCHECK .*?CMD (\[.*?\])$", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    check = json.loads(found[1])[2]
    assert run(sys.executable, "-c", check.replace(":8000", f":{server.port}")).returncode == 0
    assert run(sys.executable, "-c", check.replace(":8000", f":{free_port()}")).returncode == 1


def test_containers_are_not_root_and_change_nothing_of_the_image() -> None:
    docker = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^USER (.*)$", docker, re.MULTILINE) == ["10001:10001"]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    service = compose["services"]["service"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", docker, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists()
            assert f"\n!{name}\n" in (ROOT / ".dockerignore").read_text(encoding="utf-8")


# --- retraining ---


def retrain(shop: Path, server: Server, **options: str) -> subprocess.CompletedProcess[str]:
    for name in ("bash", "curl", "flock"):
        tool(name)
    scripts = shop / "bin"
    scripts.mkdir(exist_ok=True)
    (scripts / "twotower").write_text(f'#!/bin/sh\nexec {sys.executable} -m twotower "$@"\n')
    (scripts / "twotower").chmod(0o755)
    environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", "CHECK_SECONDS": "1"}
    return run(
        *(DEPLOY / "retrain.sh", shop / "twotower.toml", shop / "bundles", server.events),
        f"http://127.0.0.1:{server.port}",
        env={**environment, "WATCH_SECONDS": "2", **options},
    )


def set_epochs(shop: Path, lines: str) -> None:
    config = shop / "twotower.toml"
    text = re.sub(
        r"\[training\].*", f"[training]\n{lines}\n", config.read_text("utf-8"), flags=re.S
    )
    config.write_text(text, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_retraining_unattended(shop: Path, server: Server) -> None:
    """Activated; rolled back on an alarm; refused by the gate; not twice at once."""
    set_epochs(shop, "epochs = 6")
    server.post("/v1/events", {"event_id": "e", "user_id": "u1", "item_id": "i1"})
    good = retrain(shop, server)
    assert good.returncode == 0, good.stderr
    first = server.get("/v1/models")["active"]
    assert first.startswith("auto-")
    assert list((shop / "exported").glob("interactions.*"))

    alarmed = retrain(shop, server, ALARM_COMMAND="echo too many complaints")
    assert alarmed.returncode == 4, alarmed.stderr
    assert "too many complaints" in alarmed.stderr
    assert f"rolled back to {first}" in alarmed.stderr
    assert server.get("/v1/models")["active"] == first

    training = [one for one in UNTRAINED if one.startswith("training.")]
    set_epochs(shop, "\n".join(one.removeprefix("training.") for one in training))
    config = shop / "twotower.toml"
    text = config.read_text("utf-8")
    assert "[retriever]\n" in text
    text = text.replace("[retriever]\n", "[retriever]\nblend = false\n")
    config.write_text(text, encoding="utf-8")
    refused = retrain(shop, server)
    assert refused.returncode == 3, refused.stderr
    assert "gate_refused" in refused.stderr
    assert server.get("/v1/models")["active"] == first
    assert list((shop / "bundles").glob(".auto-*")) == []

    with (shop / "bundles" / ".retrain.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        twice = retrain(shop, server)
    assert (twice.returncode, twice.stderr) == (1, "retrain: another run is active\n")


@pytest.mark.slow
def test_retraining_without_its_arguments() -> None:
    shown = run(DEPLOY / "retrain.sh")
    assert shown.returncode == 2
    assert "deploy/retrain.sh CONFIG BUNDLES EVENTS URL" in shown.stderr
