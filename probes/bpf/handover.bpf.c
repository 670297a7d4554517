/*
 * Traces handovers, for the processes in `watched` only.
 *
 * Includes only uapi headers and reads no kernel struct, so that headers of another kernel version
 * work too. Guest entry and exit are kept per vCPU in a map, not streamed. Every record that
 * cannot be written is counted in `lost`.
 */
#include <uapi/linux/ptrace.h>
#include "event.h"

#define WATCHED 1
#define AWAITING 2 /* new QEMU, before it has loaded the CPR state */
#define KVM_RUN 0xae80
#define IOCTL_NUMBER 16 /* x86-64 */
#define MAP_SHARED_FLAG 0x01
#define SOL_SOCKET_LEVEL 1
#define SCM_RIGHTS_TYPE 1

/* uapi struct user_msghdr, iovec and cmsghdr: fixed by the ABI of 64-bit Linux. */
struct user_message {
    u64 name;
    u32 name_length;
    u32 pad0;
    u64 iov;
    u64 iov_count;
    u64 control;
    u64 control_length;
    u32 flags;
    u32 pad1;
};
struct user_iovec {
    u64 base;
    u64 length;
};
struct user_control {
    u64 length;
    s32 level;
    s32 type;
};
struct slice {
    u32 pid;
    u64 since;
};
struct mmap_call {
    u64 length;
    u64 flags;
    s64 fd;
    u64 offset;
};

BPF_HASH(watched, u32, u32, 64);              /* process → WATCHED or AWAITING */
BPF_HASH(vcpus, u32, struct bracket, 1024);   /* thread → bracket */
BPF_HASH(opening, u32, u32, 64);              /* process whose vCPU threads are not known yet */
BPF_ARRAY(any_opening, u32, 1);               /* whether `opening` has entries: a cheap check */
BPF_HASH(in_cpr, u32, u32, 64);               /* thread that saves CPR state */
BPF_HASH(receiving, u32, u64, 64);            /* thread → user_message of its recvmsg */
BPF_HASH(mapping, u32, struct mmap_call, 64); /* thread → its mmap call */
BPF_HASH(threads, u32, u32, 4096);            /* thread → its watched process */
BPF_ARRAY(running, struct slice, CPUS);       /* CPU → the watched process on it, if any */
BPF_HASH(totals, u32, struct counters, 64);   /* process → counters */
BPF_ARRAY(lost, u64, 1);
BPF_RINGBUF_OUTPUT(events, RING_PAGES);

static inline int is_watched(void)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    return watched.lookup(&pid) != 0;
}

static inline void count_lost(void)
{
    u32 zero = 0;
    u64 *count = lost.lookup(&zero);
    if (count)
        __sync_fetch_and_add(count, 1);
}

/* Bring the process's task clock up to date on every CPU, so that each phase gets its own time. */
static inline void settle(u32 pid, u64 now)
{
    struct counters *total = totals.lookup(&pid);

    if (!total)
        return;
    for (u32 cpu = 0; cpu < CPUS; cpu++) {
        u32 index = cpu;
        struct slice *slice = running.lookup(&index);
        if (slice && slice->pid == pid && slice->since < now) {
            __sync_fetch_and_add(&total->task_ns, now - slice->since);
            slice->since = now;
        }
    }
}

static inline void read_counters(struct event *event)
{
    struct counters *found;

    settle(event->pid, event->ns);
    found = totals.lookup(&event->pid);
    if (found) {
        event->counters.switches = found->switches;
        event->counters.migrations = found->migrations;
        event->counters.faults = found->faults;
        event->counters.task_ns = found->task_ns;
    }
}

