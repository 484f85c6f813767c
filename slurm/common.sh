# What the scripts of runs have in common: the environment, how a run is started and ends, its check, and copies of its
# shards. Scripts that `nonverbal submit` writes hold it; those that are edited by hand read it, in the checkout.
# Besides what is filled in above it needs:
#   job: what Slurm calls this job
#   markers: files, of which the run leaves one, with its step, where it was asked to stop; the later it does, the later
#     in this list

# Nodes often cannot reach the Hugging Face Hub, and waiting for it takes minutes: what a run needs is there before.
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
# Threads of the process that trains; those that read audio for it take one each.
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
# Batches differ in size, and memory that grows in place does not fragment. torch 2.9 reads the second name, newer ones
# the first.
export PYTORCH_ALLOC_CONF=${PYTORCH_ALLOC_CONF:-${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}}
export PYTORCH_CUDA_ALLOC_CONF=$PYTORCH_ALLOC_CONF
# This script and process 0 run on the first node. Two jobs that share a node differ in the port.
MASTER_ADDR=$(hostname)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
requeues=$out/slurm/requeues-$job
export MASTER_ADDR MASTER_PORT
mkdir -p "$out/slurm"
# From here on it is this launch that leaves one.
rm -f "${markers[@]}"

# Copy a folder of shards to this node's disk: FOLDER COPY PYTHON... The copy has its name when it is whole and
# verified, never before.
stage() {
    local folder=$1 copy=$2
    shift 2
    mkdir -p "$(dirname "$copy")"
    exec 9> "$copy.lock"
    flock 9
    if [ ! -d "$copy" ]; then
        rm -rf "$copy.new"
        cp -rL "$folder" "$copy.new"
        "$@" -m nonverbal prepare --verify "$copy.new"
        mv "$copy.new" "$copy"
    fi
}
export -f stage

# Say which of the GPUs that this task sees is its own: with all those of its node it is the task's number there; where
# the site binds one to each task, it is the first.
local_rank() {
    local count=0 visible
    if [ -n "${CUDA_VISIBLE_DEVICES-}" ]; then
        IFS=, read -ra visible <<< "$CUDA_VISIBLE_DEVICES"
        count=${#visible[@]}
    elif command -v nvidia-smi > /dev/null; then
        count=$(nvidia-smi -L 2> /dev/null | grep -c "^GPU") || count=0
    fi
    echo $((count > 0 ? SLURM_LOCALID % count : SLURM_LOCALID))
}

# Run a command as one task of the run. exec, so that Slurm's signals reach the process itself. Every process that reads
# audio holds files open, and what it hands over is one more each.
task() {
    ulimit -n "$(ulimit -Hn)" 2> /dev/null || true
    # Such as 4(x2): four on each of two nodes.
    local per_node=${SLURM_TASKS_PER_NODE:-1}
    export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS LOCAL_WORLD_SIZE=${per_node%%[(,]*} LOCAL_RANK
    LOCAL_RANK=$(local_rank)
    exec "$@"
}
export -f local_rank task

# Run a command of nonverbal in all processes.
everywhere() {
    # Neighbours in rank share a node. No --gpu-bind=none: it takes CUDA_VISIBLE_DEVICES away (Slurm 22.05), and on a node
    # that jobs share, a process may then see the GPUs of another job.
    srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 --distribution=block:block \
        bash -c 'task "$@"' task "${python[@]}" -m nonverbal "$@"
}

# End the job with the status of srun. A run that Slurm asked to stop is queued again; one that failed is not.
finish() {
    local status=$1
    if asked_to_stop "$status"; then requeue; fi
    exit "$status"
}

# Queue the job again, while that helps.
requeue() {
    if goes_on; then
        echo "requeueing job $job: the run continues when it starts again"
        scontrol requeue "$job" || echo "job $job cannot be requeued; submit it again to continue"
    fi
}

# The run says so itself, unless the signal came before its first step or after its last: 138 is SIGUSR1's.
asked_to_stop() {
    [ "$(stopped_at)" != "0 0" ] || [ "$1" -eq 138 ] || scontrol show job "$job" | grep -q "PreemptTime=[0-9]"
}

# Say which of the markers the run has left, 1 for the first, and at which step; 0 0 where it has left none.
stopped_at() {
    local marker number=0 found="0 0"
    for marker in "${markers[@]}"; do
        number=$((number + 1))
        if [ -f "$marker" ]; then found="$number $(sed 's/.*"step": *\([0-9]*\).*/\1/' "$marker")"; fi
    done
    echo "$found"
}

# The third time in a row that a run was stopped without completing another step, it would be so for ever.
goes_on() {
    local place step part=1 before=0 idle=0
    read -r place step < <(stopped_at)
    if [ -f "$requeues" ]; then read -r part before idle < "$requeues"; fi
    # What leaves a later marker counts its own steps.
    if [ "$place" -gt "$part" ] || [ "$step" -gt "$before" ]; then
        part=$place before=$step idle=0
    else
        idle=$((idle + 1))
    fi
    echo "$part $before $idle" > "$requeues"
    if [ "$idle" -ge 3 ]; then
        echo "not requeued: stopped $idle times without completing another step; give it more time, or look above for" \
            "what is slow"
        return 1
    fi
}

if [ "$check" = true ]; then
    findings=$out/slurm/launch-check-$job.json
    rm -f "$findings"
    everywhere launch-check --data "${data[@]}" --out "$out" ${staging:+--staging "$staging"} \
        --processes "$processes" --timeout "$check_timeout" --json "$findings" || {
        status=$?
        echo "launch-check ended with status $status, so the run was not started. Mend what it names above, or leave" \
            "it out: check=false in this script, or nonverbal submit --check false"
        # It has found nothing, but a process did not answer (2), and srun's status may be that of one that it then ended.
        # A node or file system that is slow for once must not end a run of days.
        if [ ! -f "$findings" ] && { [ "$status" -eq 2 ] || [ "$status" -gt 128 ]; }; then requeue; fi
        exit "$status"
    }
fi

shards=()
for folder in "${data[@]}"; do
    if [ -z "$staging" ]; then
        shards+=("$folder")
    else
        facts=("$folder/index.json")
        if [ -f "$folder/log-mel.json" ]; then facts+=("$folder/log-mel.json"); fi
        copy=$staging/$(cat "${facts[@]}" | sha256sum | cut -c 1-16)
        srun --ntasks="$SLURM_NNODES" --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 \
            bash -euc 'stage "$@"' stage "$folder" "$copy" "${python[@]}" || finish $?
        shards+=("$copy")
    fi
done
