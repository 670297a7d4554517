/*
 * Who ran, who waited for a CPU, who was blocked in which system call and who woke it: the threads
 * of both QEMUs of a transfer, while `window` is set.
 *
 * A thread's system call is read from its saved registers when it leaves the CPU or wakes another
 * thread, so that no other system call pays for it. The register layout is uapi's struct pt_regs;
 * no other kernel struct is read. Every record that cannot be written is counted in `lost`.
 */
#include <uapi/linux/ptrace.h>

#define KIND_SWITCH 0
#define KIND_WAKE 1
#define KIND_FORK 2
#define NO_CALL (-1)
#define IN_SYSTEM_CALL (-38) /* -ENOSYS: the value of ax while a system call is in progress */
#define ENDED 0x30           /* EXIT_DEAD | EXIT_ZOMBIE */
#define NO_WAKEUP 1          /* BPF_RB_NO_WAKEUP: the ring is drained afterwards, nobody polls */
#define NAME_BYTES 16

/* Read by probes/scheduler.py: keep both in sync. */
struct record {
    u64 ns;
    u32 kind;
    u32 cpu;
    u32 tid;   /* the thread on the CPU: it left (switch), woke another or started one */
    u32 other; /* the thread that came onto the CPU, was woken or started */
    s32 state; /* task state of the thread that left: 0 is runnable */
    s32 call;  /* system call of `tid`, or NO_CALL */
    u64 args[2];
    char name[NAME_BYTES]; /* of the unwatched thread: the one that came, else that left or woke */
};

BPF_ARRAY(window, u64, 1);         /* number of the open window, 0 when none is open */
BPF_ARRAY(used, u64, CPUS);        /* CPU → the last window in which a watched thread used it */
BPF_HASH(threads, u32, u32, 4096); /* watched thread → 1 */
BPF_ARRAY(lost, u64, 1);
BPF_RINGBUF_OUTPUT(records, RING_PAGES);

static inline u64 open_window(void)
{
    u32 zero = 0;
    u64 *open = window.lookup(&zero);
    return open ? *open : 0;
}

/* Hides the result from the compiler, which would combine two pointers; the verifier rejects it. */
static inline u32 is_watched(u32 tid)
{
    u32 found = threads.lookup(&tid) ? 1 : 0;
    asm volatile("" : "+r"(found));
    return found;
}

static inline void read_call(struct record *record)
{
    struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
    s64 ax = 0, call = NO_CALL;

    record->call = NO_CALL;
    bpf_probe_read_kernel(&ax, sizeof(ax), &regs->ax);
    if (ax != IN_SYSTEM_CALL)
        return;
    bpf_probe_read_kernel(&call, sizeof(call), &regs->orig_ax);
    bpf_probe_read_kernel(&record->args[0], sizeof(u64), &regs->di);
    bpf_probe_read_kernel(&record->args[1], sizeof(u64), &regs->si);
    record->call = call;
}

static inline void write(struct record *record)
{
    u32 zero = 0;
    u64 *count;

    if (!records.ringbuf_output(record, sizeof(*record), NO_WAKEUP))
        return;
    count = lost.lookup(&zero);
    if (count)
        __sync_fetch_and_add(count, 1);
}

TRACEPOINT_PROBE(sched, sched_switch)
{
    u32 left = args->prev_pid;
    u32 came = args->next_pid;
    u32 cpu = bpf_get_smp_processor_id();
    u32 leaving, coming;
    u64 open = open_window();
    u64 *last;
    struct record record = {};

    if (!open)
        return 0;
    leaving = is_watched(left);
    coming = is_watched(came);
    last = used.lookup(&cpu);
    if (leaving || coming) {
        if (last)
            *last = open;
    } else if (!last || *last != open) {
        return 0;
    }
    record.ns = bpf_ktime_get_ns();
    record.kind = KIND_SWITCH;
    record.cpu = cpu;
    record.tid = left;
    record.other = came;
    record.state = args->prev_state & 0xff;
    record.call = NO_CALL;
    if (leaving && record.state)
        read_call(&record);
    if (!coming)
        bpf_probe_read_kernel(record.name, sizeof(record.name), (void *)args->next_comm);
    else if (!leaving)
        bpf_probe_read_kernel(record.name, sizeof(record.name), (void *)args->prev_comm);
    write(&record);
    if (leaving && (record.state & ENDED))
        threads.delete(&left);
    return 0;
}

TRACEPOINT_PROBE(sched, sched_waking)
{
    u32 woken = args->pid;
    u32 waker = (u32)bpf_get_current_pid_tgid();
    struct record record = {};

    if (!open_window() || !is_watched(woken))
        return 0;
    record.ns = bpf_ktime_get_ns();
    record.kind = KIND_WAKE;
    record.cpu = bpf_get_smp_processor_id();
    record.tid = waker;
    record.other = woken;
    record.call = NO_CALL;
    if (is_watched(waker))
        read_call(&record);
    else
        bpf_get_current_comm(record.name, sizeof(record.name));
    write(&record);
    return 0;
}

/* A new thread's first wakeup emits no sched_waking: the fork is recorded instead. */
TRACEPOINT_PROBE(sched, sched_process_fork)
{
    u32 parent = args->parent_pid;
    u32 child = args->child_pid;
    u32 one = 1;
    struct record record = {};

    if (!open_window() || !is_watched(parent))
        return 0;
    threads.update(&child, &one);
    record.ns = bpf_ktime_get_ns();
    record.kind = KIND_FORK;
    record.cpu = bpf_get_smp_processor_id();
    record.tid = parent;
    record.other = child;
    record.call = NO_CALL;
    write(&record);
    return 0;
}
