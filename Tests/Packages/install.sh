# The first boot: the package is installed, and applets are started. The board is shut down afterwards.
. ./check.sh
check "the system has booted" sh -c 'systemctl is-system-running --wait || { systemctl --failed; false; }'
check "apt installs it, and says who may control applets and what the host lacks" \
  says "swiftlet: only root controls applets. For another user: usermod -aG swiftlet USER" apt-get install -y "$packages/first.deb"
check "swiftlet check is content" swiftlet check
check "a second installation names who may control applets" sh -c \
  "usermod -aG swiftlet pi; dpkg -i $packages/first.deb 2>&1 | grep 'control applets (group swiftlet): pi'"
for unit in swiftlet.service swiftlet.socket; do
  check "$unit is enabled" systemctl is-enabled $unit
  check "$unit is active" systemctl is-active $unit
done
check "the socket for metrics is not enabled" not systemctl is-enabled swiftlet-metrics.socket
check "and does not listen" not systemctl is-active swiftlet-metrics.socket
check "its files are as they were packaged" sh -c '! dpkg --verify swiftlet | grep .'
check "units are valid" systemd-analyze verify --man=no swiftlet.service swiftlet.socket \
  swiftlet-metrics.socket swiftlet-metrics@.service
check "a member of the group starts an applet" as pi swiftlet start --name kept --restart always sleep.elf 1000000000
check "and one without a restart policy" as pi swiftlet start --name once sleep.elf 1000000000
check "another user may not" not as mallory swiftlet ps
check "another user may not have the metrics of the control socket" not as mallory swiftlet metrics --prometheus
check "the socket for metrics is started" systemctl start swiftlet-metrics.socket
check "an applet makes calls" swiftlet start --name calls call-loop-n.elf 1000000000000
fetch() { # fetch METHOD PATH   what its server answers to another user
  as mallory bash -c 'exec 3<>/dev/tcp/127.0.0.1/9736 && printf "%s %s HTTP/1.1\r\nHost: board\r\n\r\n" "$@" >&3 && cat <&3' - "$@"
}
check "everybody on the board can have the metrics" says 'swiftlet_applet_state{name="kept",state="running"} 1' fetch GET /metrics
check "with the guest's time" says 'swiftlet_applet_cpu_seconds_total{name="kept",mode="guest"} ' fetch GET /metrics
check "and with times of calls, from the second time on" says 'swiftlet_applet_call_duration_seconds_count{name="calls",call=' fetch GET /metrics
check "there is nothing else" says "HTTP/1.1 404 Not Found" fetch GET /
check "nor another method" says "HTTP/1.1 405 Method Not Allowed" fetch POST /metrics
check "the process is ended that answered" soon sh -c '! systemctl list-units --plain --no-legend "swiftlet-metrics@*" | grep .'
# For promtool on the machine that runs the board.
fetch GET /metrics | tr -d '\r' | sed '1,/^$/d; s/^/@http /'
as pi swiftlet metrics --prometheus | sed 's/^/@metrics /'
swiftlet rm -f calls
check "applets have their name in ps" says "sw-kept" ps -C sw-kept -o comm=
check "and in the arguments of their process" says "swiftlet worker kept" ps -C sw-kept -o args=
check "entries of the journal have the applet's name" says "running name=once" \
  journalctl --no-pager -o cat SWIFTLET_APPLET=once SWIFTLET_EVENT=running PRIORITY=6
check "and no others" not says "kept" journalctl --no-pager -o cat SWIFTLET_APPLET=once
check "applets run as a user of their own" test "$(stat -c %U "/proc/$(process kept)")" = swiftlet
check "a command runs an applet without the daemon" says "hello from Swift" swiftlet run hello.elf
check "an applet is started again" sh -c 'swiftlet start --name greeting hello.elf && swiftlet wait greeting && swiftlet restart greeting'
check "the last line of its output has a time" sh -c \
  "swiftlet wait greeting; swiftlet logs --tail 1 -t greeting | grep '^20..-..-..T.* random: ' && test \$(swiftlet logs greeting | wc -l) -ge 3"
check "ps shows what is asked for" test "$(swiftlet ps -q --filter state=exited --filter 'name=greet*')" = greeting
check "stats shows what applets use" says "kept" swiftlet stats
check "prune removes what has ended" says "greeting" swiftlet prune
group=/sys/fs/cgroup/system.slice/swiftlet.service/applet-kept
check "a limit is set while an applet runs" as pi swiftlet update --process-memory 64M kept
check "which is that of its control group" test "$(cat $group/memory.max)" = 67108864
check "bash completes names of applets" test "$(as pi bash -c '. /usr/share/bash-completion/completions/swiftlet
  COMP_WORDS=(swiftlet restart ke) COMP_CWORD=2; _swiftlet; echo "${COMPREPLY[@]}"')" = kept
check "there is a directory for declared applets" test -d /etc/swiftlet/applets.d
install -D -m 644 sleep.elf /usr/local/lib/applets/sleep.elf
echo '{ "image": "/usr/local/lib/applets/sleep.elf", "arguments": ["1000000000"] }' >/etc/swiftlet/applets.d/declared.json
check "a reload starts a declared applet" sh -c 'systemctl reload swiftlet.service'
check "which runs then" soon is_running declared
check "no user has a daemon without asking for it" not systemctl --global is-enabled swiftlet.service

mkdir files
cp sleep.elf files
echo '{ "image": "sleep.elf", "arguments": ["1000000000"] }' | tee files/camera.json >files/clock.json
check "apply says what it would do" says "started camera (dry run)" swiftlet apply --dry-run files
check "and has not done it" not swiftlet inspect camera
check "it does so" says "started camera" swiftlet apply files
rm files/clock.json
check "with --prune it removes what has no file" says "removed clock" swiftlet apply --prune files
check "and nothing else" sh -c '! swiftlet inspect clock && test "$(swiftlet ps -q --filter name=[cd]* --filter state=running | sort | paste -sd " ")" = "camera declared"'

usermod -aG kvm pi
loginctl enable-linger pi
install -D -m 644 /etc/swiftlet/applets.d/declared.json ~pi/.config/swiftlet/applets.d/mine.json
chown -R pi: ~pi/.config
check "a user starts a daemon, and at boot" soon own systemctl --user enable --now swiftlet.service
check "with an applet that the user has declared" soon own swiftlet inspect mine
check "and an applet in it, without options" own swiftlet start --name own --restart always /usr/local/lib/applets/sleep.elf 1000000000
check "which the system's daemon does not have" not swiftlet inspect own

# What docs/declared.md shows for containers, by a user who is not root. The image has nothing but empty directories.
mkdir -p ~pi/image/bin
cp /usr/bin/swiftlet hello.elf ~pi
cp -R files ~pi/applets
chown -R pi: ~pi
cp -a --update=none container/. /
chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap
contain() {
  own podman --storage-driver vfs run --rm --network none --device /dev/kvm --group-add keep-groups -v ~pi/swiftlet:/bin/swiftlet:ro \
    -v ~pi/hello.elf:/hello.elf:ro -v ~pi/applets:/etc/swiftlet/applets.d:ro --rootfs ~pi/image "$@"
}
check "an applet runs in a container that has /dev/kvm" says "hello from Swift" contain swiftlet run --require-sandbox /hello.elf
check "swiftlet check says what it lacks: control groups" test "$(contain swiftlet check | sed -n 's/  *no  .*//p')" = "control groups"
contain swiftlet daemon >daemon.log 2>&1 &
check "a daemon in a container runs what is declared" soon grep camera daemon.log
check "it ends with its container" own podman --storage-driver vfs stop --all
finish
