"""The target file that `collabplan init` writes. It is kept as text because it is the user's from then on."""

from __future__ import annotations

TEMPLATE = '''"""A target for collabplan: a model, its example inputs, and the data that it is judged by.

It works as it is: a small network for scikit-learn's handwritten digits. The first time it trains itself in a few
seconds and keeps its weights in digits-weights.safetensors beside this file. Replace its parts by your own. To profile,
`model` and `example_inputs` are enough; to optimize, `validation_data` is needed too.

    collabplan profile model.py
    collabplan optimize --budget-ms 50 --max-edge-params 15000 --no-audit

This network is so small that any device could run all of it, and nothing would be sent: --max-edge-params stands for a
device without room for its 15,498 parameters.

collabplan runs this file to load it. It never changes the model's weights or training mode.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import nn

WEIGHTS = Path(__file__).with_name("digits-weights.safetensors")


class DigitNet(nn.Module):
    """Reads 1x8x8 images in [0, 1]."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        )
        self.classifier = nn.Linear(32 * 2 * 2, 10)

    def forward(self, image):
        return self.classifier(self.features(image).flatten(1))


def _digits():
    """All images [1797, 1, 8, 8] in [0, 1] and their labels, the same order every time."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return images[order], labels[order]


def _train(net):
    images, labels = train_data()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(15):
        for batch in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimizer.step()


# The model: a module, or a function that returns one. In eval mode it must give the same output each time.
def model():
    net = DigitNet()
    if not WEIGHTS.exists():
        _train(net)
        save_file(net.state_dict(), WEIGHTS)
    net.load_state_dict(load_file(WEIGHTS))
    return net.eval()


# What the model is called with: a tensor, a tuple of arguments, a dict of keyword arguments, or
# (arguments, keyword arguments). The first dimension counts samples; one is enough.
example_inputs = (torch.zeros(1, 1, 8, 8),)

# The dimension that counts samples, if it is not the first, as in models that take time first. Data below still has
# samples first.
# batch_dim = 1

# Names of inputs that are harmless to send, such as an attention mask. Every other input is private.
# public_inputs = ["attention_mask"]

# The range of the inputs, so that pixels compare in [0, 1]. Or: input_mean = [...] and input_std = [...].
input_range = (0.0, 1.0)


# Data: (inputs, labels), a torch Dataset, a DataLoader, or a function that returns one of these. Or a path, relative to
# this file: "photos" (class/file.jpg), "data.npz", "data.safetensors", "data.csv".
# No sample may be in two sets. Validation data is divided once into a split for the search and a split that
# confirms the plan. 160 samples are the fewest that can show a small drop in accuracy; signing off takes 1,000.
def validation_data():
    images, labels = _digits()
    return images[1000:1600], labels[1000:1600]


def train_data():
    images, labels = _digits()
    return images[:700], labels[:700]


# Auxiliary data of an attacker: other samples of the same distribution.
def attacker_data():
    images, labels = _digits()
    return images[700:1000], labels[700:1000]


# The classes in the order of the model's outputs, if labels are names of folders.
# class_names = ["cat", "dog"]

# Auxiliary data of another distribution, used by audits.
# other_attacker_data = ...

# An attribute that must not leak either, one label per validation sample; used by audits.
# sensitive_labels = ...

# What your service answers with: "label", "label+probability" (two digits), "top5" or "logits". An attacker who sees
# the answer learns that much in any case, and audits say what a release tells beyond it. Until you declare it, the
# label alone counts as given away.
# returns = "label"

# What of an image is secret: a box (top, left, bottom, right) in pixels, or a mask [height, width] of weights. Audits
# then say how well that region is recovered; a small one hardly counts in the index of the whole image.
# region_of_interest = (2, 2, 6, 6)

# Stages of your own for `--defense`, classes derived from collabplan.defenses.CustomStage.
# defense_stages = [MyStage]

# Your own metric instead of the accuracy that `collabplan profile` names. It takes the model's outputs for some samples
# and their labels, and returns one score per sample, or one for all of them. Higher is better.
# def evaluate(outputs, labels):
#     return (outputs.argmax(1) == labels).float()
'''
