/*
 * The guest: a 64 KiB firmware image of 32-bit code that beats.
 *
 * It is its own firmware (-bios) because SeaBIOS takes seconds to reach a boot sector on a KVM that
 * emulates every instruction. All shared constants come from layout.py by --defsym.
 *
 * Each vCPU loops for ever: read the TSC, log the gap since its last beat if it is long, count the
 * beat in total and in the ring of short intervals, visit one page of its share of the working set:
 * check the words that it wrote on its last visit, write new ones, check one word of the pattern
 * that the host wrote.
 *
 * Interrupts stay disabled, except for a moment in every poll of a device, whose interrupt is the
 * only one in the IDT: any fault is a triple fault, which ends QEMU (-no-reboot) and fails the run.
 */

        .set    ROM_BASE, 0xffff0000
        .set    CODE_SELECTOR, 8
        .set    DATA_SELECTOR, 16
        .set    LAPIC, 0xfee00000
        .set    PAGE_FLAGS, 0xe3                /* present, writable, accessed, dirty, 2 MiB */
        .set    TABLE_FLAGS, 0x23               /* present, writable, accessed */
        .set    EFER, 0xc0000080
        .set    LAPIC_EOI, LAPIC + 0xb0

/* QEMU's edu device: docs/specs/edu.rst. Its one page of memory is at EDU_BUFFER. */
        .set    EDU_MAGIC, 0xed
        .set    EDU_ACK, 0x64
        .set    EDU_SOURCE, 0x80
        .set    EDU_TARGET, 0x88
        .set    EDU_COUNT, 0x90
        .set    EDU_COMMAND, 0x98
        .set    EDU_BUFFER, 0x40000
        .set    EDU_DMA_ENDED, 0x100
        .set    EDU_RUN, 1
        .set    EDU_TO_DEVICE, 5                /* run, interrupt at the end */
        .set    EDU_FROM_DEVICE, 7


        .code16
        .text
rom:
        cli
        cld
        movb    $2, %al                         /* enable A20, in case the board has it disabled */
        outb    %al, $0x92
        lgdtl   %cs:(rom_gdtr - rom)
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $CODE_SELECTOR, $(rom32 - rom + ROM_BASE)

        /*
         * Descriptors have the accessed bit set: the CPU cannot set it in ROM, and KVM's emulator
         * then repeats the far jump for ever.
         */
        .macro  descriptors
        .quad   0
        .quad   0x00cf9b000000ffff
        .quad   0x00cf93000000ffff
        .endm

        .balign 8
rom_gdt:
        descriptors
rom_gdtr:
        .word   23
        .long   rom_gdt - rom + ROM_BASE

        .code32
        .macro  flat_segments
        movw    $DATA_SELECTOR, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        .endm

rom32:
        flat_segments
        movl    $(image - rom + ROM_BASE), %esi
        movl    $CODE, %edi
        movl    $((image_end - image + 3) / 4), %ecx
        rep movsl
        movl    $(first_cpu - image + CODE), %eax
        jmp     *%eax

/* What follows runs in RAM at CODE: the guest must not depend on the ROM after a transfer. */
        .balign 16
image:
        .code16
other_cpu:                                      /* start-up IPI enters here, CS = CODE >> 4 */
        cli
        cld
        xorw    %ax, %ax
        movw    %ax, %ds
        lgdtl   (gdtr - image + CODE)
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $CODE_SELECTOR, $(every_cpu - image + CODE)

        .balign 8
gdt:    descriptors
gdtr:   .word   23
        .long   gdt - image + CODE

        .code32
first_cpu:
        lgdt    (gdtr - image + CODE)
        cmpl    $0, CONTROL + C_PAGING
        je      wake_others
        /* Identity map of 4 GiB in 2 MiB pages; each vCPU remaps its window later. */
        xorl    %ecx, %ecx
1:      movl    %ecx, %eax
        shll    $21, %eax
        orl     $PAGE_FLAGS, %eax
        movl    %eax, PAGE_DIRECTORIES(, %ecx, 8)
        movl    $0, PAGE_DIRECTORIES + 4(, %ecx, 8)
        incl    %ecx
        cmpl    $2048, %ecx
        jb      1b
        xorl    %ecx, %ecx
2:      movl    %ecx, %eax
        shll    $12, %eax
        addl    $(PAGE_DIRECTORIES + TABLE_FLAGS), %eax
        movl    %eax, PAGE_POINTERS(, %ecx, 8)
        movl    $0, PAGE_POINTERS + 4(, %ecx, 8)
        incl    %ecx
        cmpl    $4, %ecx
        jb      2b
        movl    $(PAGE_POINTERS + TABLE_FLAGS), PAGE_MAP
        movl    $0, PAGE_MAP + 4

