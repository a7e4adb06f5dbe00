"""The PyTorch side of the comparison: one JSON request a line on standard input, one JSON answer a line.

A request names a kind of work, its shape, a variant, and how often to run it: `{"kind": "train_step", "shape": {...},
"variant": "compile", "repeats": 3}`; the answer holds the seconds of every run. `{"kind": "about"}` asks for versions.
With 0 repeats the work is only made ready (compiled) and run once to check what it gives. `--device cuda` measures on the
first GPU.
"""

import argparse
import gc
import json
import os
import sys
import time
import traceback

import torch

from works import KINDS, use, wait

ready = {}
DEVICE = "cpu"


def about():
    """Versions and settings that the results depend on."""
    return {
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "mkldnn": torch.backends.mkldnn.is_available(),
        "mkl": torch.backends.mkl.is_available(),
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu",
    }


def make_room(shape):
    """Forgets what is ready for other shapes on a GPU, where graphs hold on to their memory."""
    shapes = {json.dumps(work.shape, sort_keys=True) for work in ready.values()}
    if DEVICE == "cuda" and shapes - {json.dumps(shape, sort_keys=True)}:
        ready.clear()
        gc.collect()
        torch.cuda.empty_cache()


def measure(request):
    """Runs the work; seconds of each run."""
    key = json.dumps([request["kind"], request["shape"], request["variant"]], sort_keys=True)
    answer = {}
    if key not in ready:
        make_room(request["shape"])
        start = time.perf_counter()
        work = KINDS[request["kind"]](request["shape"], request["variant"])
        result = work.run()
        wait()
        answer.update(work.check(result), preparation=time.perf_counter() - start)
        ready[key] = work
    work, seconds = ready[key], []
    if request["repeats"] > 0:
        work.warm_up()
        wait()
    for _ in range(request["repeats"]):
        start = time.perf_counter()
        result = work.run()
        wait()
        seconds.append(time.perf_counter() - start)
        answer.update(work.check(result))
    return {"seconds": seconds, **answer}


def main(answers):
    global DEVICE
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parser.parse_args()
    DEVICE = chosen.device
    use(DEVICE)
    torch.set_num_threads(chosen.threads)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = about() if request["kind"] == "about" else measure(request)
        except Exception:  # The other side goes on without this variant and says why.
            answer = {"error": traceback.format_exc(limit=-3)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    # Whatever a library or a compiler prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main(answers)
