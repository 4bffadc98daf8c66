"""Layers."""

import math
import os.path

from .settings import RATES, SCALE


def activate(x, slope=0.1, *, shift=0.5):
    """What a layer does with a number."""
    # Every number is moved a little.
    return math.sin(x) * SCALE + RATES["relu"] * slope + RATES["tanh"][1] + shift


def unused(x):
    return os.path.join("nowhere", str(x))


class Named:
    prefix = "layer"

    def label(self):
        return f"{self.prefix}-{self.width:>3}"


class Layer:
    width = 3
    depth: int = 9

    def __init__(self, gain=1.5):
        self.gain = gain

    def forward(self, x):
        return activate(x) * self.gain + self.width

    def backward(self, x):
        return -x


class Frozen(Layer):
    def forward(self, x):
        return x


class Wide(Named, Layer):
    prefix = "wide"

    def forward(self, x):
        return super().forward(x) + self.bias

    @property
    def bias(self):
        return self.width**2 / self.unit()

    @staticmethod
    def unit():
        return 16

    @classmethod
    def make(cls):
        return cls(gain=1.25)
