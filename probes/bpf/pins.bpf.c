/*
 * Counts calls by watched processes on the paths that pin, unpin, map and unmap pages for DMA.
 *
 * Each path has a number given by -DPATH_<name>. Counts are kept in the kernel: nothing is
 * streamed, so nothing can be lost. Includes only uapi headers.
 */
#include <uapi/linux/ptrace.h>

#define VFIO_IOMMU_UNMAP_DMA 0x3b72
#define VFIO_DMA_UNMAP_FLAG_VADDR (1 << 2)
#define IOMMU_IOAS_UNMAP 0x3b86

BPF_HASH(watched, u32, u32, 64);
BPF_ARRAY(counts, u64, PATHS);

static inline void count(u32 path)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u64 *value;

    if (!watched.lookup(&pid))
        return;
    value = counts.lookup(&path);
    if (value)
        __sync_fetch_and_add(value, 1);
}

#define PATH(name)                     \
    int at_##name(struct pt_regs *ctx) \
    {                                  \
        count(PATH_##name);            \
        return 0;                      \
    }

PATH(pin_user_pages_remote)
PATH(memfd_pin_folios)
PATH(unpin_user_pages)
PATH(unpin_user_page_range_dirty_lock)
PATH(unpin_folios)
PATH(vfio_pin_pages_remote)
PATH(vfio_unpin_pages_remote)
PATH(batch_unpin)

#ifdef WITH_IOMMU
TRACEPOINT_PROBE(iommu, map)
{
    count(PATH_iommu_map);
    return 0;
}

TRACEPOINT_PROBE(iommu, unmap)
{
    count(PATH_iommu_unmap);
    return 0;
}
#endif

#ifdef WITH_VFIO
/* Unmapping without the VADDR flag unpins pages; with it only the virtual address is dropped. */
TRACEPOINT_PROBE(syscalls, sys_enter_ioctl)
{
    u32 words[2] = {};

    if (args->cmd == IOMMU_IOAS_UNMAP)
        count(PATH_ioas_unmap);
    if (args->cmd != VFIO_IOMMU_UNMAP_DMA)
        return 0;
    if (bpf_probe_read_user(words, sizeof(words), (void *)args->arg) ||
        !(words[1] & VFIO_DMA_UNMAP_FLAG_VADDR))
        count(PATH_vfio_unmap_dma);
    return 0;
}
#endif
