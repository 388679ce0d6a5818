"""A decoder of few, large autograd functions, for the architectures it knows; see `decoder.py`."""
