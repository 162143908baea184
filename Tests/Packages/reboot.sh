# After an orderly reboot. The board loses its power afterwards.
. ./check.sh
check "the daemon starts at boot" systemctl is-active swiftlet.service
check "the applet with a restart policy runs again" soon is_running kept
check "that does not count as a restart" test "$(restarts kept)" = 0
check "the applet without one does not" not is_running once
check "the declared applet runs again" soon is_running declared
check "a user's daemon and what is declared in it run again" soon own swiftlet inspect mine
check "and an applet with a restart policy" soon own swiftlet inspect own
check "a user ends the daemon" own systemctl --user disable --now swiftlet.service
rm -r ~pi/.config/swiftlet ~pi/.local/state/swiftlet ~pi/swiftlet ~pi/image
check "an applet is started" swiftlet start --name cut --restart on-failure sleep.elf 1000000000
check "and one that is stopped before the power fails" sh -c \
  'swiftlet start --name stopped --restart always sleep.elf 1000000000 && swiftlet stop stopped'
# A power failure later than this finds the files on the disk.
sync
finish
