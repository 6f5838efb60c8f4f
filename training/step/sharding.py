"""How a model is laid out over devices and ranks, in one place and one order.

`parallelize`: attention kernel -> activation checkpointing -> compilation -> sharding. Checkpointing comes before
compilation so that the compiler sees what it may compute again; sharding comes last because its hooks run around each
layer, outside of what is compiled.

Replicated, every rank holds the whole model, and the gradients of the trainable tensors are summed once per optimiser
step: with a frozen base that is megabytes, where sharding would gather gigabytes of frozen weights for every pack.
Sharded (FSDP2), each layer's weights are gathered for as long as it computes; frozen encoders stay whole. Over several
groups of ranks the shards are replicated (HSDP).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from mmrs.errors import UserError
from training.config import ParallelConfig, TrainConfig
from training.model.modeling.generation import EarthGPTForConditionalGeneration
from training.stages.stage import FreezeRow
from training.step.attention import attention_name, set_attention
from training.step.objective.loss import PackLosses
from training.step.ranks import Ranks

# Gradients are summed over ranks in pieces of so many numbers: 64 MB of fp32.
NUMBERS_PER_REDUCTION = 2**24

_KEPT_OPERATIONS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.higher_order.flex_attention,
}


def check_ranks(config: TrainConfig, ranks: Ranks) -> int:
    """Packs that each rank computes per optimiser step: what gradients are accumulated over.

    Raises:
        UserError: the step's packs, or the ranks that share a copy, do not divide.
    """
    packs, size = config.packs_per_step, ranks.size
    if packs % size:
        near = [packs // size * size * config.tokens_per_pack, -(-packs // size) * size * config.tokens_per_pack]
        fitting = ", ".join(str(fewer) for fewer in range(1, size + 1) if packs % fewer == 0)
        raise UserError(
            f"tokens_per_step={config.tokens_per_step} is {packs} packs, which {size} ranks cannot share equally. "
            f"Start {fitting} ranks, or set tokens_per_step={' or '.join(str(value) for value in near if value)}"
        )
    sharing = config.parallel.ranks_per_replica
    if sharing is not None and size % sharing:
        raise UserError(f"parallel.ranks_per_replica={sharing} does not divide {size} ranks; leave it out to use all.")
    return packs // size


def is_sharded(config: ParallelConfig, ranks: Ranks) -> bool:
    """Whether weights are spread over ranks; a single rank has nothing to spread."""
    return config.mode == "fsdp" and ranks.size > 1


def parallelize(model: EarthGPTForConditionalGeneration, config: ParallelConfig, ranks: Ranks) -> PackLosses:
    """Prepare a model, frozen as its stage wants and on its device, for training; its parameters may be replaced.

    What an earlier call did to the layers' forward is undone first.
    """
    set_attention(model.language_model, attention_name(config.attention, ranks.device, model.config.decoder_kind))
    forward = _layer_forward(config)
    for layer in model.language_model.layers:
        layer.__dict__.pop("forward", None)
        if forward is not None:
            # On the instance: parameter names, hooks and the class stay as they are.
            layer.__dict__["forward"] = partial(forward, layer)
    sharded = is_sharded(config, ranks)
    losses = PackLosses(model, anchored=sharded)
    if sharded:
        _shard(losses, ranks, config.ranks_per_replica or ranks.size)
    return losses


@contextmanager
def plain_forward(model: EarthGPTForConditionalGeneration) -> Iterator[None]:
    """Without checkpointing, compilation and pack masks: for generation, whose lengths and masks all differ."""
    wrapped = [layer.__dict__.pop("forward", None) for layer in model.language_model.layers]
    kernel = model.language_model.config._attn_implementation
    set_attention(model.language_model, model.config.decoder_kind.dense_kernel)
    try:
        yield
    finally:
        set_attention(model.language_model, kernel)
        for layer, forward in zip(model.language_model.layers, wrapped, strict=True):
            if forward is not None:
                layer.__dict__["forward"] = forward


def current_rows(rows: Sequence[FreezeRow], model: nn.Module) -> list[FreezeRow]:
    """The rows with the parameters that the model has now: sharding puts new ones in their place."""
    parameters = dict(model.named_parameters())
    return [replace(row, parameter=parameters[row.name]) for row in rows]


def sum_gradients(parameters: Sequence[nn.Parameter], ranks: Ranks) -> None:
    """Leave in every parameter's `grad` the sum over ranks; one that no pack used gets zeros.

    Zeros, so that the update is the same whether an image-less pack was alone or beside others, on one rank or many.
    """
    gradients = [_gradient(parameter) for parameter in parameters]
    if ranks.size == 1 or any(isinstance(parameter, DTensor) for parameter in parameters):
        return
    for group in _groups(gradients):
        flat = torch.cat([gradient.flatten() for gradient in group])
        distributed.all_reduce(flat)
        pieces = flat.split([gradient.numel() for gradient in group])
        for gradient, piece in zip(group, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))


def _gradient(parameter: nn.Parameter) -> torch.Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    """The full tensor of a sharded one, on every rank; a collective. Any other tensor as it is."""
    if not isinstance(tensor, DTensor):
        return tensor.detach()
    with torch.no_grad():
        return tensor.full_tensor()


def full_state(model: nn.Module, keep: bool = True) -> dict[str, torch.Tensor]:
    """The state of a model with whole tensors, on the host where it was sharded; a collective.

    Args:
        keep: whether this rank wants it; the others get an empty one.
    """
    state: dict[str, torch.Tensor] = {}
    kept: dict[int, torch.Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        # A tied tensor stays one.
        if isinstance(tensor, DTensor) and id(tensor) not in kept:
            complete = gathered(tensor)
            if keep:
                kept[id(tensor)] = complete.cpu()
        if keep:
            state[name] = kept.get(id(tensor), tensor.detach())
    return state


def sharded_like(tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A full tensor, equal on every rank, laid out as `parameter` is."""
    here = tensor.to(parameter.device)
    if not isinstance(parameter, DTensor):
        return here
    return distribute_tensor(here, parameter.device_mesh, parameter.placements, src_data_rank=None)