wake_others:
        movl    $LAPIC, %edi
        movl    0xf0(%edi), %eax                /* spurious vector register: enable the APIC */
        orl     $0x1ff, %eax
        movl    %eax, 0xf0(%edi)
        movl    $0x000c4500, 0x300(%edi)        /* INIT to all but self */
        movl    $(0x000c4600 + (CODE >> 12)), 0x300(%edi)       /* start-up IPI */

every_cpu:
        flat_segments
        cmpl    $0, CONTROL + C_PAGING
        je      1f
        /*
         * Long mode with four-level page tables, although the code stays 32-bit (compatibility
         * mode): a KVM without hardware virtualization (PVM) raises #GP on 32-bit paging.
         */
        movl    $0x20, %eax                     /* CR4.PAE */
        movl    %eax, %cr4
        movl    $PAGE_MAP, %eax
        movl    %eax, %cr3
        movl    $EFER, %ecx
        rdmsr
        orl     $0x100, %eax                    /* EFER.LME */
        wrmsr
        movl    %cr0, %eax
        orl     $0x80000000, %eax
        movl    %eax, %cr0
1:
        /* The slot index is the APIC id, which is the vCPU's index in QEMU. */
        movl    $1, %eax
        cpuid
        shrl    $24, %ebx
        movl    %ebx, %esi                      /* esi: APIC id */
        shll    $SLOT_SHIFT, %ebx
        addl    $SLOTS, %ebx                    /* ebx: slot, from here on */
        leal    S_STACK(%ebx), %esp
        movl    %esi, %eax
        addl    CONTROL + C_FIRST_PAGE, %eax
        movl    %eax, S_PAGE(%ebx)
        movl    $-1, S_RING_ID(%ebx)
        movl    $-1, S_WINDOW(%ebx)
        cmpl    $SLOTS, %ebx
        jne     1f
        cmpl    $0, CONTROL + C_DEVICE
        je      1f
        call    find_device
1:      call    tick
        movl    %eax, S_TICK(%ebx)
        movl    $MAGIC, S_MAGIC(%ebx)

/* First walk: write to every page of the share, so that all pages are mapped. */
touch:
        movl    S_PAGE(%ebx), %esi
        cmpl    CONTROL + C_END_PAGE, %esi
        jae     touched
        call    find_page
        orl     $0, (%edi)
        incl    S_BEATS(%ebx)
        call    tick
        movl    %eax, S_TICK(%ebx)
        movl    CONTROL + C_VCPUS, %eax
        addl    %eax, S_PAGE(%ebx)
        jmp     touch

touched:
        movl    $1, S_TOUCHED(%ebx)
        call    first_page

beat:
        rdtsc
        shrdl   $TICK_SHIFT, %edx, %eax         /* eax: tick */
        movl    S_TICK(%ebx), %ecx
        movl    %eax, S_TICK(%ebx)
        movl    %eax, %edx
        subl    %ecx, %edx                      /* edx: ticks since the last beat */
        cmpl    CONTROL + C_THRESHOLD, %edx
        jae     log_gap
count_in_ring:
        incl    S_BEATS(%ebx)                   /* after the log: its reader finds the gap */
        movl    CONTROL + C_RING_SHIFT, %ecx
        shrl    %cl, %eax                       /* eax: interval */
        cmpl    S_RING_ID(%ebx), %eax
        jne     next_interval
        movl    S_RING_AT(%ebx), %edi
        incl    4(%edi)

visit:
        cmpl    $SLOTS, %ebx
        jne     1f
        cmpl    $DEVICE_READY, DEVICE + D_READY
        je      drive_device
1:      movl    S_PAGE(%ebx), %esi
visit_page:
        cmpl    CONTROL + C_END_PAGE, %esi
        jae     wrap
        call    find_page                       /* edi: address of page esi */
        movl    (%edi), %eax
        movl    4(%edi), %edx
        notl    %edx
        xorl    %esi, %edx
        cmpl    %edx, %eax                      /* second word: complement xor page number */
        jne     bad_guest_word
        movl    S_BEATS(%ebx), %ecx
        movl    %ecx, (%edi)
        movl    %ecx, %eax
        notl    %eax
        xorl    %esi, %eax
        movl    %eax, 4(%edi)

        andl    $(PAGE_WORDS - 1), %ecx         /* ecx: word of the pattern to check */
        cmpl    $GUEST_WORDS, %ecx
        jae     1f
        xorl    $(PAGE_WORDS - 1), %ecx
1:      movl    %esi, %eax
        shll    $10, %eax
        addl    %ecx, %eax
        imull   $PATTERN, %eax, %eax
        addl    CONTROL + C_SEED, %eax
        cmpl    (%edi, %ecx, 4), %eax
        jne     bad_pattern_word
next_page:
        movl    CONTROL + C_VCPUS, %eax
        addl    %eax, S_PAGE(%ebx)
        jmp     beat

