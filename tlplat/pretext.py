"""Self-supervised tasks that a backbone may offer: what continued pretraining on unlabelled rows learns from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from tlplat.data.examples import Batch

if TYPE_CHECKING:
    from tlplat.model import Backbone


class Pretext(nn.Module, ABC):
    """A task whose answers lie in the inputs themselves, with the layers that read them off the backbone.

    Its own weights are trained beside the backbone's and saved in no model. ``summary`` says in a few words what is
    predicted, such as ``masked bases``.
    """

    summary: ClassVar[str]

    @abstractmethod
    def loss(self, backbone: Backbone, batch: Batch, generator: torch.Generator) -> Tensor:
        """A scalar for a batch of inputs.

        Args:
            generator: on the CPU; all that is drawn (which inputs are hidden) must come from it, so that a resumed fit
                draws the same.
        """
