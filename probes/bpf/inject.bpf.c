/*
 * Stops a process at a phase boundary, to inject a pause of known length.
 *
 * The signal is raised in the kernel at the probed instruction, so that no round trip to user space
 * affects where the process stops. The end of the pause is the scheduler's switch back to the
 * stopped thread, so that its wait for a CPU after SIGCONT is part of the pause.
 */
#include <uapi/linux/ptrace.h>

#define SIGSTOP_NUMBER 19
#define STOPPED_STATE 0x04 /* __TASK_STOPPED */
#define AT_BOUNDARY 1
#define OFF_CPU 2

struct stop {
    u64 ns;
    u32 pid;
    u32 resumed; /* 0: the signal was raised; 1: the thread runs again */
};

BPF_HASH(targets, u32, u32, 64);   /* process → 1, removed by its first hit */
BPF_HASH(stopping, u32, u32, 64);  /* thread → AT_BOUNDARY or OFF_CPU */
BPF_HASH(processes, u32, u32, 64); /* thread → its process */
BPF_RINGBUF_OUTPUT(stops, 8);

int at_boundary(struct pt_regs *ctx)
{
    u64 id = bpf_get_current_pid_tgid();
    u32 pid = id >> 32;
    u32 tid = (u32)id;
    u32 state = AT_BOUNDARY;
    struct stop stop = {};

    if (!targets.lookup(&pid))
        return 0;
    targets.delete(&pid);
    stop.ns = bpf_ktime_get_ns();
    stop.pid = pid;
    stopping.update(&tid, &state);
    processes.update(&tid, &pid);
    if (bpf_send_signal(SIGSTOP_NUMBER) != 0) {
        stopping.delete(&tid);
        return 0;
    }
    stops.ringbuf_output(&stop, sizeof(stop), 0);
    return 0;
}

TRACEPOINT_PROBE(sched, sched_switch)
{
    u32 prev = args->prev_pid;
    u32 next = args->next_pid;
    u32 *state = stopping.lookup(&prev);
    u32 *pid;
    struct stop stop = {};

    if (state && (args->prev_state & STOPPED_STATE))
        *state = OFF_CPU;
    state = stopping.lookup(&next);
    if (!state || *state != OFF_CPU)
        return 0;
    pid = processes.lookup(&next);
    stop.ns = bpf_ktime_get_ns();
    stop.pid = pid ? *pid : 0;
    stop.resumed = 1;
    stopping.delete(&next);
    processes.delete(&next);
    stops.ringbuf_output(&stop, sizeof(stop), 0);
    return 0;
}
