"""The initial file system of an emulated board, in the format the kernel reads (cpio "newc", uncompressed).

The kernel unpacks several archives in sequence, so a run adds a small archive after a large one.
Run as a program it writes the large one: initramfs.py OUTPUT INIT BUSYBOX MODULES [PROGRAM]...
"""

import os
import re
import stat
import sys


class Archive:
    """Entries are added with absolute paths, parents first; bytes() is a complete archive of those so far."""

    def __init__(self):
        self.parts = []
        self.count = 0

    def add(self, path, mode, content=b"", device=(0, 0)):
        name = path.lstrip("/").encode() + b"\0"
        self.count += 1
        fields = (self.count, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        self.parts += [head, b"\0" * (-len(head) % 4), content, b"\0" * (-len(content) % 4)]

    def add_folder(self, path, permissions=0o755):
        self.add(path, stat.S_IFDIR | permissions)

    def add_file(self, path, content, permissions=0o644):
        self.add(path, stat.S_IFREG | permissions, content)

    def add_link(self, path, target):
        self.add(path, stat.S_IFLNK | 0o777, os.fsencode(target))

    def add_copy(self, path, source):
        """Adds a file, link or directory of this machine, with its permissions and contents."""
        mode = os.lstat(source).st_mode
        if stat.S_ISLNK(mode) and not os.path.exists(source):
            self.add_link(path, os.readlink(source))
        elif os.path.isdir(source):
            self.add_folder(path, stat.S_IMODE(os.stat(source).st_mode))
            for name in sorted(os.listdir(source)):
                inner = os.path.join(source, name)
                if os.path.islink(inner):
                    self.add_link(f"{path}/{name}", os.readlink(inner))
                else:
                    self.add_copy(f"{path}/{name}", inner)
        else:
            with open(source, "rb") as file:
                self.add_file(path, file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode))

    def bytes(self):
        end = Archive()
        end.add("TRAILER!!!", 0)
        whole = b"".join(self.parts + end.parts)
        return whole + b"\0" * (-len(whole) % 512)


def busybox_applets(busybox):
    """The applets of a static busybox, from the list in the file, since it cannot be executed on this machine."""
    found = re.search(rb"\[\0\[\[\0(?:[a-z0-9_.-]+\0)+", busybox)
    names = found.group().decode().split("\0")[:-1] if found else []
    if "sh" not in names or "uname" not in names:
        sys.exit("initramfs.py: this busybox has no list of its applets")
    return names


def main(output, init, busybox, modules, *programs):
    archive = Archive()
    for path in "bin dev etc lib lib/modules proc root run sys tmp var".split():
        archive.add_folder(path)
    # The kernel opens the console before init can mount a file system.
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add_copy("init", init)
    archive.add_copy("bin/busybox", busybox)
    with open(busybox, "rb") as file:
        for name in busybox_applets(file.read()):
            if name != "busybox":
                archive.add_link(f"bin/{name}", "busybox")
    for name in sorted(os.listdir(modules)):
        archive.add_copy(f"lib/modules/{name}", os.path.join(modules, name))
    for program in programs:
        archive.add_copy("bin/" + os.path.basename(program), program)
    archive.add_file("etc/passwd", b"root::0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    archive.add_file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    archive.add_file("etc/hosts", b"127.0.0.1 localhost\n")
    with open(output, "wb") as file:
        file.write(archive.bytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
