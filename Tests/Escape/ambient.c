// usage: ambient PROGRAM [WORD]…
// Runs a program as the user nobody with an ambient capability (capabilities(7)), as systemd's
// AmbientCapabilities= gives it.
#define _GNU_SOURCE
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int count, char **words) {
  if (count < 2) return 2;
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct nice[2] = {{.permitted = 1 << CAP_SYS_NICE, .inheritable = 1 << CAP_SYS_NICE}};
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0 ||
      syscall(SYS_capset, &header, nice) < 0 || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_NICE, 0, 0) < 0) {
    perror("ambient");
    return 1;
  }
  execv(words[1], words + 1);
  perror(words[1]);
  return 1;
}