def _groups(gradients: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Neighbours of at most `NUMBERS_PER_REDUCTION` numbers together, or one alone."""
    groups: list[list[torch.Tensor]] = []
    room = 0
    for gradient in gradients:
        if gradient.numel() > room or not groups:
            groups.append([])
            room = NUMBERS_PER_REDUCTION
        groups[-1].append(gradient)
        room -= gradient.numel()
    return groups


def _layer_forward(config: ParallelConfig) -> Callable[..., Any] | None:
    """What replaces the forward of each layer, with the layer as its first argument; None to leave it."""
    if config.activation_checkpointing == "none":
        forward = _plain
    else:
        forward = _keeping_products if config.activation_checkpointing == "selective" else _keeping_inputs
    if config.compile:
        # One function for all layers, which differ in their weights alone: it is compiled once.
        return torch.compile(forward)
    return None if forward is _plain else forward


def _plain(layer: nn.Module, *arguments: Any, **options: Any) -> Any:
    return type(layer).forward(layer, *arguments, **options)


def _keeping_inputs(layer: nn.Module, *arguments: Any, **options: Any) -> Any:
    return checkpoint(_plain, layer, *arguments, use_reentrant=False, **options)


def _keeping_products(layer: nn.Module, *arguments: Any, **options: Any) -> Any:
    contexts = partial(create_selective_checkpoint_contexts, _keep_products)
    return checkpoint(_plain, layer, *arguments, use_reentrant=False, context_fn=contexts, **options)


def _keep_products(context: Any, operation: Any, *arguments: Any, **options: Any) -> CheckpointPolicy:
    """Keep what is dear to compute, matrix products and attention; norms, rotations and gates are computed again."""
    return CheckpointPolicy.MUST_SAVE if operation in _KEPT_OPERATIONS else CheckpointPolicy.PREFER_RECOMPUTE


def _shard(losses: PackLosses, ranks: Ranks, ranks_per_replica: int) -> None:
    shape = (ranks.size // ranks_per_replica, ranks_per_replica)
    mesh = init_device_mesh(ranks.device.type, shape, mesh_dim_names=("replicate", "shard"))
    if shape[0] == 1:
        mesh = mesh["shard"]
    encoders = set(losses.model.vision.parameters())
    ignored = set() if any(parameter.requires_grad for parameter in encoders) else encoders
    for layer in losses.model.language_model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(losses, mesh=mesh, reshard_after_forward=False, ignored_params=ignored)
    for module in losses.modules():
        if isinstance(module, FSDPModule):
            # The loss is already divided by the targets of all ranks: gradients are summed, not averaged.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def sum_in_backward(losses: nn.Module, wanted: bool) -> None:
    """Whether the next backward pass sums gradients over ranks that share weights; without it they add up where they
    are, whole, until one does. Nothing else is changed, and nothing at all where weights are not shared."""
    if isinstance(losses, FSDPModule):
        losses.set_requires_gradient_sync(wanted)
