"""Modes that refuse what a device would be waited for, so that tests without a GPU notice it."""

import contextlib
from dataclasses import replace

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ASKING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "bincount", "_unique2", "unique_dim"}
"""Operations whose result, or its size, the host has to know: ``item``, ``bool``, ``if`` and the like."""


class NoWaits(TorchDispatchMode):
    """Refuses operations for which the host would wait, and host values that become tensors one by one."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        by_bool = name.startswith("index") and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in tree_leaves(args[1:2])
        )
        # torch.tensor(x, device="cuda") is a copy that is waited for; torch.full is none.
        if name in ASKING or name == "lift_fresh" or by_bool:
            raise AssertionError(f"{name} waits for the device")
        if name == "_weight_norm_interface_backward" and args[0].is_meta:
            # Missing on the meta device.
            return torch.empty_like(args[1]), torch.empty_like(args[2])
        return function(*args, **(kwargs or {}))


class OnDevice(NoWaits):
    """Refuses tensors of the host besides, whose way to a device would be waited for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = super().__torch_dispatch__(function, types, args, kwargs)
        tensors = [value for value in tree_leaves((args, kwargs, found)) if isinstance(value, torch.Tensor)]
        assert not any(tensor.device.type == "cpu" for tensor in tensors), f"{function} has a tensor of the host"
        return found


def check_on_device(objective, batch, monkeypatch):
    """Refuse a forward and backward pass in which anything is done, or comes from, outside the objective's device."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    objective.to("meta")
    tensors = {name: tensor.to("meta") for name, tensor in batch.targets.tensors.items()}
    batch = replace(
        batch,
        waveforms=batch.waveforms.to("meta"),
        lengths=batch.lengths.to("meta"),
        targets=replace(batch.targets, tensors=tensors),
    )
    # What is cached in the first pass may come from the host.
    objective(batch)
    with OnDevice():
        objective(batch).sum.backward()