static inline void emit(u32 kind, u32 edge, u64 a0, u64 a1, u64 a2, u64 a3)
{
    struct event event = {};
    u64 id = bpf_get_current_pid_tgid();

    event.ns = bpf_ktime_get_ns();
    event.pid = id >> 32;
    event.tid = (u32)id;
    event.kind = kind;
    event.edge = edge;
    event.args[0] = a0;
    event.args[1] = a1;
    event.args[2] = a2;
    event.args[3] = a3;
    read_counters(&event);
    if (events.ringbuf_output(&event, sizeof(event), 0))
        count_lost();
}

/* ---- QEMU's marks ----------------------------------------------------------------------- */

#define MARK(name)                                                                \
    int enter_##name(struct pt_regs *ctx)                                         \
    {                                                                             \
        if (is_watched())                                                         \
            emit(MARK_##name, EDGE_ENTER, PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), \
                 PT_REGS_PARM3(ctx), 0);                                          \
        return 0;                                                                 \
    }                                                                             \
    int return_##name(struct pt_regs *ctx)                                        \
    {                                                                             \
        if (is_watched())                                                         \
            emit(MARK_##name, EDGE_RETURN, PT_REGS_RC(ctx), 0, 0, 0);             \
        return 0;                                                                 \
    }

MARK(cpr_close)
MARK(main_listen)
MARK(outgoing)
MARK(connected)
MARK(vm_stop)
MARK(pause_vcpus)
MARK(setup)
MARK(complete)
MARK(load)
MARK(load_main)
MARK(loaded)
MARK(vm_start)
MARK(resume_vcpus)
MARK(runstate)

/*
 * Messages are captured while old QEMU saves its CPR state, and in new QEMU until it has loaded it.
 * New QEMU waits for them inside the load and may have entered it before user space starts watching
 * it, so the role of the process decides there, not the entry.
 */
int enter_cpr_save(struct pt_regs *ctx)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    u32 one = 1;
    if (!is_watched())
        return 0;
    in_cpr.update(&tid, &one);
    emit(MARK_cpr_save, EDGE_ENTER, 0, 0, 0, 0);
    return 0;
}

int return_cpr_save(struct pt_regs *ctx)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    if (!is_watched())
        return 0;
    in_cpr.delete(&tid);
    emit(MARK_cpr_save, EDGE_RETURN, PT_REGS_RC(ctx), 0, 0, 0);
    return 0;
}

int enter_cpr_load(struct pt_regs *ctx)
{
    if (is_watched())
        emit(MARK_cpr_load, EDGE_ENTER, 0, 0, 0, 0);
    return 0;
}

int return_cpr_load(struct pt_regs *ctx)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u32 *role = watched.lookup(&pid);
    if (!role)
        return 0;
    *role = WATCHED;
    emit(MARK_cpr_load, EDGE_RETURN, PT_REGS_RC(ctx), 0, 0, 0);
    return 0;
}

/* ---- assigned devices ------------------------------------------------------------------- */

#ifdef WITH_VFIO
#define VFIO_IOMMU_MAP_DMA 0x3b71
#define VFIO_IOMMU_UNMAP_DMA 0x3b72
#define IOMMU_IOAS_CHANGE_PROCESS 0x3b92

/* uapi struct vfio_iommu_type1_dma_map; dma_unmap has no vaddr and shares size and flags only. */
struct dma_map {
    u32 size;
    u32 flags;
    u64 address;
    u64 iova;
    u64 length;
};

BPF_HASH(in_vfio, u32, u32, 64);    /* thread → command of its ioctl */
BPF_HASH(interrupts, u32, u32, 64); /* interrupt number of an assigned device → 1 */

static inline void vfio_enter(u32 command, u64 where)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    struct dma_map map = {};

    if (command != VFIO_IOMMU_MAP_DMA && command != VFIO_IOMMU_UNMAP_DMA &&
        command != IOMMU_IOAS_CHANGE_PROCESS)
        return;
    if (!is_watched())
        return;
    if (command != IOMMU_IOAS_CHANGE_PROCESS &&
        bpf_probe_read_user(&map, command == VFIO_IOMMU_MAP_DMA ? 32 : 24, (void *)where))
        count_lost();
    if (in_vfio.update(&tid, &command))
        count_lost();
    if (command == VFIO_IOMMU_MAP_DMA)
        emit(KIND_VFIO, EDGE_ENTER, command, map.flags, map.iova, map.length);
    else /* dma_unmap has iova and length where dma_map has address and iova */
        emit(KIND_VFIO, EDGE_ENTER, command, map.flags, map.address, map.iova);
}

