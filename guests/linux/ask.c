// usage: ask PORT WORD...
//        ask SOCKET WORD...
//
// Writes the words as one line to the virtio port with this name and prints the line that comes back. In a Linux guest it calls
// the program at the other end of the port: a secure peer, with "swiftlet run --linux ... --with-secure APPLET.elf", or a program
// on the host, with --port. On the host, with a path in place of the name, it calls a program in the guest.
// An ordinary Linux program; the port's driver, virtio_console, is in every Debian kernel.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int open_socket(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int port = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (port >= 0 && connect(port, (struct sockaddr *)&address, sizeof address) == 0) return port;
    fprintf(stderr, "ask: %s: %s\n", path, strerror(errno));
    return -1;
}

// Opens a port by its name; /dev/virtio-ports has a link made by udev or boards/guest-init.
static int open_port(const char *name) {
    if (strchr(name, '/')) return open_socket(name);
    char path[128];
    snprintf(path, sizeof path, "/dev/virtio-ports/%s", name);
    int port = open(path, O_RDWR | O_CLOEXEC);
    if (port < 0) return fprintf(stderr, "ask: %s: %s\n", path, strerror(errno)), -1;
      // If the other end is not connected, a write would block.
    struct pollfd end = {.fd = port};
    if (poll(&end, 1, 0) > 0 && end.revents & POLLHUP) return fprintf(stderr, "ask: %s: the other end is not connected\n", name), -1;
    return port;
}

int main(int count, char **words) {
    if (count < 3) return fprintf(stderr, "usage: ask PORT|SOCKET WORD...\n"), 2;
    int port = open_port(words[1]);
    if (port < 0) return 1;
    char line[512];
    size_t length = 0;
    for (int index = 2; index < count; index++) {
        int room = (int)(sizeof line - length);
        int added = snprintf(line + length, room, "%s%c", words[index], index + 1 < count ? ' ' : '\n');
        if (added >= room) return fprintf(stderr, "ask: the words are longer than a line of 511 bytes\n"), 2;
        length += added;
    }
    if (write(port, line, length) != (ssize_t)length) return perror("ask: write"), 1;
    for (;;) {
        ssize_t got = read(port, line, sizeof line);
        if (got < 0) return perror("ask: read"), 1;
        if (got == 0) return fprintf(stderr, "ask: the other side has ended\n"), 1;
        if (write(1, line, got) != got) return 1;
        if (line[got - 1] == '\n') return 0;
    }
}
