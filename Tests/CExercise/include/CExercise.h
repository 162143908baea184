// Counters of the process for the exerciser: allocations, descriptors, threads, mappings.
#ifndef SWIFTLET_CEXERCISE_H
#define SWIFTLET_CEXERCISE_H

/// Number of calls of malloc and related functions by this thread.
long exercise_allocations(void);
/// Number of open descriptors.
long exercise_descriptors(void);
/// Number of threads.
long exercise_threads(void);
/// Number of mapped run pages of vCPUs.
long exercise_run_pages(void);
/// KiB that are mapped without reservation, as guest memory is.
long exercise_guest_memory(void);
/// Makes a descriptor nonblocking; fcntl(2) is variadic.
int exercise_nonblocking(int descriptor);

#endif
