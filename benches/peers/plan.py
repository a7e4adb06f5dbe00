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
# Compiled as a whole the step of 30 iterations takes the compiler minutes; a graph leaves the host nothing to do.
GPU_BF16 = ["block_compile_sdpa_bf16", "block_compile_sdpa_bf16_graph"]
GPU_TF32 = ["block_compile_sdpa_tf32", "block_compile_sdpa_tf32_graph"]
GPU_WHOLE = ["compile_sdpa_bf16", "compile_sdpa_bf16_graph"]
GPU_AR = ["static_compile_bf16", "static_compile_sdpa_bf16", "static_sdpa_bf16"]
FP32 = ["eager", "sdpa", "compile", "compile_sdpa", CANDLE]
BF16 = ["eager_bf16", "sdpa_bf16", "compile_bf16", "compile_sdpa_bf16"]
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
        # As large as an update of the preset `mini`: few columns, many iterations.
        Group(
            "train_step",
            "training step",
            shape(64, batch=16, width=32, iterations=8),
            3 if quick else 9,
            {"train_step_mini_fp32": [*FP32, "block_compile"]},
        ),
        *(
            Group(
                "ar_train_step",
                "training step",
                shape(256, batch=8, width=45, new_tokens=new_tokens, precision=precision),
                1 if quick else 3,
                {f"ar_train_step_d256_{name}": variants},
            )
            for precision, name, variants in (("f32", "fp32", FP32), ("bf16", "bf16", BF16))
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


def gpu_groups(quick):
    """The paper's sizes: its batch, and the window and iterations of the longest training problem of each task."""
    repeats = 2 if quick else 8
    tasks = {"ari": (48, 15), "ed": (66, 30), "lis": (102, 10)}

    def sizes(name, precision="bf16"):
        width, iterations = tasks[name]
        return shape(256, batch=512, width=width, iterations=iterations, precision=precision)

    def text_sizes(batch):
        return shape(256, batch=batch, width=45, new_tokens=60 if quick else 460, precision="bf16")

    def texts(batch):
        return Group("ar_generation", "batch of texts", text_sizes(batch), 1, {f"gpu_ar_generation_{batch}": GPU_AR})

    steps = [
        Group("train_step", "training step", sizes(name), repeats, {f"gpu_train_step_{name}_bf16": GPU_BF16})
        for name in tasks
    ]
    chains = Group("looped_generation", "batch of chains", sizes("ed"), 4, {"gpu_looped_generation_ed": GPU_WHOLE})
    learnt = Group("ar_train_step", "training step", text_sizes(512), repeats, {"gpu_ar_train_step_bf16": GPU_WHOLE})
    exact = Group("train_step", "training step", sizes("ari", "f32"), repeats, {"gpu_train_step_ari_f32": GPU_TF32})
    return [*steps, learnt, chains, texts(64), texts(512), exact]


def plan(device, quick):
    """What is compared on a device."""
    return gpu_groups(quick) if device == "cuda" else groups(quick)


def names(device):
    """All comparisons on a device."""
    return [name for group in plan(device, False) for name in group.comparisons]


def product_flops(group):
    """Operations of the matrix products of one unit of a group's work, forward and for a step twice that backward.

    Of causal attention the half that is not hidden, of texts to learn the readout of what is learnt. None for texts that are
    written, whose products have few rows.
    """
    shape = group.shape
    d, layers = shape["d_model"], shape["layers"]
    layer, readout = 2 * 12 * d * d, 2 * d * shape["vocab"]
    if group.kind == "ar_train_step":
        width, learnt = shape["width"] + shape["new_tokens"] - 1, shape["new_tokens"]
        seen = width * (width + 1) // 2
        return 3 * shape["batch"] * (layers * (layer * width + 4 * d * seen) + readout * learnt)
    passes = {"train_step": 3, "looped_generation": 1}.get(group.kind)
    if passes is None:
        return None
    width = shape["width"]
    token = layers * (layer + 4 * width * d) + readout
    return passes * token * shape["batch"] * width * shape["iterations"]


def bounded(group, device):
    """Whether the speed of `gemm`, which is of f32 on a CPU, says how fast this work can be at most."""
    return device == "cpu" and group.shape["precision"] == "f32" and product_flops(group) is not None
