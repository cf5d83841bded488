"""A computation whose results a cache keeps, for the tests of the cache."""

import hashlib

import torch

KEY, OTHER = "a1" * 32, "a1" + "b2" * 31
FEATURES = {"z": torch.arange(12.0).reshape(4, 3), "y": torch.arange(6.0)[2:].to(torch.bfloat16)}


class Counted:
    """A computation that notes how often it ran."""

    def __init__(self, tensors=FEATURES):
        self.tensors, self.runs = tensors, 0

    def __call__(self):
        self.runs += 1
        return dict(self.tensors)


def entry(root, key=KEY):
    return root / "features" / key[:2] / f"{key}.safetensors"


def same(a, b):
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


def digest(tensors):
    return hashlib.sha256(b"".join(t.view(torch.uint8).numpy().tobytes() for t in tensors.values())).hexdigest()
