"""Settings of the service."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from twotower.web.access.browsers import is_loopback
from twotower.web.access.proxies import PREFIX

SETTINGS = "TWOTOWER_SERVE"
"""Environment variable that passes the settings to worker processes, as JSON."""


class ServeSettings(BaseModel):
    """Settings of the service; see `twotower serve --help` for the options."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: Path
    """A bundle, or a folder of bundles."""
    events: str
    """Event store: a file, `sqlite:///FILE` or `postgresql://...`."""
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    allowed_hosts: tuple[str, ...] = ()
    """Host names that a service without keys serves, besides those of the loopback interface."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose web pages may use the service, such as `https://shop.example`."""
    proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Prefix` are
    believed; `*`: of all."""
    root_path: str = Field(default="", pattern=f"^{PREFIX.pattern}$")
    """Path prefix under which a proxy serves the service, such as `/recs`."""
    key_file: Path | None = None
    """File with an admin key, which is added to the store at the start."""
    verify_key: Path | None = None
    """File of a public key: only bundles that were signed with its private key are served."""
    workers: int = Field(default=1, ge=1, le=256)
    """Worker processes."""
    max_body: int = Field(default=2_000_000, ge=1)
    """Maximum size of a request body, in bytes."""
    max_batch: int = Field(default=64, ge=1)
    """Maximum number of requests answered as one batch."""
    max_waiting: int = Field(default=2048, ge=1)
    """Maximum number of waiting requests; further requests get status 503."""
    rate: float = Field(default=0, ge=0)
    """Requests per second of each key, or of each address without a valid one; 0: no limit."""
    rate_file: Path | None = None
    """What the worker processes of a running service count requests in; set by `serve`."""
    timeout: float = Field(default=10.0, gt=0)
    """Request timeout in seconds."""
    receive_timeout: float = Field(default=30.0, gt=0)
    """Time in which a request has to arrive completely, in seconds."""
    stale_seconds: float = Field(default=300.0, ge=0)
    """How long recommendations go on from memory while the event store is away, in seconds."""
    drain: float = Field(default=0.0, ge=0)
    """How long requests are answered after SIGTERM, in seconds; `/readyz` says 503 at once."""
    gate_drop: float = Field(default=0.05, ge=0, le=1)
    """Maximum relative ndcg@k loss of a new version against the active one."""
    gate_users: int = Field(default=5000, ge=1)
    """Maximum number of held-out users that the activation gate evaluates."""
    watch_seconds: float = Field(default=2.0, gt=0)
    """Interval at which the `current` pointer of a folder of bundles is checked, in seconds."""
    impressions: bool = True
    """Log the recommendations served."""
    studio: bool = True
    """Serve the studio page."""
    learn: bool | None = None
    """Train small models for those who take the course of the studio. Default: only if the service
    has no keys."""
    learn_lock: Path | None = None
    """What the worker processes of a running service take turns at training by; set by `serve`."""
    reasons: Path | None = None
    """File of the sentences that explain recommendations; default: English."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("proxies")
    @classmethod
    def _are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            if proxy != "*":
                try:
                    ip_network(proxy)
                except ValueError as error:
                    raise ValueError(f"{error}; name an address or a network") from None
        return proxies

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect (a loopback address)."""
        return is_loopback(self.host)
