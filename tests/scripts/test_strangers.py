"""Do scripts in the manner of public repositories go through without an edit? Small ones, each with an idiom that once stopped it.

Which public scripts were tried is in docs/strangers.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import tpdyn
from tpdyn.regimes.prediction import Regime
from tpdyn.scripts.script import load

AUTOENCODER = """
import argparse
import torch
from torch import nn, optim
from torch.nn import functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=1)
args = parser.parse_args()
torch.manual_seed(args.seed)


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(12, 400)
        self.fc21 = nn.Linear(400, 3)
        self.fc22 = nn.Linear(400, 3)
        self.fc3 = nn.Linear(3, 400)
        self.fc4 = nn.Linear(400, 12)

    def forward(self, x):
        h = F.relu(self.fc1(x.view(-1, 12)))
        mu, logvar = self.fc21(h), self.fc22(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar


model = VAE()
optimizer = optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(4):
    x = torch.rand(5, 3, 4)
    optimizer.zero_grad()
    back, mu, logvar = model(x)
    loss = F.binary_cross_entropy(back, x.view(-1, 12), reduction="sum")
    loss = loss - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    loss.backward()
    optimizer.step()
"""

IMAGES = """
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.fc1 = nn.Linear(256, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)
        x = F.relu(self.fc1(torch.flatten(F.dropout(x, 0.25, self.training), 1)))
        return F.log_softmax(self.fc2(F.dropout(x, 0.5, self.training)), dim=1)


model = Net()
optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
for _ in range(4):
    optimizer.zero_grad()
    F.nll_loss(model(torch.randn(3, 1, 8, 8)), torch.randint(0, 10, (3,))).backward()
    optimizer.step()
"""

POLICY = """
import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical

torch.manual_seed(543)
generator = np.random.RandomState(1)
policy = nn.Sequential(nn.Linear(4, 128), nn.Dropout(0.6), nn.ReLU(), nn.Linear(128, 2), nn.Softmax(dim=1))
optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
eps = np.finfo(np.float32).eps.item()
for episode in range(4):
    saved, rewards = [], []
    for t in range(5):
        state = torch.from_numpy(generator.randn(4)).float().unsqueeze(0)
        m = Categorical(policy(state))
        action = m.sample()
        saved.append(m.log_prob(action))
        action.item()
        rewards.append(1.0)
    R, returns = 0, []
    for r in rewards[::-1]:
        R = r + 0.99 * R
        returns.insert(0, R)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + eps)
    optimizer.zero_grad()
    torch.cat([-log * R for log, R in zip(saved, returns)]).sum().backward()
    optimizer.step()
"""

CHARACTERS = """
import torch
from torch import nn
from torch.nn import functional as F

n_embd, learning_rate, eval_iters = 64, 1e-2, 3
with open("configurator.py") as file:
    exec(file.read())
torch.manual_seed(1337)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(11, n_embd)
        self.mlp = nn.Sequential(nn.Linear(3 * n_embd, n_embd), nn.Tanh(), nn.Linear(n_embd, 10))

    def forward(self, x, targets):
        logits = self.mlp(self.wte(x).flatten(1))
        return logits, F.cross_entropy(logits, targets, ignore_index=-1)


def batch():
    y = torch.randint(-1, 10, (6,))
    return torch.randint(0, 11, (6, 3)), y


model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
for step in range(4):
    for group in optimizer.param_groups:
        group["lr"] = learning_rate / (1 + step)
    if step == 0:
        model.eval()
        with torch.no_grad():
            losses = torch.zeros(eval_iters)
            for k in range(eval_iters):
                losses[k] = model(*batch())[1].item()
        model.train()
        print(losses.mean().item())
    _, loss = model(*batch())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
"""

CONFIGURATOR = """
import sys
from ast import literal_eval

for word in sys.argv[1:]:
    if "=" not in word:
        assert not word.startswith("--")
        with open(word) as file:
            exec(file.read())
    else:
        key, value = word.split("=")
        assert type(literal_eval(value)) == type(globals()[key[2:]])
        globals()[key[2:]] = literal_eval(value)
"""


METRICS = """
import torch
from torch import nn
from torch.nn import functional as F


class Accuracy(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.register_buffer("hits", torch.zeros(classes, dtype=torch.long))
        self.register_buffer("total", torch.tensor(0))
        self.register_buffer("confusion", torch.zeros(classes, classes, dtype=torch.long))

    def forward(self, scores, target):
        with torch.no_grad():
            found = scores.argmax(1)
            wrong = torch.ne(found, target)
            self.hits += F.one_hot(found, len(self.hits)).sum(0)
            self.total += target.numel()
            pairs = torch.bincount(found * len(self.hits) + target, minlength=self.confusion.numel())
            self.confusion += pairs.reshape(self.confusion.shape)
            return 1 - wrong.float().mean()


class Module(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 3))
        self.accuracy = Accuracy(3)

    def training_step(self, x, y):
        scores = self.net(x)
        self.log("accuracy", self.accuracy(scores.softmax(1), y))
        return F.cross_entropy(scores, y)

    def log(self, name, value):
        print(name, value.item())


module = Module()
optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    module.training_step(torch.randn(6, 5), torch.randint(0, 3, (6,))).backward()
    optimizer.step()
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def verdict(
    text: str, *settings: str, option: str | None = None, words: tuple[str, ...] = (), verify: bool = False
) -> tuple[Regime, str]:
    """The regime of the script, and the module that decides it. verify: replay the program at a further width, too."""
    Path("train.py").write_text(text)
    train = load("train.py", option, words, settings)
    found = tpdyn.predict(tpdyn.record(train, widths=(24, 32, 40), steps=2, verify=verify))
    return found.regime, found.reasons[0].module


def test_an_autoencoder_with_widths_in_the_calls_of_its_layers() -> None:
    regime, module = verdict(AUTOENCODER, "400=n")
    assert regime is Regime.UNSTABLE and module in ("fc21", "fc22")


def test_a_convolutional_network_whose_flattened_size_grows_with_its_channels() -> None:
    regime, module = verdict(IMAGES, "64=2*n", "128=4*n", "256=8*n")
    assert regime is Regime.UNSTABLE and module == "fc1"


def test_a_policy_gradient() -> None:
    regime, module = verdict(POLICY, "128=n")
    assert regime is Regime.UNSTABLE and module == "3"


def test_a_model_that_is_configured_by_executed_files_and_evaluated_before_it_trains() -> None:
    Path("configurator.py").write_text(CONFIGURATOR)
    Path("small.py").write_text("n_embd = 16\neval_iters = 2\n")
    by_option = verdict(CHARACTERS, option="--n_embd={n}", words=("small.py",), verify=True)
    by_setting = verdict(CHARACTERS, "small.py:n_embd=n", words=("small.py",))
    assert by_option == by_setting
    assert by_option[0] is Regime.UNSTABLE


def test_metrics_of_a_training_module_that_do_not_touch_the_loss() -> None:
    """In the manner of torchmetrics: wrong ones counted, a confusion matrix kept in buffers."""
    regime, module = verdict(METRICS, "width=n", verify=True)
    assert regime is Regime.UNSTABLE and module == "net.2"
