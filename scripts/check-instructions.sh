#!/usr/bin/env bash
# Counts the instructions of the hottest paths (`benches/instructions`, by valgrind's callgrind) and holds them to the figures in
# `benches/instructions/limits`. In the dev profile with the tests' features, so that nothing is compiled but the bench
# itself where the tests have been. Fetches what is missing, once: valgrind from Debian, the bench's runner from crates.io.
#
#   scripts/check-instructions.sh
#
# Exit status: 0 all is well; 1 a path takes more, or the bench failed, all of which was said; 3 nothing is wrong, but the
# counts could not be taken, because a tool could not be had or the processor is another.
set -euo pipefail
cd "$(dirname "$0")/.."

# How far a count may be from its figure, in percent.
tolerance=5
limits=benches/instructions/limits

source scripts/tools.sh

# What valgrind shows to a program does not follow the processor, but for the width of its vectors.
processor_is_ours() {
    [ "$(uname -m)" = x86_64 ] && grep -qw avx2 /proc/cpuinfo && return
    say "the figures are of an x86-64 with AVX2, this is none"
    return 1
}

# The runner must be of the version that the bench is compiled with. It only starts valgrind, so it need not be optimised.
runner_is_there() {
    local version
    version=$(sed -n '/^name = "gungraun"$/{n;s/^version = "\(.*\)"/\1/p}' Cargo.lock)
    [ -n "$version" ] || { say "Cargo.lock has no gungraun"; return 1; }
    [ -x "$tools/gungraun-runner-$version" ] || {
        say "building gungraun-runner $version (once)"
        fetch env CARGO_TARGET_DIR="$work/target" \
            cargo install --quiet --locked --debug --root "$work/runner" "gungraun-runner@$version" &&
            mv "$work/runner/bin/gungraun-runner" "$tools/gungraun-runner-$version.part" &&
            mv "$tools/gungraun-runner-$version.part" "$tools/gungraun-runner-$version" || return
    }
    ln -sf "gungraun-runner-$version" "$tools/gungraun-runner"
}

# The bench itself; its profiles go to a folder of their own, so that there is nothing that they are compared with.
count() {
    cargo bench --profile dev --features faults --bench instructions -- --home="$work/profiles"
}

# The count of a case, as its profile has it.
counted() {
    find "$work/profiles" -path "*/hot/$1/*" -name 'callgrind*.out' -exec sed -n 's/^summary: //p' {} +
}

# Not too far above its figure.
holds() {
    local figure=$1 count=$2
    [ -n "$count" ] || { echo "the bench has no such case"; return 1; }
    [ $((count * 100)) -le $((figure * (100 + tolerance))) ] || { echo "more than $tolerance % above its figure"; return 1; }
}

# Each case beside its figure. One that is far below has a figure that holds nothing any more.
compare() {
    local case figure count
    while read -r case figure; do
        count=$(counted "$case")
        check "instructions of $case: ${count:-none} ($(percent "${count:-0}" "$figure") of its figure)" holds "$figure" "$count"
        [ $((${count:-0} * 100)) -ge $((figure * (100 - tolerance))) ] ||
            say "$case is more than $tolerance % below its figure: lower that in $limits"
    done < <(grep -v '^#' "$limits")
}

percent() { awk -v count="$1" -v figure="$2" 'BEGIN { printf "%.1f %%", 100 * count / figure }'; }

if have "instructions: an x86-64 with AVX2" processor_is_ours &&
    have "instructions: valgrind" command_is_there valgrind valgrind &&
    have "instructions: gungraun-runner" runner_is_there; then
    if count >"$work/bench" 2>&1; then
        compare
    else
        cat "$work/bench"
        say "the bench failed"
        failed=1
    fi
fi
conclude
