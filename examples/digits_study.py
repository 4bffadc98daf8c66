"""Which tenth of a network is worth keeping? A pruning study on scikit-learn's handwritten digits.

A small classifier is trained at two learning rates, pruned by magnitude and at random, rewound to where it
was after its first epoch and trained again (the lottery ticket hypothesis, Frankle and Carbin, 2019), and
quantized to 8 bits. Accuracy is measured at every state. A second run finds everything and computes nothing.

    python examples/digits_study.py [directory]
"""

from __future__ import annotations

import functools
import itertools
import logging
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import dagtree as dg


@functools.cache
def digits() -> tuple[torch.Tensor, ...]:
    """1797 scans of 8 by 8 pixels: images and labels to train on, images and labels to test on."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order[:1200]], labels[order[:1200]], images[order[1200:]], labels[order[1200:]]


class Masked(nn.Linear):
    """A linear layer, some of whose weights are switched off and stay off."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("mask", torch.ones(outputs, inputs, dtype=torch.bool))

    def effective(self) -> torch.Tensor:
        return self.weight * self.mask

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.effective(), self.bias)


class Int8(nn.Module):
    """A linear layer of 8-bit whole numbers, with one scale for each output."""

    def __init__(self, layer: Masked) -> None:
        super().__init__()
        weight = layer.effective().detach()
        scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("weight", (weight / scale).round().to(torch.int8))
        self.register_buffer("bias", layer.bias.detach().clone())

    def effective(self) -> torch.Tensor:
        return self.weight * self.scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.effective(), self.bias)


class Classifier(dg.ExperimentState):
    PROPERTIES = ["hidden"]
    NONHASHED_ATTRIBUTES = ["model"]

    def initialize_state(self, **properties):
        sizes = [64, *self.hidden, 10]
        layers = [Masked(a, b) for a, b in itertools.pairwise(sizes)]
        self.model = nn.Sequential(layers[0], *(part for layer in layers[1:] for part in (nn.ReLU(), layer)))

    def layers(self):
        return [layer for layer in self.model if isinstance(layer, Masked | Int8)]


class Train(dg.Recipe):
    epochs: int
    lr: float

    def run(self, state):
        images, labels, *_ = digits()
        optimizer = torch.optim.SGD(state.model.parameters(), lr=self.lr, momentum=0.9)
        for _epoch in self.steps(range(self.epochs)):
            for batch in torch.randperm(len(images)).split(64):
                optimizer.zero_grad()
                loss = F.cross_entropy(state.model(images[batch]), labels[batch])
                loss.backward()
                optimizer.step()
            yield {"loss": loss.item()}


class Prune(dg.Recipe):
    """Switches off the same fraction of the weights in every layer."""

    fraction: float
    by: str = "magnitude"

    def run(self, state):
        for layer in state.layers():
            score = layer.weight.detach().abs() if self.by == "magnitude" else torch.rand_like(layer.weight)
            layer.mask &= score > score.flatten().kthvalue(int(self.fraction * score.numel())).values
        return state


class Rewind(dg.Recipe):
    """Gives the weights of an earlier state to the layers of a pruned one, which keep their masks."""

    def run(self, state, early):
        for layer, before in zip(state.layers(), early.layers(), strict=True):
            layer.load_state_dict(before.state_dict() | {"mask": layer.mask})
        return state


class Quantize(dg.Recipe):
    def run(self, state):
        state.model = nn.Sequential(*(Int8(m) if isinstance(m, Masked) else m for m in state.model))
        return state


@dg.function(cached=True)
def measured(state):
    *_, images, labels = digits()
    weights = torch.cat([layer.effective().flatten() for layer in state.layers()])
    biases = sum(layer.bias.numel() for layer in state.layers())
    with torch.no_grad():
        correct = state.model(images).argmax(dim=1) == labels
    return {
        "parameters": int(weights.count_nonzero()) + biases,
        "sparsity": 1 - int(weights.count_nonzero()) / len(weights),
        "accuracy": correct.float().mean().item(),
    }


def define(exp):
    root = measured(exp.spawn_new_tree(hidden=(300, 100)))
    for lr in (0.02, 0.1):
        with exp.tag(f"lr:{lr}"):
            trained = measured(Train(epochs=20, lr=lr)(root))
            early = measured(trained.at(1))
            measured(Quantize()(trained))
            for by in ("magnitude", "random"):
                for fraction in (0.5, 0.8, 0.95):
                    with exp.tag(by, f"pruned:{fraction}"):
                        pruned = measured(Prune(fraction=fraction, by=by)(trained))
                        rewound = measured(Rewind()(pruned, early))
                        with exp.tag("ticket"):
                            ticket = measured(Train(epochs=20, lr=lr)(rewound))
                            measured(Quantize()(ticket))


def print_table(graph):
    print(f"{'path':33} {'tags':36} parameters sparsity accuracy seconds   bytes")
    for node in graph.nodes:
        found = node.results["measured"]
        print(
            f"{node.path:33} {' '.join(node.tags):36} {found['parameters']:10,} {found['sparsity']:8.1%} "
            f"{found['accuracy']:8.1%} {node.seconds:7.2f} {node.size_bytes:7,}"
        )


def main(directory="runs/digits"):
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # shows progress where there is no terminal
    torch.set_num_threads(1)  # layers as small as these gain nothing from more
    exp = dg.Experiment(directory, state_class=Classifier)
    define(exp)
    report = exp.run()
    print_table(exp.graph)
    print(f"The tree is drawn in {exp.graph.draw(Path(directory) / 'tree')}")
    print(report)


if __name__ == "__main__":
    main(*sys.argv[1:])