static inline void vfio_return(s64 result)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    u32 *command = in_vfio.lookup(&tid);

    if (!command)
        return;
    emit(KIND_VFIO, EDGE_RETURN, *command, result, 0, 0);
    in_vfio.delete(&tid);
}

TRACEPOINT_PROBE(irq, irq_handler_entry)
{
    u32 number = args->irq;
    if (interrupts.lookup(&number))
        emit(KIND_INTERRUPT, EDGE_ENTER, number, 0, 0, 0);
    return 0;
}
#endif

/* ---- guest execution -------------------------------------------------------------------- */

/* Whether the thread belongs to a QEMU that runs the guest before its vCPU threads are known: each
 * gets its bracket at its first guest entry. */
static inline int may_open(void)
{
    u32 zero = 0;
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u32 *any = any_opening.lookup(&zero);

    return any && *any && opening.lookup(&pid);
}

static inline struct bracket *open_bracket(u32 tid)
{
    struct bracket none = {};
    struct bracket *bracket;

    if (!may_open())
        return 0;
    bracket = vcpus.lookup_or_try_init(&tid, &none);
    if (!bracket)
        count_lost();
    return bracket;
}

static inline void guest_entered(void)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    struct bracket *bracket = vcpus.lookup(&tid);
    if (!bracket)
        bracket = open_bracket(tid);
    if (!bracket)
        return;
    u64 now = bpf_ktime_get_ns();
    if (!bracket->run_first_entry)
        bracket->run_first_entry = now;
    /* The pause of an update that fails: the guest comes back to old QEMU. */
    if (!bracket->in_run && bracket->run_last_exit &&
        now - bracket->run_last_exit > bracket->longest_entered - bracket->longest_left) {
        bracket->longest_left = bracket->run_last_exit;
        bracket->longest_entered = now;
    }
    bracket->runs++;
    bracket->in_run = 1;
}

/* Other system calls of a vCPU thread return here too: only KVM_RUN counts. */
static inline void guest_left(void)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    struct bracket *bracket = vcpus.lookup(&tid);
    if (!bracket || !bracket->in_run)
        return;
    bracket->run_last_exit = bpf_ktime_get_ns();
    bracket->in_run = 0;
}

#ifdef __x86_64__
/*
 * Raw tracepoints: an ordinary one cost 1 us more for each of some 60 ioctls in a blackout. The
 * second argument is read from the system call's registers, whose layout is part of the ABI.
 */
RAW_TRACEPOINT_PROBE(sys_enter)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    struct pt_regs *regs = (struct pt_regs *)ctx->args[0];
    u64 command = 0;

    if (ctx->args[1] != IOCTL_NUMBER || (!vcpus.lookup(&tid) && !may_open()))
        return 0;
    if (bpf_probe_read_kernel(&command, sizeof(command), &regs->si))
        count_lost();
    if ((u32)command == KVM_RUN)
        guest_entered();
    return 0;
}

RAW_TRACEPOINT_PROBE(sys_exit)
{
    guest_left();
    return 0;
}

#ifdef WITH_VFIO /* few calls, in sessions with assigned devices only */
TRACEPOINT_PROBE(syscalls, sys_enter_ioctl)
{
    vfio_enter(args->cmd, args->arg);
    return 0;
}

