/*
 * Stops a process at a phase boundary, so that a pause of known length can be injected.
 *
 * The signal is raised in the kernel at the very instruction: no round trip to user space decides
 * where the process stands still. Who sends SIGCONT also measures how long it stood.
 */
#include <uapi/linux/ptrace.h>

#define SIGSTOP_NUMBER 19

struct stop {
    u64 ns;
    u32 pid;
    u32 failed;
};

BPF_HASH(targets, u32, u32, 64); /* process → 1, taken out by its first hit */
BPF_RINGBUF_OUTPUT(stops, 8);

int at_boundary(struct pt_regs *ctx)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    struct stop stop = {};

    if (!targets.lookup(&pid))
        return 0;
    targets.delete(&pid);
    stop.ns = bpf_ktime_get_ns();
    stop.pid = pid;
    stop.failed = bpf_send_signal(SIGSTOP_NUMBER) != 0;
    stops.ringbuf_output(&stop, sizeof(stop), 0);
    return 0;
}
