"""Fourteen small models as users bring them: target files as text, and what must come out of them.

The weights are drawn, but labels follow from the inputs by a rule that each network's data states, or from the network
itself, so that accuracy has a value that the test can compute again.
"""

from __future__ import annotations

from dataclasses import dataclass

HEAD = """
import torch
from torch import nn
import torch.nn.functional as F

generator = torch.Generator().manual_seed(0)
torch.manual_seed(0)
"""


@dataclass(frozen=True)
class UserModel:
    """A target file, and what a plan of it must say.

    Attributes:
        name: for the test's name.
        text: the target file, after `HEAD`.
        metric: what its quality must be called, or a part of that.
        quality: the undefended model's score on the confirm half, by a formula of the test's own: Python source of
            a function of `outputs`, `labels` and `everything`, the labels of both halves.
        refused: without `evaluate` the file must be refused, and these words must be in the one line.
    """

    name: str
    text: str
    metric: str
    quality: str
    refused: tuple[str, ...] = ()


TWO_AND_TWO = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(6, 8), nn.Linear(4, 8)
        self.join = nn.Linear(16, 8)
        self.kind, self.amount = nn.Linear(8, 3), nn.Linear(8, 1)

    def forward(self, image, sound):
        both = torch.cat([torch.relu(self.left(image)), torch.relu(self.right(sound))], 1)
        both = torch.tanh(self.join(both))
        return self.kind(both), self.amount(both)

model = Net().eval()
example_inputs = (torch.zeros(1, 6), torch.zeros(1, 4))

def validation_data():
    inputs = torch.randn(80, 6, generator=generator), torch.randn(80, 4, generator=generator)
    with torch.no_grad():
        kind, amount = model(*inputs)
    return inputs, torch.stack([kind.argmax(1).float(), amount[:, 0]], 1)
"""
TWO_EVALUATE = """
def evaluate(outputs, labels):
    return (outputs[0].argmax(1) == labels[:, 0].long()).float()
"""

TOKENS = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask):
        hidden = self.encoder(self.embed(input_ids), src_key_padding_mask=attention_mask == 0)
        kept = attention_mask.unsqueeze(2).to(hidden.dtype)
        return self.head((hidden * kept).sum(1) / kept.sum(1))

model = Net().eval()
example_inputs = {
    "input_ids": torch.randint(1, 20, (1, 6), generator=generator),
    "attention_mask": torch.ones(1, 6, dtype=torch.int64),
}
public_inputs = ["attention_mask"]

def validation_data():
    ids = torch.randint(1, 20, (80, 6), generator=generator)
    mask = torch.ones(80, 6, dtype=torch.int64)
    mask[::2, 4:] = 0
    with torch.no_grad():
        labels = model(ids, mask).argmax(1)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
"""

U_NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.out = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        skip = torch.relu(self.down1(x))
        deep = torch.relu(self.down2(skip))
        return self.out(torch.cat([skip, self.up(deep)], 1))

model = Net().eval()
example_inputs = (torch.zeros(1, 1, 8, 8),)
input_range = (0, 1)

def validation_data():
    images = torch.rand(60, 1, 8, 8, generator=generator)
    with torch.no_grad():
        labels = model(images).argmax(1)
    labels[:, 0] = (labels[:, 0] + 1) % 3
    labels[:, -1] = 255
    return images, labels
"""

AUTOENCODER = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))
        self.decode = nn.Sequential(nn.Tanh(), nn.Linear(3, 8))

    def forward(self, x):
        return self.decode(self.encode(x))

model = Net().eval()
example_inputs = (torch.zeros(1, 8),)

def validation_data():
    x = torch.rand(80, 8, generator=generator)
    with torch.no_grad():
        return x, model(x) + 0.05 * torch.randn(80, 8, generator=generator)
"""

LSTM = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=True)
        self.head = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])

model = Net().eval()
example_inputs = (torch.zeros(1, 5, 4),)

def validation_data():
    x = torch.randn(80, 5, 4, generator=generator)
    with torch.no_grad():
        return x, model(x).argmax(1)
"""

GRU = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 6)
        self.head = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))

    def forward(self, x):
        return self.head(self.gru(x)[0][-1])

model = Net().eval()
example_inputs = (torch.zeros(5, 1, 4),)
batch_dim = 1

def validation_data():
    x = torch.randn(80, 5, 4, generator=generator)
    with torch.no_grad():
        return x, model(x.transpose(0, 1)).argmax(1)
"""

