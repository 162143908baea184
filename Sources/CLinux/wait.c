#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CLinux.h"

long linux_wait_attending(int fd, int event, int other, int64_t nanoseconds) {
  struct pollfd wanted[3] = {
      {.fd = fd, .events = POLLIN}, {.fd = event, .events = POLLIN}, {.fd = other, .events = POLLIN}};
  struct timespec limit = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
  if (ppoll(wanted, 3, nanoseconds < 0 ? NULL : &limit, NULL) < 0) return -(long)errno;
  eventfd_t count;
  if (wanted[1].revents) eventfd_read(event, &count);
  return wanted[0].revents != 0;
}

void linux_wait_writable(int fd) {
  struct pollfd wanted = {.fd = fd, .events = POLLOUT};
  ppoll(&wanted, 1, NULL, NULL);
}