TRACEPOINT_PROBE(syscalls, sys_exit_ioctl)
{
    vfio_return(args->ret);
    return 0;
}
#endif
#else
TRACEPOINT_PROBE(syscalls, sys_enter_ioctl)
{
    if (args->cmd == KVM_RUN)
        guest_entered();
#ifdef WITH_VFIO
    vfio_enter(args->cmd, args->arg);
#endif
    return 0;
}

TRACEPOINT_PROBE(syscalls, sys_exit_ioctl)
{
#ifdef WITH_VFIO
    vfio_return(args->ret);
#endif
    guest_left();
    return 0;
}
#endif

int enter_tcg_exec(struct pt_regs *ctx)
{
    guest_entered();
    return 0;
}

int return_tcg_exec(struct pt_regs *ctx)
{
    guest_left();
    return 0;
}

#ifdef WITH_KVM_ENTRY
RAW_TRACEPOINT_PROBE(kvm_entry)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    struct bracket *bracket = vcpus.lookup(&tid);
    if (bracket && !bracket->entry_first_entry)
        bracket->entry_first_entry = bpf_ktime_get_ns();
    return 0;
}

RAW_TRACEPOINT_PROBE(kvm_exit)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    struct bracket *bracket = vcpus.lookup(&tid);
    if (bracket)
        bracket->entry_last_exit = bpf_ktime_get_ns();
    return 0;
}
#endif

#ifdef WITH_KVM_FAULTS
RAW_TRACEPOINT_PROBE(kvm_page_fault)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    struct bracket *bracket = vcpus.lookup(&tid);
    if (bracket)
        bracket->faults++;
    return 0;
}
#endif

#ifndef BRACKET_ONLY
/* ---- execve of cpr-exec ------------------------------------------------------------------ */

TRACEPOINT_PROBE(sched, sched_process_exec)
{
    if (is_watched())
        emit(KIND_EXEC, EDGE_ENTER, 0, 0, 0, 0);
    return 0;
}

/* ---- descriptors over the cpr channel --------------------------------------------------- */

static inline void capture(u64 where, u32 kind, s64 result)
{
    u64 id = bpf_get_current_pid_tgid();
    struct user_message header = {};
    struct user_iovec part = {};
    struct user_control control = {};
    struct message *message;

    if (bpf_probe_read_user(&header, sizeof(header), (void *)where) ||
        bpf_probe_read_user(&part, sizeof(part), (void *)header.iov)) {
        count_lost();
        return;
    }
    /* Not built in a per-CPU map: a program that is preempted on a newer kernel (seen on 7.3) would
     * find another one's message there. */
    message = events.ringbuf_reserve(sizeof(*message));
    if (!message) {
        count_lost();
        return;
    }
    message->ns = bpf_ktime_get_ns();
    message->pid = id >> 32;
    message->tid = (u32)id;
    message->kind = kind;
    message->edge = kind == KIND_SENDMSG ? EDGE_ENTER : EDGE_RETURN;
    message->result = result;
    message->fd_count = 0;
    message->length = kind == KIND_SENDMSG ? part.length : result;
    u64 bytes = message->length;
    if (bytes >= DATA_BYTES)
        bytes = DATA_BYTES - 1;
    asm volatile("" : "+r"(bytes)); /* keeps the compiler from dropping the mask for the verifier */
    bytes &= DATA_BYTES - 1;
    if (bytes > 0 && bpf_probe_read_user(message->data, bytes, (void *)part.base))
        count_lost();

    if (header.control && header.control_length >= sizeof(control) &&
        !bpf_probe_read_user(&control, sizeof(control), (void *)header.control) &&
        control.level == SOL_SOCKET_LEVEL && control.type == SCM_RIGHTS_TYPE &&
        control.length >= sizeof(control)) {
        message->fd_count = (control.length - sizeof(control)) / sizeof(s32);
        if (bpf_probe_read_user(message->fds, sizeof(message->fds),
                                (void *)(header.control + sizeof(control))))
            count_lost();
    }
    events.ringbuf_submit(message, 0);
}

