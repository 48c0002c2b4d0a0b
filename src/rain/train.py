"""Training, under its public name: ``rain.train.read`` gives what ``rain.train.fit`` takes.

All of it is in ``rain.training``.
"""

from rain.training.loop import Trained, fit
from rain.training.recipe import Config, read

__all__ = ["Config", "Trained", "fit", "read"]
