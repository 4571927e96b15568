"""What an operator sets when starting the service."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ServeSettings(BaseModel):
    """How the service runs; `twotower serve --help` names the options."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: Path
    """A bundle, or a folder of bundles."""
    events: str
    """Where the event store is: a file, `sqlite:///FILE` or `postgresql://...`."""
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=256)
    """Processes that answer."""
    max_body: int = Field(default=2_000_000, ge=1)
    """Bytes of a request's body."""
    max_batch: int = Field(default=64, ge=1)
    """Requests that are answered together."""
    max_waiting: int = Field(default=2048, ge=1)
    """Requests that wait for their turn; more are answered 503."""
    rate: float = Field(default=0, ge=0)
    """Requests a second of each key (or address, without keys) and worker; 0 is no limit."""
    timeout: float = Field(default=10.0, gt=0)
    """Seconds after which an answer is given up."""
    gate_drop: float = Field(default=0.05, ge=0, le=1)
    """The share of ndcg@k by which a new version may be worse than the active one."""
    gate_users: int = Field(default=5000, ge=1)
    """Held-out users that the gate measures on, at most."""
    watch_seconds: float = Field(default=2.0, gt=0)
    """How often the pointer of a folder of bundles is looked at."""
    impressions: bool = True
    """Keep the answers that were given."""
    studio: bool = True
    """Serve the studio page."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in ("127.0.0.1", "::1", "localhost") or self.host.startswith("127.")
