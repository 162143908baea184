// A board with a system on a disk: its systemd becomes the first process, and has this program as a service that runs the
// command when the system is up. Nothing on the disk knows of it: the unit and the files of the run are in /run.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

#define ROOT "/system"
#define UNITS ROOT "/run/systemd/system"

// After all that is started at boot. An orderly shutdown ends the command.
static const char unit[] =
    "[Unit]\n"
    "Description=The command of boards/run\n"
    "DefaultDependencies=no\n"
    "After=multi-user.target\n"
    "Conflicts=shutdown.target\n"
    "Before=shutdown.target\n"
    "[Service]\n"
    "Environment=HOME=/root LANG=C.UTF-8\n"
    "ExecStart=" SYSTEM_FILES "/init " SERVE "\n"
    "TimeoutStopSec=10\n";

static void write_unit(void) {
    static const char *const directories[] = {ROOT "/run/systemd", UNITS, UNITS "/multi-user.target.wants"};
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) mkdir(directories[i], 0755);
    int file = open(UNITS "/board.service", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (write(file, unit, strlen(unit)) < 0) give_up(UNITS);
    close(file);
    if (symlink("../board.service", UNITS "/multi-user.target.wants/board.service")) give_up(UNITS);
}

noreturn void start_system(const char *disk) {
    const struct timespec rest = {.tv_nsec = 5000000};
    for (int i = 0; access(disk, F_OK) != 0 && i < 2000; i++) nanosleep(&rest, NULL);
    mkdir(ROOT, 0755);
    if (mount(disk, ROOT, "ext4", 0, NULL)) give_up(disk);
    if (mount("tmpfs", ROOT "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")) give_up(ROOT "/run");
    mkdir(ROOT SYSTEM_FILES, 0755);
    // Without what is mounted in it.
    if (mount("/", ROOT SYSTEM_FILES, NULL, MS_BIND, NULL)) give_up(SYSTEM_FILES);
    write_unit();
    if (mount("/dev", ROOT "/dev", NULL, MS_MOVE, NULL)) give_up(ROOT "/dev");
    enter_root(ROOT);
    clearenv();
    execl("/sbin/init", "/sbin/init", NULL);
    give_up("/sbin/init");
}

noreturn void shut_down_system(void) {
    if (fork() == 0) {
        execlp("systemctl", "systemctl", "poweroff", NULL);
        _exit(127);
    }
    for (;;) pause();
}
