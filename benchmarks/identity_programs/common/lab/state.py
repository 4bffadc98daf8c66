"""What a node holds."""

from . import settings
from .tools import total


class Describing:
    def summary(self):
        return f"{self.title} of {len(self.values)}"

    @property
    def mean(self):
        return self.sum() / len(self.values)

    def sum(self):
        return total(self.values)


class State(Describing):
    title = "state"
    floor = 0.001
    path = ""

    def __init__(self, dataset):
        self.dataset = dataset

    def initialize_state(self):
        self.values = [self.sample(i) for i in range(settings.SAMPLES)]
        self.log = [f"{self.dataset} {settings.SPREAD}"]

    def sample(self, i):
        return (i * settings.SEED) % settings.SPREAD + 0.5

    def normalise(self):
        largest = self._largest()
        self.values = [value / largest for value in self.values]

    def _largest(self):
        return max(abs(value) for value in self.values) + self.floor

    def magnitudes(self):
        return sorted(abs(value) for value in self.values)

    def note(self, text):
        self.log = [*self.log, text]

    def __len__(self):
        return len(self.values)

    def label(self):
        return f"{self.dataset}!"

    def plot(self):
        return "\n".join("*" * int(value) for value in self.values)
