"""A small lab: what the experiments of script.py and notebook.py are made of."""

from .settings import Mode

__all__ = ["Mode"]
