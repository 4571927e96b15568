"""Tensors that claim to be on a GPU, so that mixed devices are found on a machine without one.

Torch's `FakeTensorMode` has no values, and training reads some, such as the largest of some ids. So
a tensor here holds its values on the CPU and claims a device. Operations compute with the values,
and fail where a GPU's would: on tensors of two devices, on a generator of the other device, and
wherever numpy or a list is to read a tensor that was not moved to the CPU. The code takes the paths
that it takes on a GPU, so its results can be compared with those of a CPU, too.

Not covered: what only CUDA refuses, such as an operation that has no kernel there, and autocast.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

KIND = "gpu"
CPU = torch.device("cpu")

aten = torch.ops.aten
CROSSES = {aten.copy_.default, aten._to_copy.default}
"""Operations from one device to another."""
INDEXES = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}
"""Operations of a GPU whose second argument, the indices, may be on the CPU."""
OF_SPARSE = {aten._values.default, aten._indices.default}
"""Sparse tensors, the gradients of tables, claim nothing themselves; what they are made of does."""


class MixedDevicesError(RuntimeError):
    """A GPU would not have computed this."""


class ClaimedTensor(Tensor):
    """Values on the CPU that claim to be on another device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor, device: torch.device) -> ClaimedTensor:
        made: ClaimedTensor = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=device,
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return compute(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied: Tensor = ClaimedTensor(self.held.detach().clone(), self.device)
        if isinstance(self, nn.Parameter):
            copied = nn.Parameter(copied, self.requires_grad)
        memo[id(self)] = copied
        return copied

    def __repr__(self) -> str:  # type: ignore[override]
        return f"ClaimedTensor({self.held}, device={self.device})"


class ClaimedDevices(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, tensors can be made on the device, and moved there."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation on what its tensors hold; the results claim the device that they would have."""
    device = device_of(func, args, kwargs)
    if kwargs.get("device") is not None:
        device = torch.device(kwargs["device"])
        kwargs = {**kwargs, "device": CPU}
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type != device.type:
        raise MixedDevicesError(f"{func}: a generator of {generator.device} on {device}")
    held_args, held_kwargs = pytree.tree_map_only(ClaimedTensor, lambda t: t.held, (args, kwargs))
    found = func(*held_args, **held_kwargs)
    if device == CPU or (isinstance(found, Tensor) and found.is_sparse):
        return found
    claimed = pytree.tree_map_only(Tensor, lambda t: ClaimedTensor(t, device), found)
    if func in OF_SPARSE:
        return claimed
    aliased = return_and_correct_aliasing(func, args, kwargs, claimed)  # type: ignore[no-untyped-call]
    return aliased


def device_of(func: Any, args: Any, kwargs: dict[str, Any]) -> torch.device:
    """The device of an operation's tensors; a tensor of one number on the CPU fits to any.

    Raises:
        MixedDevicesError: there are two.
    """
    if func in CROSSES:
        device: torch.device = args[0].device
        return device
    if func in OF_SPARSE:
        return torch.device(KIND, 0)
    checked = (args, kwargs)
    if func in INDEXES and isinstance(args[0], ClaimedTensor):
        checked = ((args[0], *args[2:]), kwargs)
    tensors = [leaf for leaf in pytree.tree_leaves(checked) if isinstance(leaf, Tensor)]
    claimed = [t for t in tensors if isinstance(t, ClaimedTensor)]
    on_cpu = [t for t in tensors if not isinstance(t, ClaimedTensor) and t.ndim and not t.is_sparse]
    if claimed and on_cpu:
        where = ", ".join(f"{tuple(t.shape)} on {t.device}" for t in tensors)
        raise MixedDevicesError(f"{func}: tensors of two devices ({where})")
    return claimed[0].device if claimed else CPU


class _Module:
    """What torch asks of the module of a kind of device. The generator is that of the CPU.

    Attributes:
        is_claimed: whether the device is there. It is registered for good, and other tests of the
            process must not find one.
    """

    is_claimed = False

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return self.is_claimed

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def get_rng_state(self, device: object) -> Tensor:
        del device
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: object) -> None:
        del state, device

    def manual_seed_all(self, seed: int) -> None:
        del seed


@functools.cache
def _register() -> None:
    """Once in a process."""
    name = "_setup_privateuseone_for_python_backend"
    if not hasattr(backend_registration, name):
        pytest.skip("torch has such devices since 2.10")
    getattr(backend_registration, name)(KIND, backend_module=_Module())


@contextmanager
def claimed_gpu() -> Iterator[torch.device]:
    """The device that tensors can claim to be on inside."""
    _register()
    # Torch would move what `torch.tensor` makes by itself, without asking a mode.
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    _Module.is_claimed = True
    try:
        # It starts its threads for backward passes once, one for each device that it knows then.
        single = torch.autograd.set_multithreading_enabled(False)
        with single, ClaimedDevices():  # type: ignore[no-untyped-call]
            yield torch.device(KIND, 0)
    finally:
        _Module.is_claimed = False
        torch._C._set_only_lift_cpu_tensors(before)
