"""Compares the speed of RELAY with PyTorch and candle on the same work, in turns, on this machine.

All sides are started once and then asked alternately, so that whatever slows the machine down slows down all. Every
round gives a ratio, the time of the others' best variant divided by RELAY's. At the end stands a line for each comparison:

    ratio NAME MIN MEDIAN MAX

and, where it is known, one with `bound` for the ratio that nothing but the matrix products at gemm's speed would reach.
See docs/performance.md for what the names mean. `run.sh` installs and builds all that this needs, and calls it.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median

import machine
import plan
import report
from workers import Worker

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# A variant slower than the best one by this in each of the first rounds is not run again: it would only take time. One
# round alone may be slow by chance.
HOPELESS, FIRST_ROUNDS = 1.25, 2
# On CPUs PyTorch leaves its activations, of megabytes, to the system's allocator. glibc gives them back to the system at
# once, and gets every page anew; told to keep them it does what the allocators of the other sides do.
KEEP_PAGES = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, help="rounds of each comparison, 5 unless told")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where both sides compute")
    known = "; ".join(f"{device}: {', '.join(plan.names(device))}" for device in ("cpu", "cuda"))
    parser.add_argument("--only", help=f"comparisons, separated by commas; {known}")
    parser.add_argument("--quick", action="store_true", help="two rounds of shorter work")
    parser.add_argument("--all-variants", action="store_true", help="run slow variants in every round, too")
    parser.add_argument("--prepare", action="store_true", help="only compile and check; results stay as they are")
    parser.add_argument("--out", type=Path, help="where results are written, target/peers/DEVICE unless told")
    worker = ROOT / "target/release/peer_worker"
    parser.add_argument("--worker", type=Path, default=worker, help="RELAY's side")
    candle = ROOT / "target/peers-candle/release/candle-side"
    parser.add_argument("--candle", type=Path, default=candle, help="candle's side; left out if it is not there")
    chosen = parser.parse_args()
    if chosen.rounds is None:
        chosen.rounds = 2 if chosen.quick else 5
    chosen.out = chosen.out or ROOT / "target" / ("peers-quick" if chosen.quick else "peers") / chosen.device
    names = plan.names(chosen.device)
    chosen.only = chosen.only.split(",") if chosen.only else names
    unknown = [name for name in chosen.only if name not in names]
    if unknown or chosen.rounds < 1:
        parser.error(f"no comparison {unknown}" if unknown else f"{chosen.rounds} rounds")
    return chosen


class Sides:
    """The workers."""

    def __init__(self, chosen):
        if not chosen.worker.is_file():
            raise SystemExit(f"{chosen.worker} is not there: benches/peers/run.sh builds it")
        self.relay = Worker("RELAY's side", [str(chosen.worker.resolve())])
        about = self.relay.ask({"about": True})
        if about["device"] != chosen.device:
            raise SystemExit(f"{chosen.worker} was built for {about['device']}, not for {chosen.device}: see run.sh")
        # One number of threads for all: RELAY's side has found out how many processors it may use.
        threads = about["threads"]
        environment = {"TORCHINDUCTOR_CACHE_DIR": str(ROOT / "target/peers-inductor")}
        if chosen.device == "cpu":
            environment |= KEEP_PAGES
        torch = [sys.executable, str(HERE / "torch_side/worker.py"), "--device", chosen.device]
        self.torch = Worker("PyTorch's side", [*torch, "--threads", str(threads)], environment)
        there = chosen.candle.is_file() and chosen.device == "cpu"
        one_number = {"RAYON_NUM_THREADS": str(threads)}
        self.candle = Worker("candle's side", [str(chosen.candle.resolve())], one_number) if there else None
        self.all = [side for side in (self.relay, self.torch, self.candle) if side]
        self.idle_share = 0.0

    def side(self, variant):
        """The worker that `variant` is of; None if it is not there."""
        if variant in ("relay", "gemm"):
            return self.relay
        return self.candle if variant == plan.CANDLE else self.torch

    def ask(self, group, variant, repeats):
        """Asks the side that `variant` is of; watches that the others sleep meanwhile."""
        asked = self.side(variant)
        kind = "gemm_rate" if variant == "gemm" else group.kind
        request = {"kind": kind, "shape": group.shape, "repeats": repeats}
        if asked is self.torch:
            request["variant"] = variant
        others = [side for side in self.all if side is not asked]
        before, start = sum(side.cpu_seconds() for side in others), time.monotonic()
        answer = asked.ask(request)
        passed = time.monotonic() - start
        if passed > 1:
            waited = sum(side.cpu_seconds() for side in others) - before
            self.idle_share = max(self.idle_share, waited / passed)
        return answer

    def close(self):
        for side in self.all:
            side.close()


def prepare(sides, group, chosen, wanted):
    """Makes every variant ready; gives those that work, with what went wrong with the others."""
    variants, failed = ["relay"] + (["gemm"] if plan.bounded(group, chosen.device) else []), {}
    for name in wanted:
        there = [variant for variant in group.comparisons[name] if sides.side(variant)]
        variants += [variant for variant in there if variant not in variants]
    for variant in list(variants):
        # RELAY's buffers are all there after a few runs; the other side says how long it took to get ready.
        answer = sides.ask(group, variant, 2 if variant == "relay" and group.repeats > 1 else 0)
        if "error" in answer:
            variants.remove(variant)
            failed[variant] = answer["error"]
            print(f"  {variant} does not work and is left out:\n{answer['error']}", file=sys.stderr)
        elif answer.get("preparation", 0) > 5:
            print(f"  {variant} compiled in {answer['preparation']:.0f} s", flush=True)
    if "relay" in failed:
        raise SystemExit("RELAY's side does not work")
    return variants, failed


def measure(sides, group, variants, failed, chosen, wanted):
    """For every round the seconds of the variants that were run in it. One that fails on the way joins the failed."""
    rounds, running = [], list(variants)
    for number in range(chosen.rounds):
        # Who comes first changes from round to round.
        order = running if number % 2 == 0 else running[::-1]
        seconds = {}
        for variant in list(order):
            answer = sides.ask(group, variant, group.repeats)
            if "error" in answer:
                if variant == "relay":
                    raise SystemExit(f"RELAY's side: {answer['error']}")
                running.remove(variant)
                failed[variant] = answer["error"]
                print(f"  {variant} does not work any more and is left out:\n{answer['error']}", file=sys.stderr)
            elif variant == "gemm":
                seconds[variant] = plan.product_flops(group) / answer["checked"]["flops_per_second"]
            else:
                seconds[variant] = median(answer["seconds"])
        rounds.append(seconds)
        told = ", ".join(f"{variant} {seconds[variant]:.4f}" for variant in running)
        print(f"  round {number + 1}, seconds: {told}", flush=True)
        if number + 1 == FIRST_ROUNDS and not chosen.all_variants:
            keep = {"relay", "gemm"} | promising(group, wanted, rounds)
            running = [variant for variant in running if variant in keep]
    return [{variant: seconds[variant] for variant in seconds if variant not in failed} for seconds in rounds]


def promising(group, wanted, rounds):
    """The variants that may be the best of a comparison: those that came near to the best of any round so far."""
    keep = set()
    for name in wanted:
        for seconds in rounds:
            there = [variant for variant in group.comparisons[name] if variant in seconds]
            best = min((seconds[variant] for variant in there), default=0)
            keep |= {variant for variant in there if seconds[variant] <= HOPELESS * best}
    return keep


def against(rounds, peers, variant):
    """For every round the seconds of the best of the peers, divided by those of `variant`."""
    return [min(seconds[peer] for peer in peers if peer in seconds) / seconds[variant] for seconds in rounds]


def conclude(group, name, rounds, failed):
    """The result of one comparison.

    `bound` is the ratio that a program would reach whose time is that of the matrix products at gemm's speed.
    """
    peers = ["gemm"] if name == plan.SHARE else group.comparisons[name]
    peers = [peer for peer in peers if peer in rounds[0]]
    # One that was given up on has the median of the rounds that it had, which is not theirs.
    to_the_end = [peer for peer in peers if peer in rounds[-1]]
    if not to_the_end:
        return None
    ratios = against(rounds, peers, "relay")
    bounded = "gemm" in rounds[0] and name != plan.SHARE
    times = {
        variant: {
            **report.spread([seconds[variant] for seconds in rounds if variant in seconds]),
            "rounds": [seconds.get(variant) for seconds in rounds],
        }
        for variant in ["relay", *peers]
    }
    return {
        "unit": group.unit,
        "shape": group.shape,
        "ratio": {**report.spread(ratios), "rounds": ratios},
        "bound": report.spread(against(rounds, peers, "gemm")) if bounded else None,
        "peer": min(to_the_end, key=lambda peer: times[peer]["median"]),
        "seconds": times,
        "failed": {variant: error for variant, error in failed.items() if variant in group.comparisons[name]},
    }


def earlier(path, results):
    """Comparisons of an earlier run on the same machine, of the same versions: what is not run now is kept. Those of another
    run are moved aside by `set_aside`, once there is something to write in their place."""
    try:
        old = json.loads(path.read_text())
    except FileNotFoundError:
        return {}, None
    except (OSError, ValueError) as error:
        return {}, f"cannot be read ({error})"
    differ = [key for key in ("machine", "torch", "relay", "candle", "quick") if old.get(key) != results[key]]
    if differ:
        return {}, f"is of another {', '.join(differ)}"
    return old.get("comparisons", {}), None


def set_aside(path, why):
    """Moves results that `why` says not to belong to these to a name that is free."""
    names = (path.with_suffix(f".earlier{number}.json") for number in ("", *(f"-{n}" for n in range(2, 1000))))
    kept = next(name for name in names if not name.exists())
    path.replace(kept)
    print(f"{path} {why} and now lies in {kept}", file=sys.stderr)


def main():
    chosen = arguments()
    sides = Sides(chosen)
    results = {
        "machine": machine.about(),
        "torch": sides.torch.ask({"kind": "about"}),
        "relay": sides.relay.ask({"about": True}),
        "candle": sides.candle.ask({"about": True}) if sides.candle else None,
        "quick": chosen.quick,
        "flops": {
            name: plan.product_flops(group)
            for group in plan.plan(chosen.device, chosen.quick)
            for name in group.comparisons
        },
    }
    print(json.dumps({key: results[key] for key in ("machine", "torch", "relay", "candle")}), flush=True)
    path = chosen.out / ("peers.json" if chosen.device == "cpu" else "peers-gpu.json")
    commit = machine.commit(ROOT)
    if commit and commit.endswith("-dirty"):
        print(f"the code is not that of a commit: results say {commit}", file=sys.stderr)
    results["comparisons"], foreign = ({}, None) if chosen.prepare else earlier(path, results)
    measured = []
    for group in plan.plan(chosen.device, chosen.quick):
        wanted = [name for name in group.comparisons if name in chosen.only]
        if not wanted:
            continue
        print(f"{group.kind}, {group.shape}", flush=True)
        variants, failed = prepare(sides, group, chosen, wanted)
        if chosen.prepare:
            continue
        rounds = measure(sides, group, variants, failed, chosen, wanted)
        for name in wanted:
            result = conclude(group, name, rounds, failed)
            if result:
                results["comparisons"][name] = {"commit": commit, **result}
                measured.append(name)
        # Whatever ends the next one, this one is there.
        results["idle_cpu_share"] = round(sides.idle_share, 4)
        order = [name for name in plan.names(chosen.device) if name in results["comparisons"]]
        results["comparisons"] = {name: results["comparisons"][name] for name in order}
        if foreign:
            set_aside(path, foreign)
            foreign = None
        report.write_json(path, results)
    sides.close()
    if not measured:
        return
    print(f"the sides that wait use {results['idle_cpu_share']:.1%} of a core at most")
    for name in measured:
        print("\n".join(report.lines(name, results["comparisons"][name])))
    try:
        report.draw(path.with_suffix(""), results)
    except ImportError as error:
        print(f"no figure: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
