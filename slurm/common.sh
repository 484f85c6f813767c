# The part that the scripts of runs share: environment, start and end of a run, its check, and copies of its shards.
# Scripts that `nonverbal submit` writes contain it; scripts that are edited by hand read it from the checkout.
# Besides the variables that are filled in above, it needs:
#   job: Slurm's id of this job
#   markers: paths of the files that mark an interrupted run; a run that is asked to stop writes one of them, with its
#     step. The markers of later stages come later in the list

# Nodes often cannot reach the Hugging Face Hub, and waiting for it takes minutes. Runs use only local files.
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
# The number of threads of the training process; each data worker has one thread.
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
# Batches differ in size, and segments that can expand prevent fragmentation. torch 2.9 reads the second name, newer
# versions the first.
export PYTORCH_ALLOC_CONF=${PYTORCH_ALLOC_CONF:-${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}}
export PYTORCH_CUDA_ALLOC_CONF=$PYTORCH_ALLOC_CONF
# This script and process 0 run on the first node. Jobs that share a node get different ports.
MASTER_ADDR=$(hostname)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
requeues=$out/slurm/requeues-$job
export MASTER_ADDR MASTER_PORT
mkdir -p "$out/slurm"
# Markers of earlier launches do not count.
rm -f "${markers[@]}"

# Copy a folder of shards to this node's disk: FOLDER COPY PYTHON... The copy gets its name only when it is complete and
# verified.
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

# Print which of the visible GPUs this task uses: the task's number on its node if all GPUs of the node are visible, or
# the first if Slurm binds one GPU to each task.
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

# Run a command as one task of the run. exec makes Slurm's signals reach the process itself. Data workers keep many
# files open, so the limit is raised.
task() {
    ulimit -n "$(ulimit -Hn)" 2> /dev/null || true
    # For example 4(x2): four on each of two nodes.
    local per_node=${SLURM_TASKS_PER_NODE:-1}
    export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS LOCAL_WORLD_SIZE=${per_node%%[(,]*} LOCAL_RANK
    LOCAL_RANK=$(local_rank)
    exec "$@"
}
export -f local_rank task

# Run a command of nonverbal in all processes.
everywhere() {
    # Neighbouring ranks share a node. Not --gpu-bind=none, because it removes CUDA_VISIBLE_DEVICES (Slurm 22.05), and
    # on a node that jobs share, a process might then see the GPUs of another job.
    srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 --distribution=block:block \
        bash -c 'task "$@"' task "${python[@]}" -m nonverbal "$@"
}

# End the job with the status of srun. A run that Slurm asked to stop is queued again; one that failed is not.
finish() {
    local status=$1
    if asked_to_stop "$status"; then requeue; fi
    exit "$status"
}

# Queue the job again, as long as the run makes progress.
requeue() {
    if goes_on; then
        echo "requeueing job $job: the run continues when it starts again"
        scontrol requeue "$job" || echo "job $job cannot be requeued; submit it again to continue"
    fi
}

# The run writes a marker, unless the signal came before its first step or after its last; 138 is the status of SIGUSR1.
asked_to_stop() {
    [ "$(stopped_at)" != "0 0" ] || [ "$1" -eq 138 ] || scontrol show job "$job" | grep -q "PreemptTime=[0-9]"
}

# Print the number of the marker that the run has written, from 1, and its step; 0 0 if there is none.
stopped_at() {
    local marker number=0 found="0 0"
    for marker in "${markers[@]}"; do
        number=$((number + 1))
        if [ -f "$marker" ]; then found="$number $(sed 's/.*"step": *\([0-9]*\).*/\1/' "$marker")"; fi
    done
    echo "$found"
}

# A run that is stopped three times in a row without completing another step would be stopped forever.
goes_on() {
    local place step part=1 before=0 idle=0
    read -r place step < <(stopped_at)
    if [ -f "$requeues" ]; then read -r part before idle < "$requeues"; fi
    # Each stage counts its steps from 0.
    if [ "$place" -gt "$part" ] || [ "$step" -gt "$before" ]; then
        part=$place before=$step idle=0
    else
        idle=$((idle + 1))
    fi
    echo "$part $before $idle" > "$requeues"
    if [ "$idle" -ge 3 ]; then
        echo "not requeued: stopped $idle times without completing another step; give it more time, or look for the" \
            "cause above"
        return 1
    fi
}

if [ "$check" = true ]; then
    findings=$out/slurm/launch-check-$job.json
    rm -f "$findings"
    everywhere launch-check --data "${data[@]}" --out "$out" ${staging:+--staging "$staging"} \
        --processes "$processes" --timeout "$check_timeout" --json "$findings" || {
        status=$?
        echo "launch-check ended with status $status, so the run was not started. Fix the problems above, or skip the" \
            "check: set check=false in this script, or give nonverbal submit --check false"
        # If there are no findings, a process did not answer (status 2), or the status is that of a process that was
        # killed. A node or file system that is slow once must not end a run that takes days.
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
