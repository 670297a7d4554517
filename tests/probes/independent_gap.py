"""An independent tracer of KVM_RUN: streams every entry and exit of vCPU threads.

It shares nothing with the handover probe: other tracepoints (raw_syscalls), another transport (perf
buffer), no bracket in the kernel; the gap is computed from the stream afterwards. Run as a script:
prints READY, records until standard input closes, then prints one JSON document
{"lost": N, "rows": [[tid, "enter"|"exit", ns], …]}.
"""

import json
import sys
import tempfile
import threading
from pathlib import Path

from probes.bpf_program import compile_program

PROGRAM = r"""
struct seen { u64 ns; u32 tid; u32 leave; };
BPF_PERF_OUTPUT(stream);
BPF_HASH(inside, u32, u32);

static inline int is_vcpu(void)
{
    char comm[16];
    bpf_get_current_comm(&comm, sizeof(comm));
    return comm[0] == 'C' && comm[1] == 'P' && comm[2] == 'U' && comm[3] == ' ';
}

TRACEPOINT_PROBE(raw_syscalls, sys_enter)
{
    u32 tid = (u32)bpf_get_current_pid_tgid(), one = 1;
    struct seen seen = {};
    if (args->id != 16 || args->args[1] != 0xae80 || !is_vcpu())
        return 0;
    seen.ns = bpf_ktime_get_ns();
    seen.tid = tid;
    inside.update(&tid, &one);
    stream.perf_submit(args, &seen, sizeof(seen));
    return 0;
}

TRACEPOINT_PROBE(raw_syscalls, sys_exit)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    struct seen seen = {};
    if (args->id != 16 || !is_vcpu() || !inside.lookup(&tid))
        return 0;
    seen.ns = bpf_ktime_get_ns();
    seen.tid = tid;
    seen.leave = 1;
    inside.delete(&tid);
    stream.perf_submit(args, &seen, sizeof(seen));
    return 0;
}
"""


def main() -> int:
    with tempfile.NamedTemporaryFile("w", suffix=".bpf.c") as source:
        source.write(PROGRAM)
        source.flush()
        bpf = compile_program(Path(source.name))
    rows: list[tuple[int, str, int]] = []
    lost = [0]

    def seen(cpu, data, size):
        event = bpf["stream"].event(data)
        rows.append((event.tid, "exit" if event.leave else "enter", event.ns))

    def missed(count):
        lost[0] += count

    bpf["stream"].open_perf_buffer(seen, page_cnt=256, lost_cb=missed)
    print("READY", flush=True)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        bpf.perf_buffer_poll(timeout=50)
    bpf.perf_buffer_poll(timeout=200)
    json.dump({"lost": lost[0], "rows": sorted(rows, key=lambda row: row[2])}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
