/*
 * Watches each vCPU's tick in guest RAM and logs every gap between beats, on CLOCK_MONOTONIC.
 *
 * An independent witness, without BPF, QEMU or Python. Standard input is the area shared with the
 * host (layout.py), standard output the file of guest RAM.
 *
 * Round i reads all ticks, then the clock: T(i). A change seen in round i happened after the read
 * in round i-1, so after T(i-2), and no later than T(i). That reach, T(i) - T(i-2), is stored with
 * every time: the true beat may be earlier by that much, even when this program was preempted.
 */

        .set    SYS_MMAP, 9
        .set    SYS_EXIT, 60
        .set    SYS_CLOCK_GETTIME, 228
        .set    CLOCK_MONOTONIC, 1
        .set    PROT_READ, 1
        .set    PROT_WRITE, 2
        .set    MAP_SHARED, 1

        .text
        .globl  _start
_start:
        subq    $16, %rsp
        movl    $AREA_BYTES, %esi
        movl    $(PROT_READ | PROT_WRITE), %edx
        xorl    %r8d, %r8d
        xorl    %r9d, %r9d
        call    map
        movq    %rax, %r12                      /* r12: the area */
        movq    O_SLOT_BYTES(%r12), %rsi
        movl    $PROT_READ, %edx
        movl    $1, %r8d
        movl    $SLOTS, %r9d
        call    map
        movq    %rax, %r13                      /* r13: the slots */
        movl    O_VCPUS(%r12), %r14d            /* r14: how many */
        call    clock
        movq    %rax, %r15                      /* r15: T(i-1) */
        movq    %rax, %rbp                      /* rbp: T(i-2) */

round:
        cmpl    $0, O_STOP(%r12)
        jne     done
        xorl    %ebx, %ebx                      /* rbx: vCPU */
1:      movq    %rbx, %rcx
        shlq    $SLOT_SHIFT, %rcx
        movl    S_TICK(%r13, %rcx), %eax
        movq    %rbx, %rdi
        shlq    $STATE_SHIFT, %rdi
        movl    %eax, O_STATES + 20(%r12, %rdi)
        incq    %rbx
        cmpq    %r14, %rbx
        jb      1b
        call    clock                           /* rax: T(i) */
        movq    %rax, %r8
        subq    %rbp, %r8                       /* r8: reach */
        movq    %r15, %rbp
        movq    %rax, %r15
        xorl    %ebx, %ebx
2:      movq    %rbx, %rdi
        shlq    $STATE_SHIFT, %rdi
        leaq    O_STATES(%r12, %rdi), %rdi      /* rdi: state */
        movl    20(%rdi), %edx
        cmpl    16(%rdi), %edx
        je      next
        movl    %edx, 16(%rdi)
        movq    (%rdi), %r9                     /* r9: last */
        testq   %r9, %r9
        jz      keep                            /* the first change seen ends no gap */
        movq    %rax, %r10
        subq    %r9, %r10
        cmpq    O_THRESHOLD(%r12), %r10
        jb      keep
        movl    O_COUNTS(%r12, %rbx, 4), %ecx
        andl    $(LOG_ENTRIES - 1), %ecx
        shlq    $5, %rcx
        movq    %rbx, %rsi
        shlq    $LOG_SHIFT, %rsi
        addq    %rcx, %rsi
        leaq    O_LOGS(%r12, %rsi), %rsi        /* rsi: entry */
        movq    %r9, (%rsi)
        movq    8(%rdi), %rcx
        movq    %rcx, 8(%rsi)
        movq    %rax, 16(%rsi)
        movq    %r8, 24(%rsi)
        incl    O_COUNTS(%r12, %rbx, 4)         /* last: its reader finds the entry */
keep:   movq    %rax, (%rdi)
        movq    %r8, 8(%rdi)
next:   incq    %rbx
        cmpq    %r14, %rbx
        jb      2b
        incq    O_LOOPS(%r12)
        jmp     round

done:   xorl    %edi, %edi
        movl    $SYS_EXIT, %eax
        syscall

/* rsi: length, edx: protection, r8: descriptor, r9: offset -> rax: address; exits on an error. */
map:
        xorl    %edi, %edi
        movl    $MAP_SHARED, %r10d
        movl    $SYS_MMAP, %eax
        syscall
        testq   %rax, %rax
        jns     1f
        movl    $1, %edi
        movl    $SYS_EXIT, %eax
        syscall
1:      ret

/* -> rax: ns. Clobbers rcx, rdi, rsi, r11. */
clock:
        movl    $CLOCK_MONOTONIC, %edi
        leaq    8(%rsp), %rsi                   /* reserved at _start, above the return address */
        movl    $SYS_CLOCK_GETTIME, %eax
        syscall
        imulq   $1000000000, 8(%rsp), %rax
        addq    16(%rsp), %rax
        ret
