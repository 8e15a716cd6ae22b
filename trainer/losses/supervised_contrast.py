"""The loss of supervised contrast, L_out."""

import torch
from torch import Tensor

from trainer.losses.nt_xent import MASKED_LOGIT


def supervised_contrast(embeddings: Tensor, *, is_positive: Tensor, temperature: float) -> Tensor:
    """Return the mean over anchors of the mean cross-entropy of finding each positive, in nats.

    `embeddings` [N, D] are unit vectors, `is_positive` bool [N, N] with False on the diagonal,
    `temperature` > 0. The denominator of an anchor holds all others, its positives too. Anchors
    without a positive are left out of the mean; without any anchor the loss is 0. bfloat16 and
    float16 are widened to float32 first. Keeps matrices [N, N] for the gradient.
    Source: Khosla et al. 2020, Eq. 2 (arXiv:2004.11362).
    """
    exact = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    itself = torch.eye(len(exact), dtype=torch.bool, device=exact.device)
    logits = (exact @ exact.T / temperature).masked_fill(itself, MASKED_LOGIT)
    surprise = (logits.logsumexp(1, keepdim=True) - logits).masked_fill(~is_positive, 0.0)
    positives = is_positive.sum(1)  # [N]
    terms = surprise.sum(1) / positives.clamp(min=1)
    return terms.sum() / (positives > 0).sum().clamp(min=1)