wrap:
        incl    S_PASSES(%ebx)
        call    first_page
        jmp     beat

/* eax: tick, ecx: tick of the last beat, edx: gap. Increments the counter last, for readers. */
log_gap:
        movl    S_GAPS(%ebx), %edi
        andl    $(GAP_ENTRIES - 1), %edi
        shll    $4, %edi
        leal    S_GAP_LOG(%ebx, %edi), %edi
        movl    %ecx, (%edi)
        movl    %eax, 4(%edi)
        movl    S_BEATS(%ebx), %esi
        movl    %esi, 8(%edi)
        incl    S_GAPS(%ebx)
        cmpl    S_LONGEST(%ebx), %edx
        jbe     count_in_ring
        movl    %edx, S_LONGEST(%ebx)
        movl    %ecx, S_LONGEST_START(%ebx)
        movl    %eax, S_LONGEST_END(%ebx)
        jmp     count_in_ring

next_interval:
        movl    %eax, S_RING_ID(%ebx)
        movl    %eax, %edi
        andl    $(RING_ENTRIES - 1), %edi
        leal    S_RING(%ebx, %edi, 8), %edi
        movl    %edi, S_RING_AT(%ebx)
        movl    $1, 4(%edi)
        movl    %eax, (%edi)
        jmp     visit

bad_guest_word:                                 /* eax seen, edx expected */
        xorl    %ecx, %ecx
        xchgl   %eax, %edx
        jmp     bad_word
bad_pattern_word:                               /* eax expected, ecx word */
        movl    (%edi, %ecx, 4), %edx
bad_word:                                       /* eax expected, edx seen, ecx word, esi page */
        cmpl    $0, S_ERRORS(%ebx)
        jne     1f
        movl    %esi, S_ERROR_PAGE(%ebx)
        movl    %ecx, S_ERROR_WORD(%ebx)
        movl    %edx, S_ERROR_SEEN(%ebx)
        movl    %eax, S_ERROR_EXPECTED(%ebx)
1:      incl    S_ERRORS(%ebx)                  /* last, for readers, as with the gaps */
        jmp     next_page

/* ---- the device ------------------------------------------------------------------------- */

        .macro  configure register
        movl    CONTROL + C_DEVICE, %eax
        addl    \register, %eax
        movw    $0xcf8, %dx
        outl    %eax, %dx
        movw    $0xcfc, %dx
        .endm

/* Assign the device's BAR, make it a bus master, and enable its MSI. */
find_device:
        configure $0x10
        movl    CONTROL + C_DEVICE_BASE, %eax
        outl    %eax, %dx
        configure $0x04
        movl    $0x406, %eax                    /* memory, bus master, no INTx */
        outl    %eax, %dx
        movl    CONTROL + C_DEVICE_BASE, %edi
        movl    (%edi), %eax
        movl    %eax, DEVICE + D_READY
        cmpb    $EDU_MAGIC, %al
        jne     3f
        configure $0x34
        inl     %dx, %eax
        movzbl  %al, %ecx
1:      testl   %ecx, %ecx                      /* ecx: capability */
        jz      3f                              /* no MSI capability */
        configure %ecx
        inl     %dx, %eax
        cmpb    $5, %al
        je      2f
        movzbl  %ah, %ecx
        jmp     1b
2:      movl    %eax, %esi
        addl    $4, %ecx
        configure %ecx
        movl    $LAPIC, %eax                    /* to APIC 0, which is this vCPU */
        outl    %eax, %dx
        addl    $4, %ecx
        configure %ecx
        xorl    %eax, %eax
        outl    %eax, %dx
        addl    $4, %ecx
        configure %ecx
        movl    $DEVICE_VECTOR, %eax
        outl    %eax, %dx
        subl    $12, %ecx
        configure %ecx
        movl    %esi, %eax
        orl     $0x10000, %eax
        outl    %eax, %dx
        lidtl   (idtr - image + CODE)
        movl    $DEVICE_READY, DEVICE + D_READY
3:      ret

/* Poll the device, then go on with the visit. */
drive_device:
        call    tick
        movl    %eax, %ecx
        subl    DEVICE + D_POLLED, %ecx
        cmpl    CONTROL + C_DEVICE_PACE, %ecx
        jb      polled
        movl    %eax, DEVICE + D_POLLED
        sti                                     /* takes effect after the next instruction */
        nop
        nop
        cli
        movl    CONTROL + C_DEVICE_BASE, %edi
        cmpl    $0, DEVICE + D_STATE
        je      send_number
        movl    DEVICE + D_INTERRUPTS, %ecx
        cmpl    DEVICE + D_AWAITED, %ecx
        jae     interrupted
        subl    DEVICE + D_STARTED, %eax
        cmpl    CONTROL + C_DEVICE_LATE, %eax
        jb      polled
        call    tick
        movl    %eax, DEVICE + D_STARTED
        testl   $EDU_RUN, EDU_COMMAND(%edi)
        jnz     polled
        incl    DEVICE + D_SILENT
        decl    DEVICE + D_AWAITED
        jmp     ended
