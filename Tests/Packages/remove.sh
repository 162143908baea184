# After a power failure: applets, an upgrade, removal.
. ./check.sh
check "the daemon starts after a power failure" systemctl is-active swiftlet.service
for name in kept cut; do check "the restart policy of $name decides" soon is_running $name; done
check "what was stopped stays stopped" not is_running stopped

check "the declared applet runs" soon is_running declared
before="$(process kept) $(restarts kept) $(process declared)" daemon=$(systemctl show -P MainPID swiftlet.service)
started=$(systemctl show -P ActiveEnterTimestampMonotonic swiftlet.service)
check "apt upgrades it" apt-get install -y "$packages/second.deb"
check "the daemon was reloaded, not restarted" test "$daemon $started" = \
  "$(systemctl show -P MainPID swiftlet.service) $(systemctl show -P ActiveEnterTimestampMonotonic swiftlet.service)"
check "the daemon executes the new program" soon test "/proc/$daemon/exe" -ef /usr/bin/swiftlet
check "applets are still the same processes" test "$before" = "$(process kept) $(restarts kept) $(process declared)"
check "the daemon is active" systemctl is-active swiftlet.service
check "a service that was disabled stays disabled with an upgrade" sh -c \
  "systemctl disable -q swiftlet.service && dpkg -i $packages/second.deb && ! systemctl is-enabled swiftlet.service"

rm /etc/swiftlet/applets.d/declared.json
check "a file that is taken away ends its applet at the next reload" sh -c 'systemctl reload swiftlet.service'
check "which is gone then" soon not swiftlet inspect declared
check "the others were never restarted" test "${before% *}" = "$(process kept) $(restarts kept)"

check "the socket for metrics is started" systemctl start swiftlet-metrics.socket
check "apt removes it" apt-get remove -y swiftlet
check "the daemon and its applets have ended" not pgrep '^(swiftlet|sw-)'
check "nothing listens for metrics" not systemctl is-active swiftlet-metrics.socket
check "the units are gone" says "could not be found" systemctl status swiftlet.service
check "the applets' files remain" test -d /var/lib/swiftlet/applets/kept
check "apt purges it" apt-get purge -y swiftlet
check "nothing remains" not says swiftlet sh -c "find / -xdev -name '*swiftlet*' -not -path '/run/*'; find /run -maxdepth 1 \
  -name '*swiftlet*'; grep -h swiftlet /etc/passwd /etc/group /etc/shadow /etc/gshadow; systemctl list-unit-files | grep swiftlet"
check "it can be installed again" apt-get install -y "$packages/first.deb"
check "and runs" systemctl is-active swiftlet.service
finish
