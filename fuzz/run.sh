#!/usr/bin/env bash
# Every target of `cargo fuzz`, one after the other, SECONDS each; needs a nightly compiler and cargo-fuzz.
# Writes fuzz/libfuzzer.json: executions, and how far coverage grew from that of the corpus.
# What a run adds to the corpus stays in fuzz/grown, from which the next one goes on; inputs that fail lie in fuzz/artifacts.
#   fuzz/run.sh SECONDS [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
case $seconds in
  '' | *[!0-9]* | 0*) echo "SECONDS is '$seconds': a whole number above 0 is needed" >&2; exit 2 ;;
esac
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(problems jsonl benchmark settings manifest chains)
# No sanitizer: no target reaches unsafe code of this project, and without one there are many more executions.
# Assertions stay, and sums that overflow are failures.
build=(--sanitizer none --debug-assertions --target-dir "${FUZZ_TARGET_DIR:-fuzz/target}")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

number() { awk -v key="$1" '$1 == "stat::" key ":" { print $2; found = 1 } END { if (!found) print 0 }' "$2"; }
# Executions and covered edges when the corpus was read, at every power of two, and at the end.
growth() {
  awk '$2 ~ /^(INITED|pulse|DONE)$/ && $3 == "cov:" { sub("#", "", $1); printf "%s[%s, %s]", comma, $1, $4; comma = ", " }' "$1"
}

cargo +nightly fuzz build "${build[@]}"
executions=0 failures=0 entries=()
for target in "${targets[@]}"; do
  mkdir -p "fuzz/grown/$target" "fuzz/artifacts/$target"
  log=$scratch/$target before=$(find "fuzz/artifacts/$target" -type f | wc -l)
  status=0
  cargo +nightly fuzz run "${build[@]}" "$target" "fuzz/grown/$target" "fuzz/corpus/$target" -- \
    -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 > "$log" 2>&1 || status=$?
  failed=$(($(find "fuzz/artifacts/$target" -type f | wc -l) - before))
  runs=$(number number_of_executed_units "$log")
  # An input that failed before leaves no new file, and a run that never began none at all.
  if { [ "$status" -ne 0 ] || [ "$runs" -eq 0 ]; } && [ "$failed" -le 0 ]; then failed=1; fi
  if [ "$failed" -gt 0 ]; then tail -n 40 "$log" >&2; fi
  executions=$((executions + runs)) failures=$((failures + failed))
  printf '%s: %s executions, %s failures\n' "$target" "$runs" "$failed"
  entries+=("$(printf '    "%s": {"executions": %s, "failures": %s, "slowest_seconds": %s, "peak_mebibytes": %s,\n      "coverage": [%s]}' \
    "$target" "$runs" "$failed" "$(number slowest_unit_time_sec "$log")" "$(number peak_rss_mb "$log")" "$(growth "$log")")")
done
{
  printf '{\n  "command": "fuzz/run.sh %s",\n  "executions": %s,\n  "failures": %s,\n' "$seconds${*:+ $*}" "$executions" "$failures"
  printf '  "coverage": "pairs of executions and covered edges: the corpus, powers of two, the end",\n  "targets": {\n'
  for index in "${!entries[@]}"; do
    printf '%s%s\n' "${entries[$index]}" "$([ "$index" -lt $((${#entries[@]} - 1)) ] && echo ,)"
  done
  printf '  }\n}\n'
} > "$scratch/record"
mv "$scratch/record" fuzz/libfuzzer.json
printf '%s executions, %s failures\n' "$executions" "$failures"
[ "$failures" -eq 0 ]
