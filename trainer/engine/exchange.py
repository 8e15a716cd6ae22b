"""Collectives of ranks between backward and optimizer, once a step.

One all-reduce of gradients, running statistics and loss; one gather of keys, rows and requests.
Afterwards every rank holds what one process with the whole batch would hold. One process keeps its
tensors as they are.
"""

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.distributed.world import Requests
from trainer.methods.base import Method, StepOutput


class Exchange:
    """The exchange of one run."""

    def __init__(self, method: Method, requests: Requests) -> None:
        """`requests` travel with each exchange."""
        self._method, self._world, self.requests = method, method.world, requests
        self._parameters = list(method.learning_parameters().values())
        self._norms = [each for each in method.modules() if isinstance(each, _BatchNorm)]

    def __call__(self, output: StepOutput, *, with_queries: bool) -> StepOutput:
        """Return the output of the whole batch. Gradients and running statistics are averaged.

        `with_queries`: gather queries too, which only the signals read.
        """
        if self._world.size == 1:
            return output
        loss = output.loss.clone()
        readings = tuple(reading.clone() for reading in output.readings)
        gradients = [each.grad for each in self._parameters if each.grad is not None]
        self._world.mean_([*gradients, *self._moving_statistics(), loss, *readings])
        return self._gathered(
            output._replace(loss=loss, readings=readings), with_queries=with_queries
        )

    def _moving_statistics(self) -> list[Tensor]:
        """Return running means and variances of the norms in training mode.

        Those of a frozen encoder are alike on all ranks, and a mean could round them.
        """
        return [tensor for norm in self._norms if norm.training for tensor in _statistics_of(norm)]

    def _gathered(self, output: StepOutput, *, with_queries: bool) -> StepOutput:
        """Return the output with the rows of all ranks, unless the loss has gathered them."""
        own = [] if self._method.gathers else [output.identities, output.keys]
        if own and with_queries:
            own.append(output.queries)
        *gathered, requests = self._world.all_gather([*own, self.requests.outgoing()])
        self.requests.take(requests)
        if not own:
            return output
        identities, keys, *queries = (_in_order(each, output.loss_terms) for each in gathered)
        output = output._replace(identities=identities, keys=keys)
        return output._replace(queries=queries[0]) if queries else output


def _statistics_of(norm: _BatchNorm) -> list[Tensor]:
    pair = (norm.running_mean, norm.running_var)
    return [tensor for tensor in pair if tensor is not None]


def _in_order(gathered: Tensor, loss_terms: int) -> Tensor:
    """Return [ranks, terms * b, ...] as [terms * ranks * b, ...], as one process has its rows."""
    ranks, rows, *rest = gathered.shape
    parts = gathered.view(ranks, loss_terms, rows // loss_terms, *rest)
    return parts.transpose(0, 1).flatten(0, 2)
