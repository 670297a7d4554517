/*
 * The only process of the Linux guest: loads modules, then sends numbers to each device it finds.
 *
 * Every message is a line of a letter and eight hexadecimal digits. Sent to the serial port: S (the
 * port's own number), B (a block that was written and read back with O_DIRECT), W (a block that was
 * read back wrong) and E (a block that could not be written or read). Sent to the network: N.
 */

        .set    SYS_READ64, 17
        .set    SYS_WRITE, 1
        .set    SYS_OPEN, 2
        .set    SYS_CLOSE, 3
        .set    SYS_IOCTL, 16
        .set    SYS_WRITE64, 18
        .set    SYS_NANOSLEEP, 35
        .set    SYS_SOCKET, 41
        .set    SYS_SENDTO, 44
        .set    SYS_FORK, 57
        .set    SYS_EXIT, 60
        .set    SYS_MOUNT, 165
        .set    SYS_FINIT_MODULE, 313
        .set    O_WRONLY, 1
        .set    O_RDWR, 2
        .set    O_DIRECT, 0x4000
        .set    AF_PACKET, 17
        .set    SOCK_DGRAM, 2
        .set    SIOCGIFFLAGS, 0x8913
        .set    SIOCSIFFLAGS, 0x8914
        .set    SIOCGIFINDEX, 0x8933
        .set    LINE_BYTES, 10
        .set    FRAME_BYTES, 46
        .set    BLOCK_BYTES, 4096

        .text
        .globl  _start
_start:
        leaq    devtmpfs(%rip), %rdi
        leaq    dev(%rip), %rsi
        movq    %rdi, %rdx
        xorl    %r10d, %r10d
        xorl    %r8d, %r8d
        movl    $SYS_MOUNT, %eax
        syscall
load:   leaq    module(%rip), %rdi
        xorl    %esi, %esi
        call    open
        testl   %eax, %eax
        js      ready
        movl    %eax, %ebx
        movl    %eax, %edi
        leaq    empty(%rip), %rsi
        xorl    %edx, %edx
        movl    $SYS_FINIT_MODULE, %eax
        syscall
        movl    %ebx, %edi
        movl    $SYS_CLOSE, %eax
        syscall
        incb    module+3(%rip)                  /* /m/a, /m/b, … */
        jmp     load
ready:  leaq    port(%rip), %rdi
        movl    $O_WRONLY, %esi
        call    open_soon
        movl    %eax, %r12d                     /* r12: the port */
        movl    $SYS_FORK, %eax
        syscall
        testl   %eax, %eax
        jz      blocks
        movl    $SYS_FORK, %eax
        syscall
        testl   %eax, %eax
        jz      frames

        xorl    %r13d, %r13d                    /* r13: the number */
1:      incl    %r13d
        movb    $'S', %al
        call    report
        call    sleep
        jmp     1b

blocks: leaq    disk(%rip), %rdi
        movl    $(O_RDWR | O_DIRECT), %esi
        call    open_soon
        movl    %eax, %r14d                     /* r14: the disk */
        testl   %eax, %eax
        js      end                             /* this guest has no disk */
        xorl    %r13d, %r13d
1:      incl    %r13d
        leaq    written(%rip), %rsi
        movl    %r13d, (%rsi)
        movl    %r13d, BLOCK_BYTES - 4(%rsi)
        movl    $SYS_WRITE64, %eax
        call    block
        leaq    found(%rip), %rsi
        movl    $0, (%rsi)
        movl    $0, BLOCK_BYTES - 4(%rsi)
        movl    $SYS_READ64, %eax
        call    block
        leaq    found(%rip), %rsi
        movb    $'B', %al
        cmpl    %r13d, (%rsi)
        jne     2f
        cmpl    %r13d, BLOCK_BYTES - 4(%rsi)
        je      3f
2:      movb    $'W', %al
3:      call    report
        call    sleep
        jmp     1b

/* eax: system call, rsi: buffer, r13: number, which selects the block on the disk. */
block:  movl    %r14d, %edi
        movl    $BLOCK_BYTES, %edx
        movl    %r13d, %r10d
        andl    $(BLOCKS - 1), %r10d
        shll    $12, %r10d
        syscall
        cmpq    $BLOCK_BYTES, %rax
        jne     failed
        ret

