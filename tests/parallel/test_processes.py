"""What processes check before they train together, and what one alone does."""

from __future__ import annotations

import re
import socket

import pytest
import torch
from torch._C._distributed_c10d import HashStore

from twotower._version import __version__
from twotower.errors import ConfigError
from twotower.parallel.processes import ONE, check_versions, processes_of_environment


@pytest.mark.parametrize("name", ["twotower", "torch"])
def test_all_have_the_same_versions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    store = HashStore()
    store.set("versions-1", f"twotower {__version__} with torch {torch.__version__} on there")
    check_versions(store, 0, 2)
    other = f"twotower {__version__} with torch {torch.__version__}"
    other = re.sub(rf"{name} \S+", f"{name} 0.0.1", other)
    store.set("versions-1", f"{other} on there")
    with pytest.raises(ConfigError) as error:
        check_versions(store, 0, 2)
    assert str(error.value) == (
        f"process 2 of 2 has {other} on there, and the first one twotower {__version__} with torch "
        f"{torch.__version__} on here. Fix: install the same versions on all machines."
    )


def test_one_process_is_the_identity() -> None:
    rows = torch.randn(3, 2, requires_grad=True)
    assert ONE.gather(rows) is rows
    assert ONE.exchange(rows, [3], [3]) is rows
    assert ONE.sum(rows) is rows
    assert ONE.counts(5) == [5]
    assert ONE.largest(7) == 7
    assert ONE.told("config") == "config"
    assert ONE.all_told(1) == [1]
    assert ONE.mean({"ndcg@20": 0.5}, 9) == {"ndcg@20": 0.5}


def test_a_process_that_nothing_started_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    with processes_of_environment("cpu") as processes:
        assert processes is ONE
