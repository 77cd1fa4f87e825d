"""M3PO Studio: make, look at, correct and train on preference pairs for vision-language models."""

__version__ = "0.1.0"