frames: movl    $AF_PACKET, %edi
        movl    $SOCK_DGRAM, %esi
        movl    $((ETHER_TYPE & 0xff) << 8 | ETHER_TYPE >> 8), %edx
        movl    $SYS_SOCKET, %eax
        syscall
        movl    %eax, %r14d                     /* r14: the socket */
        movl    $200, %ebp
1:      movl    $SIOCGIFINDEX, %esi
        call    ioctl
        testl   %eax, %eax
        jz      2f
        call    sleep
        decl    %ebp
        jnz     1b
        jmp     end                             /* this guest has no network device */
2:      movl    request+16(%rip), %eax
        movl    %eax, address+4(%rip)
        movl    $SIOCGIFFLAGS, %esi
        call    ioctl
        orl     $1, request+16(%rip)            /* up */
        movl    $SIOCSIFFLAGS, %esi
        call    ioctl
        xorl    %r13d, %r13d
3:      incl    %r13d
        movb    $'N', %al
        call    format
4:      movl    %r14d, %edi
        leaq    line(%rip), %rsi
        movl    $FRAME_BYTES, %edx
        xorl    %r10d, %r10d
        leaq    address(%rip), %r8
        movl    $20, %r9d
        movl    $SYS_SENDTO, %eax
        syscall
        movl    %eax, %ebp
        call    sleep
        cmpl    $FRAME_BYTES, %ebp
        jne     4b                              /* not sent: retry */
        jmp     3b

ioctl:  movl    %r14d, %edi
        leaq    request(%rip), %rdx
        movl    $SYS_IOCTL, %eax
        syscall
        ret

failed: movb    $'E', %al
        call    report
end:    xorl    %edi, %edi
        movl    $SYS_EXIT, %eax
        syscall

/* al: letter, r13: number. Retries until the complete line is written. */
report: call    format
1:      movl    %r12d, %edi
        leaq    line(%rip), %rsi
        movl    $LINE_BYTES, %edx
        movl    $SYS_WRITE, %eax
        syscall
        cmpq    $LINE_BYTES, %rax
        je      2f
        call    sleep
        jmp     1b
2:      ret

/* al: letter, r13: number -> line. */
format: leaq    line(%rip), %rdi
        stosb
        movl    %r13d, %edx
        movl    $8, %ecx
1:      roll    $4, %edx
        movl    %edx, %eax
        andl    $15, %eax
        leaq    digits(%rip), %rsi
        movb    (%rsi, %rax), %al
        stosb
        decl    %ecx
        jnz     1b
        movb    $'\n', %al
        stosb
        ret

sleep:  leaq    pace(%rip), %rdi
        xorl    %esi, %esi
        movl    $SYS_NANOSLEEP, %eax
        syscall
        ret

/* rdi: path, esi: flags -> eax: descriptor or error. */
open:   xorl    %edx, %edx
        movl    $SYS_OPEN, %eax
        syscall
        ret

/* The same, retrying for a device that appears late. Clobbers rbx, rbp, r8, r9. */
open_soon:
        movl    $200, %ebp
        movq    %rdi, %r8
        movl    %esi, %r9d
1:      movq    %r8, %rdi
        movl    %r9d, %esi
        call    open
        testl   %eax, %eax
        jns     2f
        movl    %eax, %ebx
        call    sleep
        movl    %ebx, %eax
        decl    %ebp
        jnz     1b
2:      ret

        .data
devtmpfs: .asciz "devtmpfs"
dev:    .asciz  "/dev"
module: .asciz  "/m/a"
port:   .asciz  "/dev/vport0p1"
disk:   .asciz  "/dev/vda"
empty:  .asciz  ""
digits: .ascii  "0123456789abcdef"
        .balign 8
pace:   .quad   0, PACE_NS
request: .asciz "eth0"
        .zero   40
        .balign 4
address:                                        /* struct sockaddr_ll: broadcast */
        .short  AF_PACKET
        .byte   ETHER_TYPE >> 8, ETHER_TYPE & 0xff
        .long   0
        .short  0
        .byte   0, 6
        .byte   255, 255, 255, 255, 255, 255, 0, 0
line:   .zero   FRAME_BYTES

        .bss
        .balign 4096
written: .zero  BLOCK_BYTES
found:  .zero   BLOCK_BYTES
