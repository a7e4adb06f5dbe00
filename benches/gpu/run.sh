#!/bin/sh
# One slot on a machine with a GPU: goes on with a training for some minutes, and leaves its checkpoint in small parts.
#
#     benches/gpu/run.sh BINARY MINUTES OUT [--from DIR] [OPTION]...
#
# BINARY is `gpu_slot`, built elsewhere and stripped; this machine needs no Rust. DIR is a checkpoint, or the parts that an
# earlier slot left. OPTIONs go to `gpu_slot train`: try `BINARY train --help`. Every slot of a training needs the same.
#
# OUT then holds:
#     parts/             the newest checkpoint in parts of at most 16 MiB, with hashes: the next slot's DIR
#     metrics.jsonl      losses and accuracies since OUT was begun
#     times.jsonl        its seconds
#     bench.json, .md    updates a second, floating-point operations a second, share of what the device can do
#     cache/             compiled kernels, and what autotune chose where it is on; taken from beside DIR if it lies there
#     run/               the checkpoints themselves
set -eu

if [ $# -lt 3 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
binary=$(realpath "$1") minutes=$2 out=$3
shift 3
mkdir -p "$out"
out=$(realpath "$out")
# The program runs in OUT, so DIR has to be absolute.
for argument; do
    case $argument in --from | --from=*)
        [ "$argument" = --from ] && [ "$1" = --from ] && break
        echo "give it as the first option, in two words: --from DIR" >&2
        exit 2 ;;
    esac
done
if [ "${1-}" = --from ]; then
    from=$(realpath "$2")
    shift 2
    set -- --from "$from" "$@"
    if [ -d "$from/../cache" ] && [ ! -e "$out/cache" ]; then
        cp -r "$from/../cache" "$out/cache"
    fi
fi

# CubeCL looks for this file where it runs. By default it keeps what autotune chose where this machine loses it, and
# compiled kernels not at all.
cd "$out"
for section in autotune compilation; do
    printf '[%s]\ncache = { file = "%s" }\n\n' "$section" "$out/cache"
done > cubecl.toml

"$binary" train --minutes "$minutes" --out "$out" "$@"

# A machine that follows another leaves nothing.
[ -e "$out/bench.json" ] || exit 0
# The newest checkpoint that is good; one of a later step may be damaged.
newest=$(sed -n 's/^  "checkpoint": "\(.*\)"$/\1/p' "$out/bench.json")
[ -d "$newest" ] || { echo "no checkpoint in $out/run" >&2; exit 1; }
# The parts of the slot before stay until there are new ones.
rm -rf "$out/.parts" "$out/.joined"
"$binary" split "$newest" "$out/.parts"
# What cannot be joined again is worth nothing: better to know it while the machine is still there.
"$binary" join "$out/.parts" "$out/.joined" >/dev/null
diff -r "$newest" "$out/.joined/$(basename "$newest")"
rm -rf "$out/.joined" "$out/parts"
mv "$out/.parts" "$out/parts"

cp "$out/run/metrics.jsonl" "$out/run/times.jsonl" "$out/"
echo "the next slot goes on with: --from $out/parts"
