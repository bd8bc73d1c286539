"""Evenhand: identical MLP training tasks for several frameworks, measured under one harness."""

__version__ = "0.1.0"
