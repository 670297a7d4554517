/* One program of each kind, to find out which of them this kernel lets in.
 *
 * A program that is attached and never called is no probe, so each kind counts its calls.
 */

enum { TRACEPOINT, UPROBE, KPROBE, FENTRY, KINDS };

BPF_ARRAY(calls, u64, KINDS);

static int count(int kind)
{
    calls.increment(kind);
    return 0;
}

#ifdef WITH_FENTRY
/* A kernel without BTF or trampolines refuses the whole file, so it is asked apart. */
KFUNC_PROBE(vfs_read)
{
    return count(FENTRY);
}
#else
int on_tracepoint(void *context)
{
    return count(TRACEPOINT);
}
int on_uprobe(void *context)
{
    return count(UPROBE);
}
int on_kprobe(void *context)
{
    return count(KPROBE);
}
#endif
