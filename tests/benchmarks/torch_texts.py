"""The PyTorch side of `step_speed` for texts: transformers' BERT of MiniLM's size."""

import numpy as np
import torch
import torch_models
import torchvision_stubs  # noqa: F401
from step_speed import texts
from torch import nn
from transformers import BertConfig, BertModel


class Pooled(nn.Module):
    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, inputs):
        return self.bert(**inputs).pooler_output


def make(case):
    """A function without arguments that runs `case` once."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=384,
        num_hidden_layers=6,
        intermediate_size=1536,
        hidden_dropout_prob=case.dropout,
        attention_probs_dropout_prob=case.dropout,
    )
    head = nn.Sequential(nn.Dropout(case.dropout), nn.Linear(384, case.classes))
    model = nn.ModuleDict({"backbone": Pooled(BertModel(config)), "head": head})
    inputs = texts(np.random.default_rng(0), case)
    return torch_models.step(model, {name: torch.from_numpy(array).long() for name, array in inputs.items()}, case)
