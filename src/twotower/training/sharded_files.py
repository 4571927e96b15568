"""Tensors of several processes in one folder, by `torch.distributed.checkpoint`.

Tables are kept in the order in which `Shards` deals rows out, which is the same for any number of
processes.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from twotower.errors import TrainingError, explain
from twotower.parallel.processes import ProcessGroup
from twotower.parallel.shards import Shards
from twotower.parallel.started import is_lost_connection

ROWS: Final = "rows.json"
"""How many rows each table has."""
SHORT_WRITE: Final = "unexpected pos"
"""In what torch says where it could not write on; the system's reason is lost there."""


def save_shards(folder: Path, tensors: dict[str, Tensor], shards: dict[str, Shards]) -> None:
    """Write this process's part of a folder; all processes, into the same folder.

    Args:
        folder: new.
        tensors: the same names on each process.
        shards: of the tensors (C, ...) of which each process has its own rows; all of the others
            are the same on each.

    Raises:
        TrainingError: a process could not write.
    """
    folder.mkdir(exist_ok=True)
    state = {
        name: _distributed(tensor, shards[name]) if name in shards else tensor.detach()
        for name, tensor in tensors.items()
    }
    try:
        save(state, storage_writer=FileSystemWriter(folder, sync_files=True))
    except CheckpointException as error:  # a BaseException
        raise TrainingError(
            explain(
                f"the checkpoint could not be written: {_reason(error)}",
                file=folder,
                fix="make room there; the last checkpoint stays, and --resume goes on from it",
            )
        ) from error
    rows = {name: shards[name].num_rows for name in tensors if name in shards}
    if all(own.processes.is_first for own in shards.values()):
        (folder / ROWS).write_text(json.dumps(rows), encoding="utf-8")


def load_shards(
    folder: Path, shards: dict[str, Shards], processes: ProcessGroup
) -> dict[str, Tensor]:
    """The tensors of a folder; all processes. Of a table each gets its rows (C, ...), or a single
    process all of them (R, ...).

    Raises:
        OSError: a file is damaged or missing.
    """
    reader = FileSystemReader(folder)
    try:
        kept = reader.read_metadata().state_dict_metadata
        rows: dict[str, int] = json.loads((folder / ROWS).read_text(encoding="utf-8"))
        state: dict[str, Tensor] = {}
        for name, found in kept.items():
            assert isinstance(found, TensorStorageMetadata)
            own = shards.get(name)
            if own is not None and processes.are_several:
                empty = torch.zeros(own.capacity, *found.size[1:], dtype=found.properties.dtype)
                state[name] = _distributed(empty, own)
            else:
                state[name] = torch.zeros(found.size, dtype=found.properties.dtype)
        with warnings.catch_warnings():
            # That one process reads what several wrote is intended.
            warnings.filterwarnings("ignore", "torch.distributed is .*", UserWarning)
            load(state, storage_reader=reader)
    except CheckpointException as error:
        raise OSError(_reason(error)) from error
    except (RuntimeError, EOFError) as error:
        if is_lost_connection(error):
            raise
        raise OSError(str(error).splitlines()[0]) from error
    return {name: _local(tensor, name, rows, shards, processes) for name, tensor in state.items()}


def _reason(error: CheckpointException) -> str:
    """What the first process that failed said, in a line."""
    rank, (reason, _) = min(error.failures.items())
    line = str(reason).splitlines()[0]
    if SHORT_WRITE in line:
        line = "the disk took only a part of a file; most often it is full"
    return f"process {rank + 1}: {line}"


def _local(
    tensor: Tensor,
    name: str,
    rows: dict[str, int],
    shards: dict[str, Shards],
    processes: ProcessGroup,
) -> Tensor:
    if name not in rows:
        return tensor
    if not processes.are_several:
        return Shards(rows[name], processes).in_order(tensor)
    local: Tensor = tensor.to_local()  # type: ignore[attr-defined]
    missing = shards[name].capacity - len(local)
    return torch.cat([local, local.new_zeros(missing, *local.shape[1:])])


def _distributed(tensor: Tensor, shards: Shards) -> DTensor:
    """This process's rows (C, ...) as its part of all."""
    mesh = init_device_mesh(tensor.device.type, (shards.processes.size,))
    shape = torch.Size([shards.num_positions, *tensor.shape[1:]])
    stride = torch.empty(shape, device="meta").stride()
    there = min(max(shards.num_positions - shards.start, 0), shards.capacity)
    return DTensor.from_local(
        tensor.detach()[:there], mesh, [Shard(0)], run_check=False, shape=shape, stride=stride
    )