interrupted:
        testl   $EDU_RUN, EDU_COMMAND(%edi)
        jz      ended
        incl    DEVICE + D_SURPLUS
        incl    DEVICE + D_AWAITED
        jmp     polled
ended:
        movl    $EDU_DMA_ENDED, EDU_ACK(%edi)
        incl    DEVICE + D_OPS
        cmpl    $2, DEVICE + D_STATE
        jne     fetch_number
        movl    DEVICE + D_NUMBER, %eax
        movl    D_IN, %ecx
        cmpl    %eax, %ecx
        je      2f
        cmpl    $0, DEVICE + D_WRONG
        jne     1f
        movl    %ecx, DEVICE + D_SEEN
        movl    %eax, DEVICE + D_EXPECTED
1:      incl    DEVICE + D_WRONG
2:      incl    DEVICE + D_NUMBER
send_number:
        movl    DEVICE + D_NUMBER, %eax
        movl    %eax, D_OUT
        movl    $0, D_IN
        movl    $D_OUT, EDU_SOURCE(%edi)
        movl    $EDU_BUFFER, EDU_TARGET(%edi)
        movl    $1, DEVICE + D_STATE
        movl    $EDU_TO_DEVICE, %ecx
        jmp     start
fetch_number:
        movl    $EDU_BUFFER, EDU_SOURCE(%edi)
        movl    $D_IN, EDU_TARGET(%edi)
        movl    $2, DEVICE + D_STATE
        movl    $EDU_FROM_DEVICE, %ecx
start:
        movl    $PAGE_BYTES, EDU_COUNT(%edi)
        incl    DEVICE + D_AWAITED
        call    tick
        movl    %eax, DEVICE + D_STARTED
        movl    %ecx, EDU_COMMAND(%edi)
polled:
        movl    S_PAGE(%ebx), %esi
        jmp     visit_page

device_interrupt:
        incl    DEVICE + D_INTERRUPTS
        movl    $0, LAPIC_EOI
        iretl

        .balign 8
idt:    .fill   DEVICE_VECTOR, 8, 0
        .word   device_interrupt - image + CODE
        .word   CODE_SELECTOR
        .word   0x8e00                          /* present, 32-bit interrupt gate */
        .word   0
idtr:   .word   8 * (DEVICE_VECTOR + 1) - 1
        .long   idt - image + CODE

/* -> eax: tick. Clobbers edx. */
tick:
        rdtsc
        shrdl   $TICK_SHIFT, %edx, %eax
        ret

/* Restart the walk at this vCPU's first page. Clobbers esi. */
first_page:
        movl    %ebx, %esi
        subl    $SLOTS, %esi
        shrl    $SLOT_SHIFT, %esi
        addl    CONTROL + C_FIRST_PAGE, %esi
        movl    %esi, S_PAGE(%ebx)
        ret

/* esi: page number -> edi: address. Clobbers eax, ecx, edx. */
find_page:
        movl    %esi, %edi
        shll    $12, %edi
        cmpl    CONTROL + C_LOW_PAGES, %esi
        jae     1f
        ret
1:      movl    %esi, %eax
        subl    CONTROL + C_LOW_PAGES, %eax
        addl    $0x100000, %eax                 /* page frame: the rest of RAM starts at 4 GiB */
        movl    %ebx, %edx
        subl    $SLOTS, %edx
        shrl    $SLOT_SHIFT, %edx               /* edx: APIC id, the index of the window */
        movl    %edx, %edi
        shll    $21, %edi
        addl    $WINDOW, %edi                   /* edi: window */
        movl    %eax, %ecx
        shrl    $9, %ecx                        /* ecx: 2 MiB frame */
        cmpl    %ecx, S_WINDOW(%ebx)
        je      2f
        movl    %ecx, S_WINDOW(%ebx)
        pushl   %ecx
        shrl    $11, %ecx
        movl    %ecx, PAGE_DIRECTORIES + (WINDOW >> 21) * 8 + 4(, %edx, 8)
        popl    %ecx
        shll    $21, %ecx
        orl     $PAGE_FLAGS, %ecx
        movl    %ecx, PAGE_DIRECTORIES + (WINDOW >> 21) * 8(, %edx, 8)
        invlpg  (%edi)
2:      andl    $511, %eax
        shll    $12, %eax
        addl    %eax, %edi
        ret
image_end:

        .org    ROM_BYTES - 16
        .code16
        jmp     rom
        .org    ROM_BYTES
