"""Several processes that train one model, each on its rows of every batch: torch's engine, set up for FLAVA."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from ..errors import InputError
from .blocks import blocks
from .ranks import GlooRanks, OneProcess, Ranks

Parallel = Literal["ddp", "fsdp", "hybrid"]


def launched() -> int:
    """How many processes a launcher such as torchrun says there are; 1 if nobody says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_rank() -> int:
    """Which of them this one is, from 0."""
    return int(os.environ.get("RANK", "0"))


def local_device() -> torch.device:
    """This process's accelerator, by its number on the machine; the CPU if there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


@contextmanager
def joined() -> Generator[Ranks]:
    """The processes that a launcher started, joined for as long as this is open; or this process alone.

    Collectives of tensors on a GPU go over NCCL, all else over gloo.
    """
    if launched() == 1:
        yield OneProcess()
        return
    device = local_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        group = dist.new_group(backend="gloo")
        assert isinstance(group, dist.ProcessGroup)
        yield GlooRanks(group)
    finally:
        dist.destroy_process_group()


@dataclass(frozen=True)
class Spread:
    """A model as the ranks train it."""

    model: nn.Module
    """The model itself. Where it is sharded, its parameters are this rank's parts, as DTensors."""
    forward: nn.Module
    """What to call instead, so that backward passes leave the mean of all ranks' gradients."""
    scalars: frozenset[str] = frozenset()
    """The names of parameters () that are (1,) here, since FSDP2 cuts along a first dimension."""

    def unsent(self) -> AbstractContextManager[Any]:
        """In here backward passes of whole models leave gradients where they are, for a later one to send.

        Parts of models have no room for all gradients, and send them each time.
        """
        return self.forward.no_sync() if isinstance(self.forward, DistributedDataParallel) else nullcontext()

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0."""
        return dist.get_rank() == 0

    @property
    def is_sharded(self) -> bool:
        """Whether each rank has a part of the model's parameters only."""
        return isinstance(self.model, FSDPModule)

    def kept(self, groups: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """What checkpoints hold of tensors, by group and by names that begin with a parameter's: this rank's parts of
        them, but scalars as they are without ranks. Called by all ranks."""
        return {
            group: {
                name: tensor.full_tensor().reshape(())
                if isinstance(tensor, DTensor) and tensor.numel() == 1 and _parameter(name) in self.scalars
                else tensor
                for name, tensor in named.items()
            }
            for group, named in groups.items()
        }

    def whole(self, groups: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """On rank 0 the whole tensors of `kept`; on the others nothing. Called by all ranks."""
        found: dict[str, dict[str, Tensor]] = {group: {} for group in groups}
        for group, named in self.kept(groups).items():
            for name, tensor in named.items():
                full = tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor
                if self.is_first:
                    found[group][name] = full
        return found if self.is_first else {}

    def parts(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What this rank keeps of tensors: of whole ones that are like a parameter its part, the others as they are.

        Their names begin with the parameter's. Every rank has the whole ones, so that nothing is sent.
        """
        own = self.model.state_dict()
        counts = {name for name in tensors if name.endswith("/step")}  # one number, even of a parameter of one
        return {
            name: tensor if name in counts else _part(tensor, own.get(_parameter(name)))
            for name, tensor in tensors.items()
        }

    def put(self, kept: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
        """Give this rank's tensors what was read into those that `kept` made of them."""
        for name, tensor in self.parts(kept).items():
            if tensor is not own[name]:
                own[name].copy_(tensor)


def _parameter(name: str) -> str:
    """Of ``head.weight`` and ``head.weight/exp_avg`` the former."""
    return name.partition("/")[0]


def _part(tensor: Tensor, like: Tensor | None) -> Tensor:
    if isinstance(tensor, DTensor) or not isinstance(like, DTensor) or tensor.numel() != like.numel():
        return tensor
    if tensor.numel() == 1:
        tensor = tensor.reshape(like.shape)
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def spread(model: nn.Module, parallel: Parallel, *, shard_ranks: int | None = None) -> Spread:
    """Have the ranks train a model together.

    ``ddp``: every rank has the whole model (DistributedDataParallel). ``fsdp``: every rank has a part of each parameter
    and collects those of a block when it is needed (FSDP2). ``hybrid``: the ranks are cut into groups of
    ``shard_ranks``, those of a machine if not given; each group has the whole model, in parts (HSDP). The latter two
    replace the parameters of ``model``, so that optimisers are to be made afterwards. Outside torch.distributed nothing
    is done.

    All ranks compute the same losses in a step, but not every step reaches every parameter. What a step does not reach
    keeps no gradient at all, as in one process, so that optimisers leave it alone.

    Raises InputError if the ranks cannot be cut into such groups.
    """
    if not dist.is_initialized():
        return Spread(model, model)
    device = next(model.parameters()).device
    if parallel == "ddp":
        # A step of images leaves the text encoder out. DDP waits for its gradients unless it looks for what is unused.
        ids = None if device.type == "cpu" else [device]
        wrapped = DistributedDataParallel(model, device_ids=ids, find_unused_parameters=True)
        wrapped.broadcast_buffers = False  # a codebook's, which stay as they are; from now on
        return Spread(model, wrapped)
    mesh = mesh_of(parallel, dist.get_world_size(), device.type, shard_ranks=shard_ranks)
    scalars = _lengthen_scalars(model)
    for block in blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    if hasattr(model, "losses_of"):  # another way of running a part of it forward
        register_fsdp_forward_method(model, "losses_of")
    return Spread(model, model, scalars)


def mesh_of(parallel: Parallel, world_size: int, device: str, *, shard_ranks: int | None = None) -> DeviceMesh:
    """The ranks in a row, or, for ``hybrid``, in a row of groups. Raises InputError if they cannot be cut so."""
    if parallel != "hybrid":
        return init_device_mesh(device, (world_size,), mesh_dim_names=("shard",))
    size = shard_ranks or int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
    if world_size % size:
        raise InputError(f"train.shard_ranks: {world_size} processes cannot be cut into groups of {size}")
    return init_device_mesh(device, (world_size // size, size), mesh_dim_names=("replicate", "shard"))


def share_first(module: nn.Module) -> None:
    """Give every rank the parameters and buffers that rank 0 has."""
    if dist.is_initialized():
        state = module.state_dict()
        for tensor in state.values():
            dist.broadcast(tensor, 0)
        module.load_state_dict(state)  # a codebook then knows that it is fitted


def gradient_norm(model: nn.Module) -> Tensor:
    """The norm () of all gradients of a model together, wherever their parts are."""
    norm = nn.utils.get_total_norm([weight.grad for weight in model.parameters() if weight.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _lengthen_scalars(model: nn.Module) -> frozenset[str]:
    """Make parameters () parameters (1,), which broadcast alike. Their names."""
    scalars = frozenset(name for name, parameter in model.named_parameters() if not parameter.dim())
    for name in scalars:
        path, _, leaf = name.rpartition(".")
        parameter = model.get_parameter(name)
        longer = nn.Parameter(parameter.detach().reshape(1), requires_grad=parameter.requires_grad)
        setattr(model.get_submodule(path), leaf, longer)
    return scalars
