#!/bin/bash
# example: 1 node with 2 ranks on cpu, plain PyTorch, plan a30374499cffcde3.
# Rendered by launch 0.1.0. To start it again: launch resume example

set -euo pipefail
umask 077

run_dir=/runs/example
cd "$run_dir"

# Overrides of a recipe were taken in when this was planned.
for name in "${!LAUNCH_@}"; do
    if [[ $name != LAUNCH_COMPAT ]]; then
        unset "$name"
    fi
done
export PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1 TOKENIZERS_PARALLELISM=true
# Threads that wait burn no core that somebody else could use; freed memory is kept for the next step.
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-10000}"
export MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_TOP_PAD_=67108864
cores=$(nproc)
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((cores > 2 ? cores / 2 : 1))}"

export LAUNCHER_JOB="local $$"
export GLOO_SOCKET_IFNAME=lo

# What the cluster profile runs on each node.
# shellcheck disable=all
prepare() {
    :
}

# Whether somebody asks for it: only a regular file is a request.
asked() {
    [[ -f $run_dir/control/$1 && ! -L $run_dir/control/$1 ]]
}

# A signal only asks the training to save and stop; it is never passed on. A request of the user's is left as it is.
signalled=
# shellcheck disable=SC2317,SC2329
on_signal() {
    signalled=yes
    if ! asked cancel; then
        if [[ -L $run_dir/control/stop || (-e $run_dir/control/stop && ! -f $run_dir/control/stop) ]]; then
            rm -f "$run_dir/control/stop" || true # a link, a pipe or a device is no request, and nothing is written to it
        fi
        (set -o noclobber && printf signal >"$run_dir/control/stop") 2>/dev/null || true
    fi
}
trap on_signal USR1 TERM INT

# Waits for a process to its end, however many signals come, and sets `code` to its exit code.
code=1
await() {
    while true; do
        signalled=
        code=0
        wait "$1" || code=$?
        if [[ -z $signalled ]]; then
            return
        fi
    done
}

prepare
node() { apptainer exec --bind /runs/example /images/torch.sif python3 -m launcher.node "$@"; }

facts=$(node begin "$run_dir")
case $facts in
    completed) exit 0 ;;
    cancelled | failed) exit 1 ;;
esac
read -r LAUNCHER_ATTEMPT LAUNCHER_HEAD LAUNCHER_PORT _ LAUNCHER_ADDRESSES <<<"$facts"
export LAUNCHER_ATTEMPT LAUNCHER_HEAD LAUNCHER_PORT LAUNCHER_ADDRESSES

if ! asked cancel; then
    LAUNCHER_NODE=0 apptainer exec --bind /runs/example /images/torch.sif python3 -m launcher.parent_death -m launcher.train.process.torchrun \
        --nnodes=1 --nproc-per-node=2 --max-restarts=0 --shutdown-timeout=300 \
        --rdzv-backend=c10d --rdzv-endpoint="$LAUNCHER_HEAD:$LAUNCHER_PORT" \
        --rdzv-id=example-"$LAUNCHER_ATTEMPT" --rdzv-conf=is_host=1 --local-addr="$LAUNCHER_HEAD" \
        -m launcher.train "$run_dir" &
    await $!
fi

# The end is recorded whatever signals come now.
trap '' USR1 TERM INT
outcome=$(node end "$run_dir" "$LAUNCHER_ATTEMPT" "$code") || outcome="$? stay 0"
read -r code going wait_s <<<"$outcome"
if [[ $going == again ]]; then
    # This starts from the top, unless a signal comes meanwhile. An ignored one could not be trapped again.
    trap on_signal USR1 TERM INT
    signalled=
    sleep "$wait_s" &
    wait $! || kill $! 2>/dev/null || true
    if [[ -z $signalled ]] && ! asked cancel && ! asked stop; then
        exec bash "$run_dir/job.sh"
    fi
    outcome=$(node end "$run_dir" "$LAUNCHER_ATTEMPT" "$code") || outcome="$? stay 0"
    read -r code going _ <<<"$outcome"
fi
exit "$code"
