"""Attention by the kernels that a GPU takes: FlashAttention, in fp32 the memory-efficient one.

Torch asks the driver which of them fit, and there is no driver.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_of_torch = F.scaled_dot_product_attention


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return what each query attends to, [N, heads, tokens, width], without mask or dropout."""
    attended: Tensor
    if query.device.type != "cuda":
        attended = _of_torch(query, key, value)
    elif query.dtype in {torch.bfloat16, torch.float16}:
        attended = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]
    else:
        attended = torch.ops.aten._scaled_dot_product_efficient_attention(
            query, key, value, None, query.requires_grad
        )[0]
    return attended
