"""bf16 where the hardware multiplies it, and the memory format that convolutions like."""

from typing import TypeVar

import torch
from torch import nn

from etudes.core.errors import Problem, unknown
from etudes.core.run import Run
from etudes.core.spec import Study

Model = TypeVar("Model", bound=nn.Module)


def has_bf16() -> bool:
    """Whether the GPU, or without one the CPU, multiplies bf16 natively; emulation would be slower than fp32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def resolve(study: Study, wanted: str) -> str:
    """ "bf16" or "fp32": `wanted`, or for "auto" the fastest that the study allows and the hardware has."""
    if wanted not in ("auto", "bf16", "fp32"):
        raise unknown("precision", wanted, ("auto", "bf16", "fp32"))
    if study.precision == "fp32":
        if wanted == "bf16":
            raise Problem(f"{study.name} measures what bf16 would blur; leave out --precision bf16")
        return "fp32"
    return ("bf16" if has_bf16() else "fp32") if wanted == "auto" else wanted


def place(run: Run, model: Model) -> Model:
    """The model on the run's device, in channels_last memory where that is faster; noted in env.json.

    It is for networks that convolve pictures. But on a CPU PyTorch's group normalisation takes some twenty times as
    long in channels_last and bf16 as in contiguous memory.
    """
    kinds = {type(m) for m in model.modules()}
    last = nn.Conv2d in kinds and not (nn.GroupNorm in kinds and run.device.type == "cpu")
    memory = torch.channels_last if last else torch.contiguous_format
    run.note(memory_format="channels_last" if last else "contiguous")
    return model.to(run.device).to(memory_format=memory)
