#!/usr/bin/env python3
"""usage: boards/system_disk.py ARCH DIRECTORY

Makes DIRECTORY/disk, the disk of a board with a system, of the packages of the newest release that serves the architecture.
boards/assets keeps it in the cache. The packages are unpacked here and configured on the board, which needs neither root nor
binfmt_misc.
"""

import os
import shutil
import subprocess
import sys

import boards
import initramfs
import link
import system

# All essential packages, and what a board that is administered with systemctl and apt has. No compiler, no network.
PACKAGES = ["?essential", "apt", "systemd-sysv", "systemd", "dbus", "dbus-user-session", "libpam-systemd", "udev", "kmod",
            "login", "passwd", "mount", "procps", "less"]
SUITES = "trixie forky sid"
SIZE = "2G"

# What makes a system of the unpacked packages, in the root of the disk. Packages are unpacked again: those that were unpacked
# on another machine belong to its user, and dpkg does not know of them. Users: pi, with the user ID 1000, and mallory.
CONFIGURE = """\
set -e
export PATH=/usr/sbin:/usr/bin DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C
cp /usr/share/base-passwd/passwd.master /etc/passwd
cp /usr/share/base-passwd/group.master /etc/group
ln -sf mawk /usr/bin/awk
echo 'force-unsafe-io' >/etc/dpkg/dpkg.cfg.d/board
printf 'path-exclude=/usr/share/%s/*\\n' doc info locale man >>/etc/dpkg/dpkg.cfg.d/board
dpkg --force-depends --unpack /var/cache/apt/archives/*.deb
dpkg --configure -a
rm -rf /etc/dpkg/dpkg.cfg.d/board /var/cache/apt/archives/*.deb
echo board >/etc/hostname
echo '127.0.0.1 localhost board' >/etc/hosts
echo '/dev/vda / ext4 defaults 0 0' >/etc/fstab
: >/etc/apt/sources.list
useradd --create-home --shell /bin/bash --uid 1000 pi
useradd --create-home --shell /bin/bash mallory
passwd -d root
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
mkdir -p /var/log/journal
systemd-machine-id-setup
"""

# The board's part: busybox's.
INSTALL = """\
set -e
mkdir /mnt
mount -t ext4 /dev/vda /mnt
chown -R 0:0 /mnt
for i in dev proc sys; do mount --bind /$i /mnt/$i; done
chroot /mnt /bin/sh /root/configure >&2
rm /mnt/root/configure
umount /mnt/dev /mnt/proc /mnt/sys /mnt
"""


def unpack(architecture, directory, root):
    """Unpacks the packages, and puts them in apt's cache."""
    archives = os.path.join(root, "var/cache/apt/archives")
    os.makedirs(archives)
    subprocess.run([os.path.join(boards.REPOSITORY, "tools/fetch-debs"), "--with-dependencies", architecture, SUITES, archives,
                    *PACKAGES], check=True)
    names = sorted(name for name in os.listdir(archives) if name.endswith(".deb"))
    # base-files has the links /bin and /lib.
    for name in sorted(names, key=lambda name: not name.startswith("base-files_")):
        subprocess.run(["dpkg-deb", "-x", os.path.join(archives, name), root], check=True)
    with open(os.path.join(root, "root/configure"), "w", encoding="utf-8") as file:
        file.write(CONFIGURE)


def make(architecture, directory):
    root, disk = os.path.join(directory, ".root"), os.path.join(directory, "disk")
    unpack(architecture, directory, root)
    # Features that an older e2fsck or kernel lacks are of no use here.
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, "-L", "root", disk, SIZE], check=True)
    shutil.rmtree(root)
    board = system.SystemBoard(boards.find(architecture))
    board.prepare = super(system.SystemBoard, board).prepare
    board.use(disk, is_kept=True)
    board.settings = ""
    archive = initramfs.Archive()
    archive.add_file("install", INSTALL.encode())
    archive.add_file("board.command", b"\0sh\0/install\0")
    machine = link.Machine(board, 2, "2G", archive.bytes())
    try:
        status = link.Conversation(machine.connection, False).run()
    finally:
        machine.end()
    if status:
        sys.exit(f"system.py: the system could not be configured: status {status}")


if __name__ == "__main__":
    make(*sys.argv[1:])
