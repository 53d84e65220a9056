#!/usr/bin/env bash
# What `make demo` runs, in an empty folder: profile, optimize, attack, split and report the embedded example.
# Usage: demo.sh COLLABPLAN MODEL. It prints what matters of each step; with VERBOSE=1 everything. session.txt has it all.
#
# The edge is declared five times slower than this machine and too small for the whole model; the link is the assumed
# one. Four numbers may be sent in place of a tensor, which the cloud half learns to live with. The search runs on
# estimates, and three attacks on the plan show what these are worth; without --no-audit attacks steer the search.
set -euo pipefail
collabplan=$1 model=$2
export COLUMNS=80

# step LINES ARGUMENTS...: run collabplan, and print those lines of its output that the sed commands LINES choose.
step() {
    local lines=$1
    shift
    echo "\$ collabplan $*" | tee -a session.txt
    if ! "$collabplan" "$@" >step.txt 2>&1; then
        cat step.txt
        exit 1
    fi
    cat step.txt >>session.txt
    if [ -n "${VERBOSE:-}" ]; then cat step.txt; else sed -n "$lines" step.txt; fi
    rm step.txt
}

step '/^profile:/p' profile "$model" --max-crossing 1
step '/^Chosen plan/,/^level/p; /^plan:/p' optimize --budget-ms 60 --max-edge-params 60000 --edge-slowdown 5 \
    --defense none --defense projection:rank=4 --finetune 8 --no-audit -o plan.json
step '/  audited  /,/^output alone/p' attack plan.json --attacks kernel,inverse,recognition
step '/^checked/,/bit for bit/p' split plan.json -o halves
step '1,/^report:/p' report plan.json -o report.html
echo "demo/report.html shows the plan, demo/halves has its two halves, demo/session.txt what was printed."
