"""First-order Taylor, plain: how much the loss would change, to first order, without a channel."""
from collections.abc import Sequence

from torch import nn

from cait_mm.pruning.scores.first_order import means, terms
from cait_mm.pruning.scores.task import Batch
from cait_mm.pruning.selection import BlockChannels


def taylor(model: nn.Module, batches: Sequence[Batch]) -> list[BlockChannels]:
    """The magnitude of the sum of weight times gradient over a channel's row and bias, of the mean loss of batches."""
    sums = ([block.map(lambda values: values.sum(0)) for block in batch] for batch in terms(model, batches))
    return [block.map(lambda values: values.abs()) for block in means(sums)]