DETECTOR = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        self.boxes, self.scores = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        features = torch.relu(self.body(x))
        return {"boxes": self.boxes(features), "scores": self.scores(features)}

model = Net().eval()
example_inputs = (torch.zeros(1, 1, 8, 8),)
input_range = (0, 1)

def validation_data():
    x = torch.rand(60, 1, 8, 8, generator=generator)
    with torch.no_grad():
        return x, model(x)["scores"].argmax(1)
"""
REGRESSION = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Linear(6, 8), nn.Linear(8, 1)

    def forward(self, x):
        return self.head(torch.tanh(self.stem(x)))

model = Net().eval()
example_inputs = (torch.zeros(1, 6),)

def validation_data():
    x = torch.randn(80, 6, generator=generator)
    with torch.no_grad():
        return x, model(x) + 0.05 * torch.randn(80, 1, generator=generator)
"""

ATTENTION = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(4, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        mixed, _ = self.attention(x, x, x)
        return self.head((x + mixed).mean(1))

model = Net().eval()
example_inputs = (torch.zeros(1, 5, 4),)

def validation_data():
    x = torch.randn(80, 5, 4, generator=generator)
    with torch.no_grad():
        return x, model(x).argmax(1)
"""

IMAGES = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2), nn.ReLU())
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))

plain = Net().eval()
input_range = (0, 1)

def validation_data():
    x = torch.rand(60, 3, 8, 8, generator=generator).to(example_inputs[0].dtype)
    with torch.no_grad():
        return x, plain(x).argmax(1)
"""
CHANNELS_LAST = f"""{IMAGES}
model = plain.to(memory_format=torch.channels_last)
example_inputs = (torch.zeros(1, 3, 8, 8).to(memory_format=torch.channels_last),)
"""
COMPILED = f"""{IMAGES}
model = torch.compile(plain)
example_inputs = (torch.zeros(1, 3, 8, 8),)
"""
FLOAT16 = f"""{IMAGES}
model = plain.half()
example_inputs = (torch.zeros(1, 3, 8, 8, dtype=torch.float16),)
"""
BFLOAT16 = f"""{IMAGES}
model = plain.to(torch.bfloat16)
example_inputs = (torch.zeros(1, 3, 8, 8, dtype=torch.bfloat16),)
"""

ONE_LOGIT = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Linear(6, 8), nn.Linear(8, 1)

    def forward(self, x):
        return self.head(torch.tanh(self.stem(x)))

model = Net().eval()
example_inputs = (torch.zeros(1, 6),)

def validation_data():
    x = torch.randn(200, 6, generator=generator)
    with torch.no_grad():
        labels = (model(x) > 0).float()
    labels[::10] = 1 - labels[::10]
    return x, labels
"""

_TOP1 = "(outputs.argmax(1) == labels).double().mean()"
_R2 = "1 - ((outputs - labels) ** 2 / everything.var(0, correction=0)).mean()"
_PIXELS = "(outputs.argmax(1) == labels)[labels != 255].double().mean()"

USER_MODELS = (
    UserModel(
        "two inputs, two outputs", TWO_AND_TWO, "evaluate",
        "(outputs[0].argmax(1) == labels[:, 0].long()).double().mean()", ("evaluate", "outputs"),
    ),
    UserModel("tokens with a mask", TOKENS, "top-1", _TOP1),
    UserModel("u-net", U_NET, "accuracy", _PIXELS),
    UserModel("autoencoder", AUTOENCODER, "R2", _R2),
    UserModel("lstm", LSTM, "top-1", _TOP1),
    UserModel("sequence-first gru", GRU, "top-1", _TOP1),
    UserModel("detector", DETECTOR, "top-1", "(outputs['scores'].argmax(1) == labels).double().mean()"),
    UserModel("regression", REGRESSION, "R2", _R2),
    UserModel("multi-head attention", ATTENTION, "top-1", _TOP1),
    UserModel("channels last", CHANNELS_LAST, "top-1", _TOP1),
    UserModel("compiled", COMPILED, "top-1", _TOP1),
    UserModel("float16", FLOAT16, "top-1", _TOP1),
    UserModel("bfloat16", BFLOAT16, "top-1", _TOP1),
    UserModel("one logit", ONE_LOGIT, "accuracy", "((outputs > 0).float() == labels).double().mean()"),
)  # fmt: skip

EVALUATE = {"two inputs, two outputs": TWO_EVALUATE}
"""The `evaluate` that makes a refused file whole."""
