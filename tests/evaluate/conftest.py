"""One thread: a tiny model is quicker on one, and results do not depend on how many the machine has."""

import torch

torch.set_num_threads(1)
