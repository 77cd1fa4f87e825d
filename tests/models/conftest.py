"""Tiny models gain nothing from threads, and on a busy machine they lose by them."""

import torch

torch.set_num_threads(1)
