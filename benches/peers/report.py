"""Results as lines, as JSON and as a figure."""

import json
from statistics import median

TITLES = {
    "train_step_d256_fp32": "training step, d 256\nagainst fp32",
    "train_step_d256_bf16": "training step, d 256\nagainst bf16 autocast",
    "train_step_d64_fp32": "training step, d 64\nagainst fp32",
    "train_step_mini_fp32": "training step as small\nas those of mini",
    "ar_train_step_d256_fp32": "AR training step, d 256\nagainst fp32",
    "ar_train_step_d256_bf16": "AR training step, d 256\nagainst bf16 autocast",
    "looped_generation": "looped generation",
    "ar_generation": "AR generation",
    "share_of_gemm_d256": "training step, d 256\nshare of gemm's speed",
    "gpu_train_step_ari_bf16": "training step, arithmetic\nwidth 48, 15 iterations",
    "gpu_train_step_ed_bf16": "training step, edit distance\nwidth 66, 30 iterations",
    "gpu_train_step_lis_bf16": "training step, subsequence\nwidth 102, 10 iterations",
    "gpu_ar_train_step_bf16": "AR training step\ntexts of 504 columns",
    "gpu_looped_generation_ed": "looped generation\nedit distance",
    "gpu_ar_generation_64": "AR generation\n64 texts",
    "gpu_ar_generation_512": "AR generation\n512 texts",
    "gpu_train_step_ari_f32": "training step, arithmetic\nf32 against TF32",
}
OURS, BELOW, SHARE = "#0072b2", "#d55e00", "#999999"


def spread(values):
    """Smallest, median and largest."""
    return {"min": min(values), "median": median(values), "max": max(values)}


def lines(name, result):
    """The lines that a comparison ends in: the ratio, and what it would be with nothing but products, where known."""
    told = [(kind, result[kind]) for kind in ("ratio", "bound") if result[kind]]
    spreads = [f"{kind} {name} {value['min']:.3f} {value['median']:.3f} {value['max']:.3f}" for kind, value in told]
    # Without them the ratio may say more than it would with them.
    left_out = [f"left out of {name}, as they do not work here: {', '.join(result['failed'])}"] if result["failed"] else []
    return spreads + left_out


def write_json(path, results):
    """Writes everything that was measured; never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n")
    partial.replace(path)


def _duration(seconds):
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _note(result):
    """The two times behind a bar."""
    ours = _duration(result["seconds"]["relay"]["median"])
    peer = result["peer"]
    missing = f", without {', '.join(result['failed'])}" if result.get("failed") else ""
    return f"{ours} against {_duration(result['seconds'][peer]['median'])} ({peer}{missing})"


def draw(stem, results):
    """Draws the ratios as bars with whiskers from the least to the largest, as SVG and PNG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "relay", "font.size": 10})
    from matplotlib import pyplot

    comparisons = {name: results["comparisons"][name] for name in TITLES if name in results["comparisons"]}
    reached = [result[kind]["max"] for result in comparisons.values() for kind in ("ratio", "bound") if result.get(kind)]
    scale = max(1, *reached)
    figure, axes = pyplot.subplots(figsize=(8.5, 1.2 + 0.75 * len(comparisons)), layout="constrained")
    for place, (name, result) in enumerate(comparisons.items()):
        ratio = result["ratio"]
        share = name.startswith("share")
        colour = SHARE if share else OURS if ratio["median"] >= 1 else BELOW
        whiskers = [[ratio["median"] - ratio["min"]], [ratio["max"] - ratio["median"]]]
        axes.barh(place, ratio["median"], 0.6, color=colour, xerr=whiskers, capsize=4, hatch="//" if share else None)
        note = f"{ratio['median']:.2f}:  {_note(result)}"
        bound = result.get("bound")
        if bound:
            axes.plot([bound["median"]] * 2, [place - 0.38, place + 0.38], color="black", linewidth=2)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        end = max(ratio["max"], bound["median"] if bound else 0)
        axes.text(end + 0.04 * scale, place, note, va="center", fontsize=9, bbox=box)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(comparisons)), [TITLES[name] for name in comparisons])
    axes.invert_yaxis()
    axes.set_xlim(0, scale * 1.6)
    label = "speed of RELAY / speed of the best peer, median and range of the rounds"
    if any(result.get("bound") for result in comparisons.values()):
        label += ";\nblack mark: if the matrix products alone took time, at gemm's speed"
    axes.set_xlabel(label)
    machine, torch = results["machine"], results["torch"]
    programs = f"RELAY {results['relay']['relay']}, PyTorch {torch['torch']}"
    if results.get("candle"):
        programs += f", candle {results['candle']['candle']}"
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['vectors']}"
    if torch.get("device", "cpu") != "cpu":
        where = f"{torch['device']}, d 256; batch 512 and bf16 unless it says so"
    figure.suptitle(f"{programs}; {where}", fontsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(stem.with_suffix(".png"), dpi=150, metadata={"Software": None})
    pyplot.close(figure)
