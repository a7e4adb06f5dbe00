"""What is compared: work, its shape, and the variants of the other libraries."""

from dataclasses import dataclass

MODEL = {"heads": 4, "layers": 3, "vocab": 300}


def shape(d_model, batch, width, iterations=1, new_tokens=0, precision="f32"):
    """Sizes as both sides read them."""
    sizes = {"d_model": d_model, "batch": batch, "width": width, "iterations": iterations}
    return {**MODEL, **sizes, "new_tokens": new_tokens, "precision": precision}


@dataclass
class Group:
    """Measurements that are made together, and the comparisons that are read from them.

    `comparisons` maps a name to the variants that RELAY is compared with; the best of each round counts.
    """

    kind: str
    unit: str
    shape: dict
    repeats: int
    comparisons: dict


CANDLE = "candle"
FP32 = ["eager", "sdpa", "compile", CANDLE]
BF16 = ["eager_bf16", "compile_bf16"]
SHARE = "share_of_gemm_d256"


def groups(quick):
    """All groups; `quick` takes shorter generations and fewer repeats, whose numbers are for trying it out only."""
    iterations, new_tokens = (5, 60) if quick else (25, 460)
    return [
        Group(
            "train_step",
            "training step",
            shape(256, batch=32, width=64, iterations=4),
            1 if quick else 3,
            {"train_step_d256_fp32": FP32, SHARE: []},
        ),
        Group(
            "train_step",
            "training step",
            shape(256, batch=32, width=64, iterations=4, precision="bf16"),
            1 if quick else 3,
            {"train_step_d256_bf16": BF16},
        ),
        Group(
            "train_step",
            "training step",
            shape(64, batch=64, width=32, iterations=4),
            3 if quick else 9,
            {"train_step_d64_fp32": FP32},
        ),
        Group(
            "looped_generation",
            "batch of chains",
            shape(256, batch=64, width=80, iterations=iterations),
            1,
            {"looped_generation": FP32},
        ),
        Group(
            "ar_generation",
            "batch of texts",
            shape(256, batch=64, width=45, new_tokens=new_tokens),
            1,
            {"ar_generation": FP32},
        ),
    ]


NAMES = [name for group in groups(False) for name in group.comparisons]


def product_flops(group):
    """Operations of the matrix products of one unit of a group's work, forward and for a step twice that backward.

    None where their speed in fp32 says nothing: of bf16, and of texts, whose products have few rows.
    """
    shape = group.shape
    passes = {"train_step": 3, "looped_generation": 1}.get(group.kind)
    if passes is None or shape["precision"] != "f32":
        return None
    d, width = shape["d_model"], shape["width"]
    layer = 2 * 12 * d * d + 2 * 2 * width * d
    token = shape["layers"] * layer + 2 * d * shape["vocab"]
    return passes * token * shape["batch"] * width * shape["iterations"]
