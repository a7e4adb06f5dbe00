#!/bin/sh
# Compares the speed of RELAY with PyTorch and candle on this machine; needs Rust, python3 with venv, and for torch.compile
# a C++ compiler and Python's headers (Debian: python3-venv, g++, python3-dev). Arguments go to compare.py: try --help.
set -eu
cd "$(dirname "$0")/../.."
venv=target/peers-venv
wanted=benches/peers/requirements.txt

# Without these PyTorch cannot compile, and RELAY would be compared with less than its best.
missing=
command -v "${CXX:-g++}" >/dev/null || missing=${CXX:-g++}
python3 - <<'PYTHON' || missing="${missing:+$missing and }Python.h"
import pathlib, sys, sysconfig
sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").is_file())
PYTHON
case " $* " in *" --help "* | *" -h "*) missing= ;; esac
[ -z "$missing" ] || { echo "no $missing, which torch.compile needs (Debian: g++, python3-dev)" >&2; exit 1; }

# The plain wheel of PyTorch does not load without the CUDA libraries it depends on, so they are installed, too.
if ! cmp -s "$wanted" "$venv/installed.txt"; then
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --requirement "$wanted"
    cp "$wanted" "$venv/installed.txt"
fi
features=
case " $* " in *" --device cuda "* | *" --device=cuda "*) features="--features cuda" ;; esac
# Wherever builds go otherwise: what is measured is what is built here.
unset CARGO_BUILD_TARGET
# shellcheck disable=SC2086
cargo build --release --locked --package relay-benches $features --bin peer_worker --target-dir target
# candle's own repository is built for the processor at hand, too; kernels of RELAY choose when they run. On GPUs it is not compared.
[ -n "$features" ] || RUSTFLAGS="-C target-cpu=native" cargo build --release --locked \
    --manifest-path benches/peers/candle_side/Cargo.toml --target-dir target/peers-candle || {
    rm -f target/peers-candle/release/candle-side
    echo "candle does not build here: it will be left out" >&2
}
exec "$venv/bin/python" benches/peers/compare.py "$@"
