"""The steps of `benchmarks/balancing.py` in PyTorch, with TorchJD's methods."""

import ctypes
import itertools
import time
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from balancing import Setting
from torch import nn
from torchjd import aggregation, scalarization
from torchjd.autojac import jac_to_grad, mtl_backward

METHODS = {
    "equal": lambda tasks: scalarization.Sum(),
    "gls": lambda tasks: scalarization.GeometricMean(),
    "dwa": lambda tasks: scalarization.DWA(),
    "uncertainty": scalarization.UW,
    "famo": scalarization.FAMO,
    "mgda": lambda tasks: aggregation.MGDA(),
    "pcgrad": lambda tasks: aggregation.PCGrad(),
    "gradvac": lambda tasks: aggregation.GradVac(),
    "imtl_grad": lambda tasks: aggregation.IMTLG(),
    "cagrad": lambda tasks: aggregation.CAGrad(c=0.4),
    "nash_mtl": lambda tasks: aggregation.NashMTL(tasks, max_norm=1.0, update_weights_every=1, optim_niter=20),
    "fair_grad": lambda tasks: aggregation.FairGrad(alpha=2.0),
    "aligned_mtl": lambda tasks: aggregation.AlignedMTL(),
    "upgrad": lambda tasks: aggregation.UPGrad(),
    "dual_proj": lambda tasks: aggregation.DualProj(),
    "krum": lambda tasks: aggregation.Krum(n_byzantine=0),
    "graddrop": lambda tasks: aggregation.GradDrop(),
    "config": lambda tasks: aggregation.ConFIG(),
    "trimmed_mean": lambda tasks: aggregation.TrimmedMean(trim_number=1),
}


class Model(nn.Module):
    """Trunk, heads, optimizer and batches, as in `balancing_tf.py`."""

    def __init__(self, setting: Setting, others: Iterable[nn.Parameter] = ()):
        torch.manual_seed(0)
        super().__init__()
        self.trunk = Transformer(setting) if setting.trunk == "transformer" else MLP(setting)
        width = setting.dim if setting.trunk == "transformer" else setting.units[-1]
        self.heads = nn.ModuleList(nn.Linear(width, setting.classes) for _ in range(setting.tasks))
        self.optimizer = torch.optim.SGD([*self.parameters(), *others], lr=0.01)
        ids = torch.randint(1, setting.vocabulary, (8, setting.batch, setting.length))
        labels = torch.randint(0, setting.classes, (8, setting.tasks, setting.batch))
        self.batches = itertools.cycle(zip(ids, labels, strict=True))

    def forward(self, ids: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the features and the tasks' losses."""
        features = self.trunk(ids)
        outputs = [head(features) for head in self.heads]
        return features, [nn.functional.cross_entropy(z, y) for z, y in zip(outputs, labels, strict=True)]


class MLP(nn.Module):
    """The mean of the embeddings and dense layers."""

    def __init__(self, setting: Setting):
        super().__init__()
        self.tokens = nn.Embedding(setting.vocabulary, setting.dim)
        pairs = itertools.pairwise((setting.dim, *setting.units))
        self.dense = nn.Sequential(*(layer for a, b in pairs for layer in (nn.Linear(a, b), nn.ReLU())))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.dense(self.tokens(ids).mean(1))


class Transformer(nn.Module):
    """Embeddings of tokens and positions, Transformer layers, and the mean."""

    def __init__(self, setting: Setting):
        super().__init__()
        self.tokens = nn.Embedding(setting.vocabulary, setting.dim)
        self.positions = nn.Parameter(0.02 * torch.randn(setting.length, setting.dim))
        block = nn.TransformerEncoderLayer(setting.dim, setting.heads, setting.feedforward, 0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, setting.layers, enable_nested_tensor=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        mask = (ids != 0)[..., None]
        x = self.blocks(self.tokens(ids) + self.positions, src_key_padding_mask=ids == 0)
        return (x * mask).sum(1) / mask.sum(1).clamp(min=1)


def steps(setting: Setting) -> dict[str, Callable[[], object]]:
    """Return the steps by name: the forward pass, the plain step, and each method's."""
    torch.set_num_threads(setting.threads)
    warnings.filterwarnings("ignore", message=".*(batching rule|not DPP)")
    fastest = _fastest(setting)
    found = {"forward": partial(_forward, Model(setting)), "plain": partial(_scalarized, Model(setting), torch.sum)}
    for name in (name for name in setting.methods if name in METHODS):
        method = METHODS[name](setting.tasks)
        if isinstance(method, scalarization.Scalarizer):
            found[name] = partial(_scalarized, Model(setting, method.parameters()), method)
        else:
            found[name] = partial(_aggregated, Model(setting), method, *fastest)
    return found


def megabytes(step: Callable[[], object]) -> float:
    """Return by how much the process grows while a step runs, at its peak (Linux)."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    step()
    return _resident("VmHWM") - before


def _resident(field):
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) / 2**10


def _forward(model):
    return sum(model(*next(model.batches))[1]).item()


def _scalarized(model, scalarizer):
    batch = next(model.batches)
    model.optimizer.zero_grad()
    scalarizer(torch.stack(model(*batch)[1])).backward()
    model.optimizer.step()
    if isinstance(scalarizer, scalarization.FAMO):
        with torch.no_grad():
            scalarizer.update(torch.stack(model(*batch)[1]))


def _aggregated(model, aggregator, chunk_size, by_gramian):
    model.optimizer.zero_grad()
    features, losses = model(*next(model.batches))
    mtl_backward(losses, features=features, parallel_chunk_size=chunk_size)
    options = {}
    if by_gramian and isinstance(aggregator, aggregation.GramianWeightedAggregator):
        options["optimize_gramian_computation"] = True
    jac_to_grad(model.trunk.parameters(), aggregator, **options)
    model.optimizer.step()


def _fastest(setting, repeats=4):
    """Return TorchJD's fastest way on this model: tasks at once or one by one; the Gramian by parameter or not."""
    ways = list(itertools.product((None, 1), (False, True)))
    seconds = {way: [] for way in ways}
    model, aggregator = Model(setting), aggregation.UPGrad()
    for way in ways * repeats:
        started = time.perf_counter()
        _aggregated(model, aggregator, *way)
        seconds[way].append(time.perf_counter() - started)
    fastest = min(ways, key=lambda way: min(seconds[way]))
    print("TorchJD: parallel_chunk_size={}, optimize_gramian_computation={}".format(*fastest), flush=True)
    return fastest
