"""What somebody might put around a part of a model."""

from torch import nn


class AroundMLP(nn.Module):
    """The start of a wrapper of an MLP, through which TransformerLens finds the projections."""

    def __init__(self, mlp):
        super().__init__()
        self.mlp = mlp

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("mlp"), name)
