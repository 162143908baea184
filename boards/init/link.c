// The port to the host: frames and errors.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

int port = -1;
struct frame frame;

void open_port(void) {
    const struct timespec rest = {.tv_nsec = 5000000}, short_rest = {.tv_nsec = 1000000};
    for (int i = 0; (port = open("/dev/vport0p1", O_RDWR | O_CLOEXEC)) < 0; i++) {
        if (i == 2000) give_up("/dev/vport0p1");
        nanosleep(&rest, NULL);
    }
    // POLLHUP is set until the kernel has been notified that the host's side is open.
    for (struct pollfd host = {.fd = port}; poll(&host, 1, 0), host.revents & POLLHUP;) nanosleep(&short_rest, NULL);
}

void send_frame(char type, const void *payload, uint32_t length) {
    static unsigned char whole[5 + FRAME];
    whole[0] = type;
    memcpy(whole + 1, &length, 4);  // both architectures are little-endian
    memcpy(whole + 5, payload, length);
    for (size_t sent = 0; sent < 5 + (size_t)length;) {
        ssize_t n = write(port, whole + sent, 5 + length - sent);
        if (n > 0)
            sent += n;
        else if (errno != EINTR)
            reboot(RB_POWER_OFF);
    }
}

// Bytes of the port that read_frame has not consumed.
static struct {
    unsigned char bytes[FRAME];
    size_t first, last;
} buffer;

int more_is_buffered(void) { return buffer.first < buffer.last; }

static void read_port(void *to, size_t length) {
    while (length > 0) {
        if (!more_is_buffered()) {
            ssize_t n = read(port, buffer.bytes, sizeof buffer.bytes);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) reboot(RB_POWER_OFF);  // the host is gone
            buffer.first = 0, buffer.last = n;
        }
        size_t n = buffer.last - buffer.first < length ? buffer.last - buffer.first : length;
        memcpy(to, buffer.bytes + buffer.first, n);
        to = (char *)to + n, buffer.first += n, length -= n;
    }
}

void read_frame(void) {
    do read_port(&frame.type, 1);
    while (frame.type == 0);
    read_port(&frame.length, 4);
    if (frame.length > FRAME) reboot(RB_POWER_OFF);  // no frame of boards/run
    read_port(frame.bytes, frame.length);
    if (frame.type == 'k') end_run();
}

noreturn void give_up(const char *what) {
    char text[256];
    int length = snprintf(text, sizeof text, "%s: %s", what, strerror(errno));
    fprintf(stderr, "init: %s\n", text);
    // Without the port, boards/run sees the end of the board, and shows its console.
    if (port < 0) reboot(RB_POWER_OFF);
    send_frame('f', text, length);
    for (;;) read_frame();  // until boards/run ends the board, or the run
}
