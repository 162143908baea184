// usage: delegate GROUP DIRECTORY PROGRAM [ARGUMENT]...
//
// Starts a program as systemd starts a service with Delegate=: in DIRECTORY, the control group GROUP or one below it,
// which is created. GROUP has systemd's attribute.
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

int main(int count, char **words) {
  if (count < 4) return 122;
  mkdir(words[1], 0755);
  mkdir(words[2], 0755);
  if (setxattr(words[1], "user.delegate", "1", 1, 0) != 0 || chdir(words[2]) != 0) {
    perror("delegate");
    return 123;
  }
  FILE *processes = fopen("cgroup.procs", "w");
  if (!processes || fputs("0", processes) < 0 || fclose(processes) != 0) {
    perror("delegate: cgroup.procs");
    return 123;
  }
  execvp(words[3], words + 3);
  return 127;
}