TRACEPOINT_PROBE(syscalls, sys_enter_sendmsg)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    if (in_cpr.lookup(&tid))
        capture((u64)args->msg, KIND_SENDMSG, 0);
    return 0;
}

TRACEPOINT_PROBE(syscalls, sys_enter_recvmsg)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u32 *role = watched.lookup(&pid);
    u64 where = (u64)args->msg;
    if (role && *role == AWAITING && receiving.update(&tid, &where))
        count_lost();
    return 0;
}

TRACEPOINT_PROBE(syscalls, sys_exit_recvmsg)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    u64 *where = receiving.lookup(&tid);
    if (!where)
        return 0;
    if (args->ret > 0)
        capture(*where, KIND_RECVMSG, args->ret);
    receiving.delete(&tid);
    return 0;
}

/* ---- mmap of shared files: guest RAM in new QEMU ----------------------------------------- */

TRACEPOINT_PROBE(syscalls, sys_enter_mmap)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    struct mmap_call call = {};

    if (!is_watched() || (s64)(s32)args->fd < 0)
        return 0;
    call.length = args->len;
    call.flags = args->flags;
    call.fd = (s32)args->fd;
    call.offset = args->off;
    mapping.update(&tid, &call);
    return 0;
}

TRACEPOINT_PROBE(syscalls, sys_exit_mmap)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    struct mmap_call *call = mapping.lookup(&tid);
    if (!call)
        return 0;
    emit(KIND_MMAP, EDGE_RETURN, args->ret, call->length, call->fd, call->flags);
    mapping.delete(&tid);
    return 0;
}

/* ---- counters of the watched processes ---------------------------------------------------- */

static inline struct counters *totals_of(u32 pid)
{
    struct counters none = {};
    return totals.lookup_or_try_init(&pid, &none);
}

#define ENDED 0x30 /* EXIT_DEAD | EXIT_ZOMBIE: a thread's last switch must not add it again */

TRACEPOINT_PROBE(sched, sched_switch)
{
    u64 now = bpf_ktime_get_ns();
    u64 id = bpf_get_current_pid_tgid();
    u32 pid = id >> 32;
    u32 tid = (u32)id;
    u32 next = args->next_pid;
    u32 cpu = bpf_get_smp_processor_id();
    u32 *next_pid = threads.lookup(&next);
    struct slice *slice = running.lookup(&cpu);

    if (watched.lookup(&pid)) {
        struct counters *total = totals_of(pid);
        if (total) {
            __sync_fetch_and_add(&total->switches, 1);
            if (slice && slice->pid == pid && slice->since < now)
                __sync_fetch_and_add(&total->task_ns, now - slice->since);
        }
        if (args->prev_state & ENDED)
            threads.delete(&tid);
        else if (threads.update(&tid, &pid))
            count_lost();
    }
    if (slice) {
        slice->pid = next_pid ? *next_pid : 0;
        slice->since = now;
    }
    return 0;
}

TRACEPOINT_PROBE(sched, sched_migrate_task)
{
    u32 tid = args->pid;
    u32 *pid = threads.lookup(&tid);
    if (pid) {
        struct counters *total = totals_of(*pid);
        if (total)
            __sync_fetch_and_add(&total->migrations, 1);
    }
    return 0;
}

/* Thread ids are reused: drop all state of a thread when it exits. */
TRACEPOINT_PROBE(sched, sched_process_exit)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();

    threads.delete(&tid);
    in_cpr.delete(&tid);
    receiving.delete(&tid);
    mapping.delete(&tid);
    return 0;
}

#ifdef WITH_FAULTS
RAW_TRACEPOINT_PROBE(page_fault_user)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    if (watched.lookup(&pid)) {
        struct counters *total = totals_of(pid);
        if (total)
            __sync_fetch_and_add(&total->faults, 1);
    }
    return 0;
}
#endif
#endif /* BRACKET_ONLY */
