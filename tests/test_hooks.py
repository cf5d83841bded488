"""One plugin that answers every registering hook: all that it brings is known, with its owner."""

from __future__ import annotations

from tlplat import plugins

PLUGIN = """
import torch
from torch import nn
from tlplat import hookimpl
from tlplat.edits import Behaviour, Edit
from tlplat.model import Backbone
from tlplat.tasks.classification import Classification


class Pairs(Classification):
    '''Which of two.'''
    name = "pairs"


class Widen(Edit):
    '''Does nothing.'''
    name = "widen"

    @staticmethod
    def build(model, args):
        pass


class Calm(Behaviour):
    '''Does nothing.'''
    name = "calm"


class Flat(Backbone):
    '''One layer.'''
    name = "flat"
    block_dims = (2,)

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleDict({"only": nn.Linear(2, 2)})

    def config(self):
        return {}

    def embed(self, batch):
        return batch

    def pool(self, hidden):
        return hidden


@hookimpl
def tlplat_register_tasks():
    return [Pairs]

@hookimpl
def tlplat_register_edits():
    return [Widen]

@hookimpl
def tlplat_register_behaviours():
    yield Calm

@hookimpl
def tlplat_register_backbones():
    return (Flat,)
"""


def test_every_registering_hook_is_asked(site):
    site.add("everything", PLUGIN, group="tasks", name="pairs", version="3.1")
    registry = plugins.load("tasks", ["pairs"])
    brought = [("tasks", "pairs"), ("edits", "widen"), ("behaviours", "calm"), ("backbones", "flat")]
    for kind, name in brought:
        assert registry.get(kind, name).name == name
        assert registry.owner(kind, name) == "everything 3.1"
    assert len(registry.entries) == len(brought)
