// What the exerciser counts of its own process: allocations, descriptors, threads, mappings.
#ifndef SWIFTLET_CEXERCISE_H
#define SWIFTLET_CEXERCISE_H

/// Calls of malloc and its kin that this thread has made so far.
long exercise_allocations(void);
/// Open descriptors.
long exercise_descriptors(void);
/// Threads.
long exercise_threads(void);
/// Mapped run pages of vCPUs.
long exercise_run_pages(void);
/// KiB mapped without reservation, as guest memory is.
long exercise_guest_memory(void);
/// Makes reads and writes of a descriptor answer EAGAIN where they would wait; fcntl(2) is variadic.
int exercise_nonblocking(int descriptor);

#endif
