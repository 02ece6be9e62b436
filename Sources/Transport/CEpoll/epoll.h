// The parts of glibc that Swift's Glibc module does not export. Header only; nothing here is compiled on its own.
// Headers that Glibc does export are left out: a type that comes from two modules is two types to Swift.
#pragma once
#include <malloc.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <linux/stat.h>

long syscall(long number, ...);

// accept4 is declared only under _GNU_SOURCE, which would change other types of Glibc; the system call is the same.
static inline int cepoll_accept(int listener, void *address, unsigned int *length, int flags) {
    return (int)syscall(SYS_accept4, listener, address, length, flags);
}

// When the file of a descriptor was made, in nanoseconds since 1970; 0 where the file system does not keep it.
static inline unsigned long long cepoll_birth(int file) {
    struct statx about;
    const int empty_path = 0x1000;  // AT_EMPTY_PATH, which fcntl.h declares only under _GNU_SOURCE
    if (syscall(SYS_statx, file, "", empty_path, STATX_BTIME, &about) != 0) return 0;
    if (!(about.stx_mask & STATX_BTIME) || about.stx_btime.tv_sec < 0) return 0;
    return (unsigned long long)about.stx_btime.tv_sec * 1000000000ULL + about.stx_btime.tv_nsec;
}
