// The parts of glibc that Swift's Glibc module does not export. Header only; nothing here is compiled on its own.
// Headers that Glibc does export are left out: a type that comes from two modules is two types to Swift.
#pragma once
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

long syscall(long number, ...);

// accept4 is declared only under _GNU_SOURCE, which would change other types of Glibc; the system call is the same.
static inline int cepoll_accept(int listener, void *address, unsigned int *length, int flags) {
    return (int)syscall(SYS_accept4, listener, address, length, flags);
}
