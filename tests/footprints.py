"""Everything of a user's process that a call could change, as one value to compare before and after."""

import gc
import logging
import os
import pickle
import random
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import torch

RANDOM = ("torch's random numbers", "numpy's random numbers", "Python's random numbers")


def footprint(hf: torch.nn.Module) -> dict[str, Any]:
    """The state of the process, and of a model that belongs to the user."""
    return _random() | _torch() | _python() | _model(hf)


def _random() -> dict[str, Any]:
    states = torch.get_rng_state().numpy().tobytes(), pickle.dumps(np.random.get_state()), random.getstate()
    return dict(zip(RANDOM, states, strict=True))


def _torch() -> dict[str, Any]:
    return {
        "threads of torch": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "default dtype and device": (torch.get_default_dtype(), torch.get_default_device()),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "deterministic algorithms": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
        ),
        "precision": (
            torch.get_float32_matmul_precision(),
            torch.backends.cuda.matmul.allow_tf32,
            torch.is_autocast_enabled("cpu"),
            torch.get_flush_denormal() if hasattr(torch, "get_flush_denormal") else None,
        ),
        "how tensors print": repr(torch._tensor_str.PRINT_OPTS),
        "hooks of all modules": len(torch.nn.modules.module._global_forward_hooks)
        + len(torch.nn.modules.module._global_forward_pre_hooks),
    }


def _python() -> dict[str, Any]:
    loggers = [
        logging.root,
        *(x for x in logging.root.manager.loggerDict.values() if isinstance(x, logging.Logger)),
    ]
    return {
        "filters of warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "levels of loggers": {x.name: (x.level, x.disabled, len(x.handlers)) for x in loggers},
        "matplotlib": (mpl.get_backend(), {k: repr(v) for k, v in mpl.rcParams.items()}),
        "numpy": (np.geterr(), np.get_printoptions()),
        "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
        "garbage collection": (gc.isenabled(), gc.get_threshold()),
        "recursion, hooks": (sys.getrecursionlimit(), sys.excepthook, sys.displayhook),
    }


def _model(hf: Any) -> dict[str, Any]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "hooks of the model": {n: sum(len(getattr(m, k)) for k in kinds) for n, m in hf.named_modules()},
        "training of the model": {n: m.training for n, m in hf.named_modules()},
        "methods of the model": {n: sorted(vars(m)) for n, m in hf.named_modules()},
        "gradients of the model": {n: (p.requires_grad, p.grad is None) for n, p in hf.named_parameters()},
        "weights of the model": {n: (id(p), float(p.double().sum())) for n, p in hf.named_parameters()},
        "config of the model": (
            hf.config.to_dict(),
            hf.generation_config.to_dict(),
            hf.config._attn_implementation,
        ),
    }


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is no longer as it was; loggers that came to be in between count from then on."""
    levels = "levels of loggers"
    after = after | {levels: {k: v for k, v in after[levels].items() if k in before[levels]}}
    return [name for name in before if before[name] != after[name]]


def linear_algebra() -> Callable[[], None]:
    """A check that determinants and inverses of known matrices are right, which MKL's are not once its
    threads were meddled with.
    """
    draw = torch.Generator().manual_seed(0)
    a = torch.randn(4, 256, 256, dtype=torch.float64, generator=draw)
    s = a @ a.mT / 256 + torch.eye(256, dtype=torch.float64)
    logdet = 2 * torch.linalg.cholesky(s).diagonal(dim1=1, dim2=2).log().sum(1)

    def check() -> None:
        one = torch.eye(256, dtype=torch.float64).expand_as(s)
        assert torch.allclose(torch.linalg.slogdet(s)[1], logdet, atol=1e-9), "determinants are wrong"
        assert torch.allclose(s @ torch.linalg.inv(s), one, atol=1e-9), "inverses are wrong"

    return check
