"""The operators and layers of torch's own documentation, each with inputs: what `operators.py` traces and splits.

A case is one public call (`torch.nn.GRU`, `torch.linalg.norm`) on float inputs of a free batch. Integer and boolean
arguments are made from the input inside the call or are constants of it, as they are in published models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, fft, linalg, nn, special

Kind = Literal["deterministic", "random", "data"]
Call = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One operator. `shapes`: those of one sample, by input. `kind` other than deterministic: refused, rightly."""

    name: str
    call: Call
    shapes: tuple[tuple[int, ...], ...]
    kind: Kind = "deterministic"

    def inputs(self, batch: int, seed: int) -> tuple[Tensor, ...]:
        """Float tensors `[batch, *shape]`."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn(batch, *shape, generator=generator) for shape in self.shapes)


ROW, TABLE, SERIES, IMAGE, VOLUME = (6,), (4, 6), (4, 8), (4, 8, 8), (2, 4, 6, 6)
SQUARE = (4, 4)


def cases() -> Iterator[Case]:
    """Every case, by the section of the documentation that it is from."""
    for section, table in _SECTIONS.items():
        for name, (call, *shapes) in table().items():
            yield Case(f"{section}.{name}", call, tuple(shapes) or (ROW,))
    for name, call in _RANDOM.items():
        yield Case(name, call, (ROW,), "random")
    for name, call in _DATA.items():
        yield Case(name, call, (ROW,), "data")


class _First(nn.Module):
    """A layer of which the first result counts, or one that wants its arguments in another form."""

    def __init__(self, layer: nn.Module, call: Call | None = None) -> None:
        super().__init__()
        self.layer = layer
        self.call = call

    def forward(self, *inputs: Tensor) -> Any:
        return self.call(self.layer, *inputs) if self.call else self.layer(*inputs)


def _layers() -> dict[str, tuple[Any, ...]]:
    torch.manual_seed(0)
    kernel: dict[str, Any] = {"kernel_size": 3, "padding": 1}
    table: dict[str, tuple[Any, ...]] = {
        "Conv1d": (nn.Conv1d(4, 6, **kernel), SERIES),
        "Conv2d": (nn.Conv2d(4, 6, **kernel), IMAGE),
        "Conv3d": (nn.Conv3d(2, 3, **kernel), VOLUME),
        "Conv2d groups": (nn.Conv2d(4, 4, **kernel, groups=4), IMAGE),
        "Conv2d circular": (nn.Conv2d(4, 6, **kernel, padding_mode="circular"), IMAGE),
        "Conv2d reflect": (nn.Conv2d(4, 6, **kernel, padding_mode="reflect"), IMAGE),
        "Conv2d same": (nn.Conv2d(4, 6, 3, padding="same"), IMAGE),
        "ConvTranspose1d": (nn.ConvTranspose1d(4, 6, 3, stride=2), SERIES),
        "ConvTranspose2d": (nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1), IMAGE),
        "ConvTranspose3d": (nn.ConvTranspose3d(2, 3, 3, stride=2), VOLUME),
        "Unfold": (nn.Unfold(3), IMAGE),
        "Fold": (nn.Fold((8, 8), 2, stride=2), (8, 16)),
        "MaxPool1d": (nn.MaxPool1d(2), SERIES),
        "MaxPool2d": (nn.MaxPool2d(2), IMAGE),
        "MaxPool3d": (nn.MaxPool3d(2), VOLUME),
        "MaxPool1d return_indices": (nn.MaxPool1d(2, return_indices=True), SERIES),
        "MaxPool2d return_indices": (nn.MaxPool2d(2, return_indices=True), IMAGE),
        "MaxUnpool1d": (lambda x: F.max_unpool1d(*F.max_pool1d(x, 2, return_indices=True), (2,)), SERIES),
        "MaxUnpool2d": (lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), (2, 2)), IMAGE),
        "MaxUnpool3d": (lambda x: F.max_unpool3d(*F.max_pool3d(x, 2, return_indices=True), (2, 2, 2)), VOLUME),
        "AvgPool1d": (nn.AvgPool1d(2), SERIES),
        "AvgPool2d": (nn.AvgPool2d(2, ceil_mode=True), IMAGE),
        "AvgPool3d": (nn.AvgPool3d(2), VOLUME),
        "LPPool1d": (nn.LPPool1d(2, 2), SERIES),
        "LPPool2d": (nn.LPPool2d(2, 2), IMAGE),
        "LPPool3d": (nn.LPPool3d(2, 2), VOLUME),
        "AdaptiveMaxPool1d": (nn.AdaptiveMaxPool1d(3), SERIES),
        "AdaptiveMaxPool2d": (nn.AdaptiveMaxPool2d((3, 2)), IMAGE),
        "AdaptiveMaxPool3d": (nn.AdaptiveMaxPool3d(2), VOLUME),
        "AdaptiveAvgPool1d": (nn.AdaptiveAvgPool1d(3), SERIES),
        "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d((3, 2)), IMAGE),
        "AdaptiveAvgPool3d": (nn.AdaptiveAvgPool3d((1, 2, 3)), VOLUME),
        "Hardtanh": (nn.Hardtanh(),), "LogSigmoid": (nn.LogSigmoid(),), "PReLU": (nn.PReLU(),),
        "RReLU": (nn.RReLU(),), "Threshold": (nn.Threshold(0.1, 2.0),), "Softmin": (nn.Softmin(dim=1),),
        "Softmax2d": (nn.Softmax2d(), IMAGE), "GLU": (nn.GLU(),), "Hardshrink": (nn.Hardshrink(),),
        "Tanhshrink": (nn.Tanhshrink(),), "Softsign": (nn.Softsign(),), "SELU": (nn.SELU(),), "CELU": (nn.CELU(),),
        "GELU tanh": (nn.GELU("tanh"),), "Mish": (nn.Mish(),), "Softplus": (nn.Softplus(),),
        "AdaptiveLogSoftmaxWithLoss": (
            _First(nn.AdaptiveLogSoftmaxWithLoss(6, 12, [4]), lambda layer, x: layer.log_prob(x)),
        ),
        "MultiheadAttention": (
            _First(nn.MultiheadAttention(6, 2, batch_first=True), lambda layer, x: layer(x, x, x)), TABLE,
        ),
        "BatchNorm1d": (nn.BatchNorm1d(4), SERIES),
        "BatchNorm2d": (nn.BatchNorm2d(4), IMAGE),
        "BatchNorm2d without statistics": (nn.BatchNorm2d(4, track_running_stats=False), IMAGE),
        "BatchNorm3d": (nn.BatchNorm3d(2), VOLUME),
        "GroupNorm": (nn.GroupNorm(2, 4), IMAGE),
        "InstanceNorm1d": (nn.InstanceNorm1d(4), SERIES),
        "InstanceNorm2d": (nn.InstanceNorm2d(4, affine=True), IMAGE),
        "InstanceNorm2d with statistics": (nn.InstanceNorm2d(4, track_running_stats=True), IMAGE),
        "InstanceNorm3d": (nn.InstanceNorm3d(2), VOLUME),
        "LayerNorm": (nn.LayerNorm(6), TABLE),
        "RMSNorm": (nn.RMSNorm(6), TABLE),
        "LocalResponseNorm": (nn.LocalResponseNorm(2), IMAGE),
        "RNN": (nn.RNN(6, 5, batch_first=True), TABLE),
        "RNN relu": (nn.RNN(6, 5, 2, nonlinearity="relu", batch_first=True, bidirectional=True), TABLE),
        "LSTM": (nn.LSTM(6, 5, batch_first=True), TABLE),
        "LSTM projected": (nn.LSTM(6, 5, proj_size=3, batch_first=True), TABLE),
        "LSTM stacked": (nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True, dropout=0.1), TABLE),
        "GRU": (nn.GRU(6, 5, 2, batch_first=True), TABLE),
        "RNNCell": (nn.RNNCell(6, 5),), "RNNCell relu": (nn.RNNCell(6, 5, nonlinearity="relu"),),
        "LSTMCell": (nn.LSTMCell(6, 5),), "GRUCell": (nn.GRUCell(6, 5),),
        "TransformerEncoderLayer": (nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), TABLE),
        "TransformerDecoderLayer": (nn.TransformerDecoderLayer(6, 2, 8, batch_first=True), TABLE, TABLE),
        "Transformer": (nn.Transformer(6, 2, 1, 1, 8, batch_first=True), TABLE, TABLE),
        "Linear": (nn.Linear(6, 5),), "Bilinear": (nn.Bilinear(6, 4, 5), (6,), (4,)),
        "Dropout": (nn.Dropout(),), "Dropout2d": (nn.Dropout2d(), IMAGE), "AlphaDropout": (nn.AlphaDropout(),),
        "FeatureAlphaDropout": (nn.FeatureAlphaDropout(), IMAGE),
        "Embedding": (_First(nn.Embedding(9, 5), lambda layer, x: layer(_tokens(x))),),
        "Embedding max_norm": (_First(nn.Embedding(9, 5), lambda layer, x: layer(_tokens(x)) / 2),),
        "EmbeddingBag": (_First(nn.EmbeddingBag(9, 5), lambda layer, x: layer(_tokens(x))),),
        "EmbeddingBag sum": (
            _First(nn.EmbeddingBag(9, 5, mode="sum"), lambda layer, x: layer(_tokens(x), per_sample_weights=x)),
        ),
        "EmbeddingBag max": (_First(nn.EmbeddingBag(9, 5, mode="max"), lambda layer, x: layer(_tokens(x))),),
        "CosineSimilarity": (nn.CosineSimilarity(), ROW, ROW),
        "PairwiseDistance": (nn.PairwiseDistance(), ROW, ROW),
        "PixelShuffle": (nn.PixelShuffle(2), IMAGE), "PixelUnshuffle": (nn.PixelUnshuffle(2), IMAGE),
        "ChannelShuffle": (nn.ChannelShuffle(2), IMAGE),
        "Upsample": (nn.Upsample(scale_factor=2), IMAGE),
        "UpsamplingBilinear2d": (nn.UpsamplingBilinear2d(scale_factor=2), IMAGE),
        "Flatten": (nn.Flatten(), IMAGE), "Unflatten": (nn.Unflatten(1, (2, 3)),),
        "CircularPad2d": (nn.CircularPad2d(1), IMAGE), "ReflectionPad2d": (nn.ReflectionPad2d(1), IMAGE),
        "ReplicationPad3d": (nn.ReplicationPad3d(1), VOLUME), "ZeroPad1d": (nn.ZeroPad1d(1), SERIES),
        "ConstantPad2d": (nn.ConstantPad2d(1, 3.5), IMAGE),
        "utils.parametrizations.weight_norm": (nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)),),
        "utils.parametrizations.spectral_norm": (nn.utils.parametrizations.spectral_norm(nn.Linear(6, 5)),),
        "utils.parametrizations.orthogonal": (nn.utils.parametrizations.orthogonal(nn.Linear(6, 6)),),
        "L1Loss": (nn.L1Loss(), ROW, ROW), "MSELoss": (nn.MSELoss(reduction="none"), ROW, ROW),
        "CrossEntropyLoss": (lambda x: nn.CrossEntropyLoss()(x, x.argmax(1)),),
        "CrossEntropyLoss smoothed": (
            lambda x: nn.CrossEntropyLoss(label_smoothing=0.1, reduction="none")(x, x.argmax(1)), IMAGE,
        ),
        "CrossEntropyLoss soft": (lambda x, y: nn.CrossEntropyLoss()(x, y.softmax(1)), ROW, ROW),
        "CTCLoss": (_ctc, (7, 5)),
        "NLLLoss": (lambda x: nn.NLLLoss(reduction="none")(x.log_softmax(1), x.argmax(1)),),
        "NLLLoss image": (lambda x: nn.NLLLoss(weight=torch.ones(4))(x.log_softmax(1), x.argmax(1)), IMAGE),
        "PoissonNLLLoss": (nn.PoissonNLLLoss(full=True), ROW, ROW),
        "GaussianNLLLoss": (lambda x, y: nn.GaussianNLLLoss(reduction="none")(x, y, x.square() + 1), ROW, ROW),
        "KLDivLoss": (lambda x, y: nn.KLDivLoss(reduction="batchmean")(x.log_softmax(1), y.softmax(1)), ROW, ROW),
        "BCELoss": (lambda x, y: nn.BCELoss()(x.sigmoid(), y.sigmoid()), ROW, ROW),
        "BCEWithLogitsLoss": (lambda x, y: nn.BCEWithLogitsLoss(reduction="none")(x, y.sigmoid()), ROW, ROW),
        "MarginRankingLoss": (lambda x, y: nn.MarginRankingLoss()(x, y, x.sign()), ROW, ROW),
        "HingeEmbeddingLoss": (lambda x: nn.HingeEmbeddingLoss()(x, x.sign()),),
        "MultiLabelMarginLoss": (lambda x: nn.MultiLabelMarginLoss()(x, x.argsort(1)),),
        "HuberLoss": (nn.HuberLoss(delta=0.5), ROW, ROW), "SmoothL1Loss": (nn.SmoothL1Loss(), ROW, ROW),
        "SoftMarginLoss": (lambda x: nn.SoftMarginLoss()(x, x.sign()),),
        "MultiLabelSoftMarginLoss": (lambda x: nn.MultiLabelSoftMarginLoss()(x, (x > 0).float()),),
        "CosineEmbeddingLoss": (lambda x, y: nn.CosineEmbeddingLoss()(x, y, x[:, 0].sign()), ROW, ROW),
        "MultiMarginLoss": (lambda x: nn.MultiMarginLoss()(x, x.argmax(1)),),
        "TripletMarginLoss": (nn.TripletMarginLoss(), ROW, ROW, ROW),
        "TripletMarginWithDistanceLoss": (nn.TripletMarginWithDistanceLoss(), ROW, ROW, ROW),
    }  # fmt: skip
    return table


def _tokens(x: Tensor) -> Tensor:
    return (x.abs() * 8).long().clamp(0, 8)


def _ctc(x: Tensor) -> Tensor:
    batch = x.shape[0]
    lengths = torch.full((batch,), 7), torch.full((batch,), 3)
    targets = torch.ones(batch, 3, dtype=torch.long)
    return F.ctc_loss(x.transpose(0, 1).log_softmax(2), targets, *lengths, reduction="none")


def _functional() -> dict[str, tuple[Any, ...]]:
    return {
        "interpolate nearest": (lambda x: F.interpolate(x, scale_factor=1.5), IMAGE),
        "interpolate nearest-exact 1d": (lambda x: F.interpolate(x, size=11, mode="nearest-exact"), SERIES),
        "interpolate nearest-exact 2d": (lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"), IMAGE),
        "interpolate nearest-exact 3d": (lambda x: F.interpolate(x, size=(5, 7, 9), mode="nearest-exact"), VOLUME),
        "interpolate linear": (lambda x: F.interpolate(x, size=11, mode="linear", align_corners=True), SERIES),
        "interpolate bilinear antialias": (
            lambda x: F.interpolate(x, size=(5, 5), mode="bilinear", antialias=True), IMAGE,
        ),
        "interpolate bicubic": (lambda x: F.interpolate(x, size=(11, 9), mode="bicubic"), IMAGE),
        "interpolate trilinear": (lambda x: F.interpolate(x, size=(3, 9, 5), mode="trilinear"), VOLUME),
        "interpolate area": (lambda x: F.interpolate(x, size=(3, 5), mode="area"), IMAGE),
        "grid_sample": (lambda x: F.grid_sample(x, x[:, :2].movedim(1, 3), align_corners=False), IMAGE),
        "grid_sample border": (
            lambda x: F.grid_sample(x, x[:, :2].movedim(1, 3), "nearest", "border", align_corners=True), IMAGE,
        ),
        "affine_grid": (lambda x: F.affine_grid(x[:, :2, :3], [x.shape[0], 3, 5, 5], align_corners=False), TABLE),
        "fold": (lambda x: F.fold(F.unfold(x, 2, stride=2), (8, 8), 2, stride=2), IMAGE),
        "pad circular": (lambda x: F.pad(x, (1, 2), mode="circular"), SERIES),
        "pad replicate": (lambda x: F.pad(x, (1, 2, 0, 1), mode="replicate"), IMAGE),
        "normalize": (lambda x: F.normalize(x, dim=1),),
        "one_hot": (lambda x: F.one_hot(x.argmax(1), 6).float() + x,),
        "cosine_similarity": (lambda x, y: F.cosine_similarity(x[:, None], y[None], dim=-1)[:, :1], ROW, ROW),
        "pairwise_distance": (lambda x, y: F.pairwise_distance(x, y, p=1), ROW, ROW),
        "pdist": (lambda x: x * F.pdist(x).sum(),),
        "scaled_dot_product_attention": (
            lambda x: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], is_causal=True), TABLE,
        ),
        "scaled_dot_product_attention masked": (
            lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(4, 4).tril().bool()), TABLE,
        ),
        "layer_norm": (lambda x: F.layer_norm(x, (6,)), TABLE),
        "local_response_norm": (lambda x: F.local_response_norm(x, 3), IMAGE),
        "hardswish": (F.hardswish,), "logsigmoid": (F.logsigmoid,), "softmin": (lambda x: F.softmin(x, 1),),
        "gumbel-free softmax": (lambda x: F.softmax(x / 0.5, dim=-1),), "relu6": (F.relu6,), "silu": (F.silu,),
        "rrelu": (F.rrelu,), "threshold": (lambda x: F.threshold(x, 0.0, 1.0),), "elu": (F.elu,),
        "bilinear": (lambda x, y: F.bilinear(x, y, torch.ones(3, 6, 4) / 7), (6,), (4,)),
        "embedding": (lambda x: F.embedding(_tokens(x), torch.linspace(0, 1, 45).reshape(9, 5)),),
        "embedding_bag": (lambda x: F.embedding_bag(_tokens(x), torch.linspace(0, 1, 45).reshape(9, 5)),),
        "conv_tbc": (
            lambda x: torch.conv_tbc(x.permute(2, 0, 1).contiguous(), torch.ones(3, 4, 5) / 7, torch.zeros(5)), SERIES,
        ),
        "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 4), IMAGE),
        "native_channel_shuffle": (lambda x: F.channel_shuffle(x, 2), IMAGE),
        "lp_pool2d": (lambda x: F.lp_pool2d(x.abs() + 1, 3.0, 2), IMAGE),
        "max_pool2d dilated": (lambda x: F.max_pool2d(x, 3, 1, 1, 2), IMAGE),
        "adaptive_max_pool2d indices": (lambda x: F.adaptive_max_pool2d(x, 3, return_indices=True), IMAGE),
        "binary_cross_entropy": (lambda x, y: F.binary_cross_entropy(x.sigmoid(), y.sigmoid()), ROW, ROW),
        "binary_cross_entropy_with_logits": (
            lambda x, y: F.binary_cross_entropy_with_logits(x, y.sigmoid(), pos_weight=torch.ones(6)), ROW, ROW,
        ),
        "poisson_nll_loss": (lambda x, y: F.poisson_nll_loss(x, y.abs(), reduction="none"), ROW, ROW),
        "cross_entropy ignore": (
            lambda x: F.cross_entropy(x, x.argmax(1), ignore_index=1, weight=torch.arange(1.0, 7.0)),
        ),
        "kl_div": (lambda x, y: F.kl_div(x.log_softmax(1), y.log_softmax(1), log_target=True), ROW, ROW),
        "smooth_l1_loss": (lambda x, y: F.smooth_l1_loss(x, y, reduction="sum", beta=0.3), ROW, ROW),
        "triplet_margin_loss": (lambda x, y, z: F.triplet_margin_loss(x, y, z, swap=True), ROW, ROW, ROW),
    }  # fmt: skip


def _torch() -> dict[str, tuple[Any, ...]]:
    table: dict[str, tuple[Any, ...]] = {
        name: (getattr(torch, name),)
        for name in (  # noqa: SIM905
            "abs absolute acos arccos angle arcsinh arctan arctanh asin atan ceil conj_physical cos cosh deg2rad "
            "digamma erf erfc erfinv exp exp2 expm1 fix floor frac i0 isfinite isneginf isposinf isreal lgamma "
            "logit nan_to_num negative positive rad2deg round sgn sigmoid signbit sin sinc sinh square tan trunc "
            "fliplr ravel atleast_2d atleast_3d"
        ).split()
    }
    table |= {
        "acosh": (lambda x: torch.acosh(x + 2),), "log": (lambda x: torch.log(x + 2),),
        "log2": (lambda x: torch.log2(x + 2),), "log10": (lambda x: torch.log10(x + 2),),
        "rsqrt": (lambda x: torch.rsqrt(x + 2),), "reciprocal": (lambda x: torch.reciprocal(x + 2),),
        "mvlgamma": (lambda x: torch.mvlgamma(x + 3, 2),), "polygamma": (lambda x: torch.polygamma(1, x + 2),),
        "true_divide": (lambda x, y: torch.true_divide(x, y + 3), ROW, ROW),
        "divide": (lambda x, y: torch.divide(x, y + 3, rounding_mode="floor"), ROW, ROW),
        "floor_divide": (lambda x: torch.floor_divide(x, 0.3),), "float_power": (lambda x: torch.float_power(x, 2),),
        "subtract": (lambda x, y: torch.subtract(x, y, alpha=2), ROW, ROW), "multiply": (torch.multiply, ROW, ROW),
        "copysign": (torch.copysign, ROW, ROW), "nextafter": (torch.nextafter, ROW, ROW),
        "hypot": (torch.hypot, ROW, ROW), "logaddexp2": (torch.logaddexp2, ROW, ROW),
        "ldexp": (lambda x: torch.ldexp(x, (x * 3).int()),), "frexp": (lambda x: torch.frexp(x)[0],),
        "fmod": (lambda x: torch.fmod(x, 0.3),), "remainder": (lambda x: torch.remainder(x, 0.3),),
        "gcd": (lambda x: torch.gcd((x * 20).int(), torch.tensor(6)) + x,),
        "lcm": (lambda x: torch.lcm((x * 20).int(), torch.tensor(6)) + x,),
        "heaviside": (torch.heaviside, ROW, ROW), "lerp": (lambda x, y: torch.lerp(x, y, 0.3), ROW, ROW),
        "addcdiv": (lambda x, y: torch.addcdiv(x, y, y + 3, value=0.5), ROW, ROW),
        "clip": (lambda x: torch.clip(x, -0.3, 0.3),), "quantile": (lambda x: torch.quantile(x, 0.3, dim=1),),
        "nanquantile": (lambda x: torch.nanquantile(x, torch.tensor([0.3, 0.7]), dim=1).T,),
        "median": (lambda x: torch.median(x, 1),), "nanmedian": (lambda x: torch.nanmedian(x, 1),),
        "mode": (lambda x: torch.mode(x, 1),), "nansum": (lambda x: torch.nansum(x, 1),),
        "nanmean": (lambda x: torch.nanmean(x, 1),), "logsumexp": (lambda x: torch.logsumexp(x, 1),),
        "norm": (lambda x: torch.norm(x, p=2, dim=1),), "norm fro": (lambda x: torch.norm(x, p="fro", dim=1),),
        "norm nuc": (lambda x: torch.norm(x, p="nuc", dim=(1, 2)), TABLE),
        "dist": (torch.dist, ROW, ROW), "prod": (lambda x: x.prod(1),),
        "std_mean": (lambda x: torch.std_mean(x, 1),), "var_mean": (lambda x: torch.var_mean(x, 1, correction=0),),
        "count_nonzero": (lambda x: torch.count_nonzero(x > 0, dim=1) + x[:, 0],),
        "aminmax": (lambda x: torch.aminmax(x, dim=1),), "argsort": (lambda x: torch.argsort(x, 1),),
        "sort stable": (lambda x: torch.sort(x, stable=True, dim=1),), "msort": (lambda x: torch.msort(x.T).T,),
        "topk": (lambda x: torch.topk(x, 2, 1),), "kthvalue": (lambda x: torch.kthvalue(x, 2, 1),),
        "isclose": (lambda x, y: torch.isclose(x, y) + x, ROW, ROW), "isin": (lambda x: torch.isin(x.sign(), 1) + x,),
        "greater_equal": (lambda x, y: torch.greater_equal(x, y) * x, ROW, ROW),
        "not_equal": (lambda x: torch.not_equal(x, 0) * x,), "bucketize": (
            lambda x: torch.bucketize(x, torch.linspace(-1, 1, 5)),
        ),
        "searchsorted": (lambda x: torch.searchsorted(torch.linspace(-1, 1, 5), x),),
        "cummax": (lambda x: torch.cummax(x, 1),), "cumprod": (lambda x: torch.cumprod(x, 1),),
        "logcumsumexp": (lambda x: torch.logcumsumexp(x, 1),), "diff": (lambda x: torch.diff(x, dim=1),),
        "trapezoid": (lambda x: torch.trapezoid(x, dim=1),),
        "cumulative_trapezoid": (lambda x: torch.cumulative_trapezoid(x, dx=0.5, dim=1),),
        "gradient": (lambda x: torch.gradient(x, dim=1)[0],), "cov": (lambda x: torch.cov(x.T),),
        "corrcoef": (lambda x: torch.corrcoef(x.T),), "cross": (lambda x, y: torch.cross(x, y, dim=1), (3,), (3,)),
        "cdist": (lambda x, y: torch.cdist(x, y), TABLE, TABLE), "kron": (
            lambda x: torch.kron(x, torch.ones(1, 2)),
        ),
        "tensordot": (lambda x, y: torch.tensordot(x, torch.ones(4, 6, 3) / 5, dims=2) + y, TABLE, (3,)),
        "einsum": (lambda x, y: torch.einsum("bij,bkj->bik", x, y), TABLE, TABLE),
        "inner": (lambda x: torch.inner(x, torch.linspace(0, 1, 6)),), "outer": (
            lambda x: torch.outer(x[:, 0], torch.linspace(0, 1, 6)),
        ),
        "vdot": (lambda x: x * torch.vdot(x.flatten(), x.flatten()),), "dot": (lambda x: x * x[0].dot(x[-1]),),
        "addmm": (lambda x: torch.addmm(torch.ones(5), x, torch.ones(6, 5), beta=0.5),),
        "addmv": (lambda x: torch.addmv(torch.ones(()), x, torch.linspace(0, 1, 6)),),
        "addr": (lambda x: torch.addr(torch.zeros(()), x[:, 0], torch.linspace(0, 1, 6)),),
        "addbmm": (lambda x, y: x * torch.addbmm(torch.ones(4, 4), x, y.mT).mean(), TABLE, TABLE),
        "baddbmm": (lambda x, y: torch.baddbmm(torch.ones(4, 4), x, y.mT), TABLE, TABLE),
        "chain_matmul": (lambda x: torch.linalg.multi_dot([x, torch.ones(6, 3), torch.ones(3, 2)]),),
        "matrix_power": (lambda x: torch.matrix_power(x, 3), SQUARE), "mv": (
            lambda x: torch.mv(x, torch.linspace(0, 1, 6)),
        ),
        "cholesky_solve": (lambda x, y: torch.cholesky_solve(y, _lower(x)), SQUARE, SQUARE),
        "cholesky_inverse": (lambda x: torch.cholesky_inverse(_lower(x)), SQUARE),
        "logdet": (lambda x: torch.logdet(_definite(x)), SQUARE), "pinverse": (torch.pinverse, TABLE),
        "slogdet": (torch.slogdet, SQUARE), "trace": (lambda x: x * torch.trace(x),), "det": (torch.det, SQUARE),
        "triangular_solve": (lambda x, y: torch.triangular_solve(y, _lower(x), upper=False)[0], SQUARE, SQUARE),
        "lu_solve": (lambda x, y: torch.lu_solve(y, *torch.linalg.lu_factor(_definite(x))), SQUARE, SQUARE),
        "block_diag": (lambda x: torch.block_diag(x.mean(0)[None], torch.ones(2, 2)) * x[0, 0],),
        "diag": (lambda x: x @ torch.diag(x[0]),), "diagflat": (lambda x: x @ torch.diagflat(x[0]),),
        "diag_embed": (torch.diag_embed,), "diagonal_scatter": (
            lambda x: torch.diagonal_scatter(x, x[:, 0], dim1=1, dim2=2), SQUARE,
        ),
        "vander": (lambda x: torch.vander(x[0], 3) * x[0, 0],),
        "combinations": (lambda x: x * torch.combinations(x[0], 2).sum(),),
        "cartesian_prod": (lambda x: torch.cartesian_prod(x[0], x[0]) * x[0, 0],),
        "rot90": (lambda x: torch.rot90(x, 1, (1, 2)), SQUARE), "roll": (lambda x: torch.roll(x, 2, 1),),
        "flipud": (torch.flipud,), "tile": (lambda x: torch.tile(x, (1, 2)),), "swapdims": (
            lambda x: torch.swapdims(x, 1, 2), TABLE,
        ),
        "moveaxis": (lambda x: torch.moveaxis(x, 1, 2), TABLE), "adjoint": (torch.adjoint, TABLE),
        "column_stack": (lambda x, y: torch.column_stack((x, y)), ROW, ROW),
        "dstack": (lambda x, y: torch.dstack((x, y)), ROW, ROW), "row_stack": (
            lambda x, y: torch.row_stack((x, y)), ROW, ROW,
        ),
        "concatenate": (lambda x, y: torch.concatenate((x, y), 1), ROW, ROW),
        "hsplit": (lambda x: torch.hsplit(x, 2),), "dsplit": (lambda x: torch.dsplit(x, 2), TABLE),
        "tensor_split": (lambda x: torch.tensor_split(x, 4, 1),), "unsafe_chunk": (lambda x: x.unsafe_chunk(2, 1),),
        "take": (lambda x: x * torch.take(x, torch.tensor([0, 3])).sum(),),
        "take_along_dim": (lambda x: torch.take_along_dim(x, x.argsort(1), 1),),
        "index_reduce": (lambda x: x.index_reduce(1, torch.tensor([0, 0, 3]), x[:, :3], "amax"),),
        "index_fill": (lambda x: x.index_fill(1, torch.tensor([0, 3]), 2.0),),
        "scatter_reduce": (lambda x: x.scatter_reduce(1, x.argsort(1), x, "mean"),),
        "select_scatter": (lambda x: x.select_scatter(x[:, 0], 1, 2),), "renorm": (lambda x: torch.renorm(x, 2, 0, 1),),
        "masked_scatter": (lambda x, y: x.masked_scatter(x > 0, y), ROW, ROW), "put": (
            lambda x: x.put(torch.tensor([0, 3]), torch.tensor([1.0, 2.0])),
        ),
        "histc": (lambda x: x * torch.histc(x, 4, -1, 1)[0],), "tril": (torch.tril, SQUARE),
        "channel_shuffle": (lambda x: torch.channel_shuffle(x, 2), IMAGE), "view_as_complex": (
            lambda x: torch.view_as_real(torch.view_as_complex(x.unflatten(1, (3, 2)).contiguous()) * 1j),
        ),
        "polar": (lambda x, y: torch.polar(x.abs(), y).real, ROW, ROW), "complex": (
            lambda x, y: torch.complex(x, y).abs(), ROW, ROW,
        ),
        "conj": (lambda x, y: torch.complex(x, y).conj().imag, ROW, ROW), "resolve_conj": (
            lambda x, y: torch.complex(x, y).conj().resolve_conj().angle(), ROW, ROW,
        ),
        "stft": (lambda x: torch.stft(x, 8, 4, window=torch.hann_window(8), return_complex=True).abs(), (32,)),
        "istft": (
            lambda x: torch.istft(
                torch.stft(x, 8, 4, window=torch.hann_window(8), return_complex=True), 8, 4,
                window=torch.hann_window(8),
            ), (32,),
        ),
        "hamming_window": (lambda x: x * torch.hamming_window(6),), "kaiser_window": (
            lambda x: x * torch.kaiser_window(6),
        ),
        "bartlett_window": (lambda x: x * torch.bartlett_window(6),), "blackman_window": (
            lambda x: x * torch.blackman_window(6),
        ),
        "repeat_interleave": (lambda x: torch.repeat_interleave(x, 2, dim=1),), "unfold": (
            lambda x: x.unfold(1, 3, 2),
        ),
        "igamma": (lambda x, y: torch.igamma(x.abs() + 1, y.abs() + 1), ROW, ROW), "erfinv ": (torch.erfinv,),
        "bitwise_and": (lambda x: ((x * 8).int() & 3) + x,), "bitwise_left_shift": (
            lambda x: torch.bitwise_left_shift((x.abs() * 8).int(), 1) + x,
        ),
        "__rshift__": (lambda x: ((x.abs() * 8).int() >> 1) + x,),
        "logical_xor": (lambda x, y: torch.logical_xor(x > 0, y > 0) * x, ROW, ROW),
        "nonzero_static": (lambda x: x * torch.nonzero_static(x > 0, size=3).sum(),),
        "sum_to_size": (lambda x: x.sum_to_size(x.shape[0], 1),), "expand_as": (
            lambda x, y: x[:, :1].expand_as(y) + y, ROW, ROW,
        ),
        "bincount free one-hot": (lambda x: F.one_hot(_tokens(x), 9).sum(1) + x[:, :1],),
        "where": (lambda x: torch.where(x > 0, x, torch.zeros(())),), "unravel_index": (
            lambda x: torch.unravel_index(x.argmax(1), (2, 3))[1] + x[:, 0],
        ),
        "softmax half": (lambda x: x.bfloat16().softmax(1),), "to double": (lambda x: x.double() * 2,),
    }  # fmt: skip
    return table


def _definite(x: Tensor) -> Tensor:
    return x @ x.mT + torch.eye(x.shape[-1])


def _lower(x: Tensor) -> Tensor:
    return x.tril() + 3 * torch.eye(x.shape[-1])


def _linalg() -> dict[str, tuple[Any, ...]]:
    return {
        "norm": (lambda x: linalg.norm(x, dim=1),), "norm matrix": (lambda x: linalg.norm(x, "fro", (1, 2)), TABLE),
        "vector_norm": (lambda x: linalg.vector_norm(x, 3, dim=1),),
        "matrix_norm": (lambda x: linalg.matrix_norm(x), TABLE),
        "matrix_norm nuc": (lambda x: linalg.matrix_norm(x, "nuc"), TABLE),
        "matrix_norm 2": (lambda x: linalg.matrix_norm(x, 2), TABLE), "diagonal": (linalg.diagonal, SQUARE),
        "det": (linalg.det, SQUARE), "slogdet": (linalg.slogdet, SQUARE), "cond": (linalg.cond, SQUARE),
        "matrix_rank": (lambda x: linalg.matrix_rank(x) + x[:, 0, 0], SQUARE),
        "cholesky": (lambda x: linalg.cholesky(_definite(x)), SQUARE), "qr": (linalg.qr, SQUARE),
        "lu": (linalg.lu, SQUARE), "lu_factor": (linalg.lu_factor, SQUARE),
        "eigh": (lambda x: linalg.eigh(_definite(x)).eigenvalues, SQUARE),
        "eigvalsh": (lambda x: linalg.eigvalsh(_definite(x)), SQUARE),
        "eig": (lambda x: linalg.eig(x).eigenvalues.abs(), SQUARE),
        "eigvals": (lambda x: linalg.eigvals(x).abs(), SQUARE),
        "svd": (lambda x: linalg.svd(x, full_matrices=False).S, TABLE), "svdvals": (linalg.svdvals, TABLE),
        "solve": (lambda x, y: linalg.solve(_definite(x), y), SQUARE, SQUARE),
        "solve_triangular": (lambda x, y: linalg.solve_triangular(_lower(x), y, upper=False), SQUARE, SQUARE),
        "lu_solve": (lambda x, y: linalg.lu_solve(*linalg.lu_factor(_definite(x)), y), SQUARE, SQUARE),
        "lstsq": (lambda x, y: linalg.lstsq(_definite(x), y).solution, SQUARE, SQUARE),
        "inv": (lambda x: linalg.inv(_definite(x)), SQUARE), "pinv": (linalg.pinv, TABLE),
        "inv_ex": (lambda x: linalg.inv_ex(_definite(x)).inverse, SQUARE),
        "cholesky_ex": (lambda x: linalg.cholesky_ex(_definite(x)).L, SQUARE),
        "matrix_exp": (linalg.matrix_exp, SQUARE), "matrix_power": (lambda x: linalg.matrix_power(x, 2), SQUARE),
        "cross": (lambda x, y: linalg.cross(x, y), (3,), (3,)), "matmul": (linalg.matmul, SQUARE, SQUARE),
        "vecdot": (linalg.vecdot, ROW, ROW), "multi_dot": (
            lambda x: linalg.multi_dot([x, torch.ones(6, 5), torch.ones(5, 2), torch.ones(2, 3)]),
        ),
        "householder_product": (lambda x: linalg.householder_product(x, x[:, 0]), SQUARE),
        "tensorinv": (lambda x: x @ linalg.tensorinv(torch.eye(6).reshape(2, 3, 6)).reshape(6, 6),),
        "tensorsolve": (lambda x: x + linalg.tensorsolve(torch.eye(6).reshape(2, 3, 6), x[0].reshape(2, 3)),),
        "vander": (linalg.vander,), "ldl_factor": (lambda x: linalg.ldl_factor(_definite(x)).LD, SQUARE),
    }  # fmt: skip


def _fft() -> dict[str, tuple[Any, ...]]:
    complex_to_real = {name: getattr(fft, name) for name in ("fft", "ifft", "rfft", "ihfft")}
    planes = {name: getattr(fft, name) for name in ("fft2", "ifft2", "rfft2", "fftn", "ifftn", "rfftn", "ihfft2")}
    table: dict[str, tuple[Any, ...]] = {
        name: (lambda x, call=call: torch.view_as_real(call(x).resolve_conj()),)
        for name, call in complex_to_real.items()
    }
    table |= {
        name: (lambda x, call=call: torch.view_as_real(call(x, dim=(1, 2)).resolve_conj()), TABLE)
        if name.endswith("n")
        else (lambda x, call=call: torch.view_as_real(call(x).resolve_conj()), TABLE)
        for name, call in planes.items()
    }
    return table | {
        "irfft": (lambda x: fft.irfft(fft.rfft(x, norm="ortho"), 6, norm="ortho"),),
        "irfft2": (lambda x: fft.irfft2(fft.rfft2(x), TABLE), TABLE),
        "irfftn": (lambda x: fft.irfftn(fft.rfftn(x, dim=(1, 2)), TABLE, dim=(1, 2)), TABLE),
        "hfft": (fft.hfft,),
        "hfft2": (fft.hfft2, TABLE),
        "hfftn": (lambda x: fft.hfftn(x, dim=(1, 2)), TABLE),
        "ihfftn": (lambda x: fft.ihfftn(x, dim=(1, 2)).abs(), TABLE),
        "fftshift": (lambda x: fft.fftshift(x, 1),),
        "ifftshift": (lambda x: fft.ifftshift(x, 1),),
        "fftfreq": (lambda x: x * fft.fftfreq(6),),
        "rfftfreq": (lambda x: x * fft.rfftfreq(10),),
    }


def _special() -> dict[str, tuple[Any, ...]]:
    names = (  # noqa: SIM905
        "airy_ai bessel_j0 bessel_j1 bessel_y0 digamma entr erf erfc erfcx erfinv exp2 expit expm1 gammaln i0 i0e i1 "
        "i1e log_ndtr log1p logit modified_bessel_i0 ndtr psi round scaled_modified_bessel_k0 sinc spherical_bessel_j0"
    ).split()
    return {name: (getattr(special, name),) for name in names} | {
        "log_softmax": (lambda x: special.log_softmax(x, 1),), "softmax": (lambda x: special.softmax(x, 1),),
        "logsumexp": (lambda x: special.logsumexp(x, 1),), "multigammaln": (lambda x: special.multigammaln(x + 3, 2),),
        "polygamma": (lambda x: special.polygamma(1, x + 2),), "xlogy": (
            lambda x, y: special.xlogy(x, y + 2), ROW, ROW,
        ),
        "xlog1py": (lambda x, y: special.xlog1py(x, y + 2), ROW, ROW), "zeta": (
            lambda x, y: special.zeta(x + 3, y + 2), ROW, ROW,
        ),
        "gammainc": (lambda x, y: special.gammainc(x.abs() + 1, y.abs() + 1), ROW, ROW),
        "ndtri": (lambda x: special.ndtri(x.sigmoid()),),
        "chebyshev_polynomial_t": (lambda x: special.chebyshev_polynomial_t(x, 3),),
        "hermite_polynomial_h": (lambda x: special.hermite_polynomial_h(x, 3),),
        "legendre_polynomial_p": (lambda x: special.legendre_polynomial_p(x, 3),),
    }  # fmt: skip


_SECTIONS: dict[str, Callable[[], dict[str, tuple[Any, ...]]]] = {
    "torch.nn": _layers,
    "torch.nn.functional": _functional,
    "torch": _torch,
    "torch.linalg": _linalg,
    "torch.fft": _fft,
    "torch.special": _special,
}

_RANDOM: dict[str, Call] = {
    "torch.rand_like": lambda x: x + torch.rand_like(x),
    "torch.randn": lambda x: x + torch.randn(6),
    "torch.randperm": lambda x: x[:, torch.randperm(6)],
    "torch.bernoulli": lambda x: torch.bernoulli(x.sigmoid()),
    "torch.multinomial": lambda x: torch.multinomial(x.softmax(1), 2),
    "torch.normal": lambda x: torch.normal(x, 0.1),
    "torch.poisson": lambda x: torch.poisson(x.exp()),
    "torch.nn.functional.dropout training": lambda x: F.dropout(x, 0.5, training=True),
    "torch.nn.functional.rrelu training": lambda x: F.rrelu(x, training=True),
    "torch.nn.functional.gumbel_softmax": lambda x: F.gumbel_softmax(x, dim=1),
    "torch.nn.FractionalMaxPool2d": lambda x: nn.FractionalMaxPool2d(2, output_size=2)(
        x[:, None, :, None].expand(-1, 1, 6, 6)
    ),
}

_DATA: dict[str, Call] = {
    "torch.nonzero": lambda x: torch.nonzero(x > 0).sum() * x,
    "torch.argwhere": lambda x: torch.argwhere(x > 0),
    "torch.masked_select": lambda x: torch.masked_select(x, x > 0),
    "torch.unique": lambda x: torch.unique(x),
    "torch.unique_consecutive": lambda x: torch.unique_consecutive(x),
    "torch.bincount": lambda x: torch.bincount(_tokens(x).flatten()),
    "Tensor.item": lambda x: x * x.sum().item() if x.sum().item() > 0 else x,
    "torch.allclose": lambda x: x if torch.allclose(x, x * 2) else x + 1,
    "torch.equal": lambda x: x if torch.equal(x, x * 2) else x + 1,
    "torch.nn.functional.one_hot free": lambda x: F.one_hot(_tokens(x)),
    "torch.where indices": lambda x: torch.where(x > 0)[0],
}
