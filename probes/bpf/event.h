/* Records written by the programs and read by probes/handover.py: keep both in sync. */
#ifndef PAUSEBENCH_EVENT_H
#define PAUSEBENCH_EVENT_H

#define DATA_BYTES 512
#define MAX_FDS 8
#define MAX_ARGS 4

/* Kinds of records other than QEMU's marks, which count from 0. */
#define KIND_MMAP 1000
#define KIND_SENDMSG 1001
#define KIND_RECVMSG 1002
#define KIND_VFIO 1003
#define KIND_INTERRUPT 1004
#define KIND_EXEC 1005

#define EDGE_ENTER 0
#define EDGE_RETURN 1

struct counters {
    u64 switches;
    u64 migrations;
    u64 faults;
    u64 task_ns;
};

struct event {
    u64 ns;
    u32 pid;
    u32 tid;
    u32 kind;
    u32 edge;
    u64 args[MAX_ARGS];
    struct counters counters;
};

/* One message over a unix socket: payload and SCM_RIGHTS descriptors. */
struct message {
    u64 ns;
    u32 pid;
    u32 tid;
    u32 kind;
    u32 edge;
    s64 result;
    u32 length;
    u32 fd_count;
    s32 fds[MAX_FDS];
    u8 data[DATA_BYTES];
};

/* One vCPU thread: its last guest exit and its first guest entry. */
struct bracket {
    u64 run_last_exit;
    u64 run_first_entry;
    u64 entry_last_exit;
    u64 entry_first_entry;
    u64 runs;
    u64 in_run;
    u64 faults; /* guest page faults, from kvm:kvm_page_fault */
    u64 longest_left; /* the longest time between two entries: where it began and ended */
    u64 longest_entered;
};

#endif
