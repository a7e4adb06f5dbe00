#!/usr/bin/env bash
# The CUDA kernels without a GPU: they are compiled as C++ with a harness that does what a block of threads does, and
# compared with plain computations in double precision. Needs g++ on Linux, and a minute or two on two cores.
#
# Prints a line for each comparison: ok or FAILED, its name, the largest error as a share of what rounding allows.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
export here build

# C++ has no shared memory: what is declared there becomes a reference to a place in the harness's. A kernel is no
# `extern "C"` function, as its name may be one of the C library's.
for file in "$here"/../../src/cuda/*.cu "$here"/../../src/cuda/*.cuh; do
  sed -E \
    -e 's/extern __shared__( __align__\([0-9]+\))? ([a-z ]+) ([a-z_]+)\[\];/\2* const \3 = (\2*)machine::shared_memory;/' \
    -e 's/__shared__ ([a-z0-9_]+) ([a-z_]+)((\[[^]]+\])+);/auto\& \2 = *(\1(*)\3)machine::static_shared(__LINE__, sizeof(\1\3));/' \
    -e 's/extern "C" __global__/__global__/' \
    "$file" > "$build/$(basename "$file")"
done

# A number that is not aligned, or an index beyond an array, ends the program.
flags=(-std=c++17 -O1 -U_FORTIFY_SOURCE -Wall -Wextra -Wno-unknown-pragmas -Wno-unused-function -Wno-unused-parameter
  -Wno-sign-compare -DRELAY_EMULATED -fsanitize=alignment,bounds -fsanitize-undefined-trap-on-error)
for kernel in gemm_{store,scaled,gelu,residual,dgelu} attention_{forward,backward} rotate_heads \
  attention_long_{forward,queries,keys} project_{mlp,greedy}; do
  flags+=("-DKERNEL_$kernel")
done
export flags_text="${flags[*]}"
g++ -std=c++17 -O2 -U_FORTIFY_SOURCE -Wall -Wextra -c "$here/machine.cpp" -o "$build/machine.o"

# A test and what its kernels are compiled with, one a line, those that take long first.
one() {
  read -r test defines <<< "$1"
  name=$(tr -c 'A-Za-z0-9\n' '_' <<< "$1")
  # shellcheck disable=SC2086
  g++ $flags_text -I "$here" -I "$build" $defines "$here/$test.cpp" "$build/machine.o" -o "$build/$name" 2>&1 || echo "FAILED $1: does not compile"
  if [ -x "$build/$name" ]; then
    code=0
    timeout 60 "$build/$name" 2>&1 || code=$?
    # 1 says that a comparison has failed, which has a line of its own.
    case "$code" in
      0 | 1) ;;
      124) echo "FAILED $1: comes to no end" ;;
      132) echo "FAILED $1: a number that is not aligned, or an index beyond an array" ;;
      *) echo "FAILED $1: ends with $code" ;;
    esac
  fi
}
export -f one
xargs -P 2 -d '\n' -I{} bash -c 'one "$1" > "$build/$(tr -c "A-Za-z0-9\n" "_" <<< "$1").txt" 2>&1' _ {} < "$here/tests.txt"
while read -r line; do
  cat "$build/$(tr -c 'A-Za-z0-9\n' '_' <<< "$line").txt"
done < "$here/tests.txt" | tee "$build/all.txt"

# Every kernel has a test.
for kernel in $(cat "$here"/../../src/cuda/*.cu | tr '\n' ' ' |
  grep -oE '__global__ void( __[a-z_]+__\([^)]*\))* +[a-z_]+\(' | sed -E 's/.* ([a-z_]+)\($/\1/'); do
  grep -qE "^(ok|FAILED) $kernel/" "$build/all.txt" || echo "FAILED $kernel: not tested"
done | tee -a "$build/all.txt"

failed=$(grep -c '^FAILED' "$build/all.txt" || true)
passed=$(grep -c '^ok' "$build/all.txt" || true)
echo "$((passed + failed)) checks, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
