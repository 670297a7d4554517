/* One program of each kind, to find out which kinds this kernel supports.
 *
 * Each counts its calls: a program that attaches but is never called is of no use.
 */

enum { TRACEPOINT, UPROBE, KPROBE, FENTRY, KINDS };

BPF_ARRAY(calls, u64, KINDS);

static int count(int kind)
{
    calls.increment(kind);
    return 0;
}

#ifdef WITH_FENTRY
/* A kernel without BTF or trampolines rejects the complete file, so this is compiled separately. */
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
int on_return(void *context)
{
    return 0;
}
int on_kprobe(void *context)
{
    return count(KPROBE);
}
#endif
