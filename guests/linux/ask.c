// usage: ask PORT WORD...
//
// Asks a secure applet, from Linux: writes the words as one line to the virtio port of that name, which
// "swiftlet run --linux ... --with-secure APPLET.elf" puts the applet behind, and prints the line that comes back.
// An ordinary Linux program; the port's driver, virtio_console, is in every kernel of Debian's.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Opens a port by its name; /dev/virtio-ports has it where udev or boards/guest-init made a link.
static int open_port(const char *name) {
    char path[128];
    snprintf(path, sizeof path, "/dev/virtio-ports/%s", name);
    int port = open(path, O_RDWR | O_CLOEXEC);
    if (port < 0) fprintf(stderr, "ask: %s: %s\n", path, strerror(errno));
    return port;
}

int main(int count, char **words) {
    if (count < 3) return fprintf(stderr, "usage: ask PORT WORD...\n"), 2;
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
        if (got == 0) return fprintf(stderr, "ask: the applet has ended\n"), 1;
        if (write(1, line, got) != got) return 1;
        if (line[got - 1] == '\n') return 0;
    }
}
