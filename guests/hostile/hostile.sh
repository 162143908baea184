# Runs hostile guests on a board, in the directory of the applets: sh hostile.sh ROUNDS SECONDS DAEMON-SECONDS FLOOD….
# For each kind it prints a line:
#   KIND: RUNS runs, CALLS calls, ENDED ended by themselves, STOPPED stopped, ODD odd
# "odd" is an exit status that swiftlet does not have for such a guest, also death by a signal; its messages follow. A run
# that was stopped must print why, because 133 is a reset and also the shell's status of a Swift trap on arm64.
# ../files/code-N are programs of random instructions, if there are any.
# Then come guests that keep the monitor as busy as they can for SECONDS each, one for each FLOOD (output, rpc, hoard,
# random). The memory of the process must not grow, and another applet must make progress. The same is done under a daemon
# for DAEMON-SECONDS, with one guest of each kind at once. It prints the daemon's memory, the size of its files, the number of
# lines in its log, and how long the calls of another applet take alone and at the same time.

rounds=$1 seconds=$2 daemon_seconds=$3
shift 3
floods=$*

# KIND NUMBER-OF-CALLS-OR-WRITES COMMAND…: runs it once a round with the round's number in place of SEED.
try() {
  kind=$1 calls=0 count=$2 ended=0 stopped=0 odd=0 runs=0
  shift 2
  for seed in $(seq 1 "$rounds"); do
    words=
    for word; do words="$words $(echo "$word" | sed "s/SEED/$seed/")"; done
    # shellcheck disable=SC2086
    timeout 30 swiftlet run $words </dev/null >/tmp/hostile-output 2>/tmp/hostile-errors
    status=$?
    runs=$((runs + 1))
    made=$(grep -ac '^calls: \|^writes: ' /tmp/hostile-output)
    [ "$made" = 0 ] || calls=$((calls + count))
    case $status in
      133) reason='^swiftlet: [^:]*: requested a reset$' ;;
      121 | 123 | 124) reason='^swiftlet: [^:]*: ' ;;
      *) reason= ;;
    esac
    if [ $status -lt 120 ]; then
      ended=$((ended + 1))
    elif [ -n "$reason" ] && grep -aq "$reason" /tmp/hostile-errors; then
      stopped=$((stopped + 1))
    else
      odd=$((odd + 1)) && echo "seed $seed: $status" && head -n 3 /tmp/hostile-errors
    fi
  done
  echo "$kind: $runs runs, $calls calls, $ended ended, $stopped stopped, $odd odd"
}

try calls 2000 --timeout 10s hostile-calls.elf SEED 2000
try "calls in lockstep" 200 --timeout 10s --shadows 2 hostile-calls.elf SEED 200
try writes 20000 --timeout 2s hostile-memory.elf SEED 20000
try "own code" 0 --timeout 2s hostile-code.elf SEED
try "racing calls" 500 --timeout 10s --non-secure --cpus 3 system-race.elf SEED 500
try "calls and writes in system mode" 500 --timeout 5s --non-secure system-hostile.elf SEED 500
[ ! -e ../files/code-1 ] || try "random code" 0 --timeout 100ms ../files/code-SEED
[ ! -e ../files/code-1 ] || try "random code in system mode" 0 --timeout 100ms --non-secure ../files/code-SEED

truncate -s 16M /tmp/hostile-disk
try "drivers of Linux guests" 200 --timeout 20s --linux hostile-driver.bin --memory 64M --cpus 2 --disk /tmp/hostile-disk \
  --port p=/tmp/hostile-port --append seed=SEED,rounds=200

resident() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status"; }

# KIND: how the process's memory grows between two moments, in KiB, and how a neighbour that starts between them ends.
flood() {
  swiftlet run --timeout "$((seconds + 6))s" hostile-flood.elf "$1" >/dev/null 2>&1 &
  pid=$!
  sleep 1
  before=$(resident $pid)
  swiftlet run --timeout 20s hello.elf >/dev/null
  neighbour=$?
  sleep "$seconds"
  after=$(resident $pid)
  wait $pid
  status=$?
  [ -n "$after" ] || echo "$1: it has ended too early"
  echo "$1 for $seconds s: $before KiB, grown by $((after - before)) KiB, ended with $status, its neighbour with $neighbour"
}
for kind in $floods; do flood $kind; done

# Milliseconds that a guest's calls take.
work() {
  start=$(cut -d' ' -f1 /proc/uptime | tr -d .)
  swiftlet run call-loop-n.elf 1000 >/dev/null
  echo $((($(cut -d' ' -f1 /proc/uptime | tr -d .) - start) * 10))
}

# The same for all kinds at once, as applets of a daemon.
daemon_floods() {
  export SWIFTLET_SOCKET=/run/hostile.socket
  swiftlet daemon --socket $SWIFTLET_SOCKET --state /run/hostile 2>/tmp/hostile-log &
  daemon=$!
  until swiftlet metrics >/dev/null 2>&1; do usleep 20000; done
  alone=$(work)
  kinds="output rpc hoard random log values"
  for kind in $kinds; do swiftlet start --name $kind hostile-flood.elf $kind >/dev/null; done
  sleep 2
  for name in $kinds daemon; do
    pid=$daemon
    [ $name = daemon ] || pid=$(swiftlet inspect $name | sed -n 's/^pid  *//p')
    eval "pid_$name=$pid before_$name=$(resident "$pid")"
  done
  swiftlet start --name neighbour hello.elf >/dev/null && swiftlet wait neighbour
  neighbour=$?
  beside=$(work) most=0
  for second in $(seq "$daemon_seconds"); do
    sleep 1
    size=$(du -sk /run/hostile | cut -f1)
    [ "$size" -le "$most" ] || most=$size
  done
  # One processor for all of them, and the monitor's part of each: several times its share is far from starving.
  [ "$beside" -le $((alone * 40 + 2000)) ] || echo "the neighbour starves"
  echo "a neighbour's calls: $alone ms alone, $beside ms beside them"
  for name in $kinds daemon; do
    eval "pid=\$pid_$name before=\$before_$name"
    after=$(resident "$pid")
    [ -n "$after" ] || echo "$name: it has ended too early"
    echo "$name under the daemon for $daemon_seconds s: $before KiB, grown by $((after - before)) KiB"
  done
  echo "files of all: $most KiB at most, the daemon's log: $(wc -l </tmp/hostile-log) lines"
  stopped=0
  for kind in $kinds; do
    swiftlet stop $kind
    swiftlet wait $kind 2>/dev/null
    [ $? != 125 ] || stopped=$((stopped + 1))
  done
  kill $daemon
  wait $daemon
  echo "$stopped of them stopped, the daemon ended with $?, a neighbour with $neighbour"
}
daemon_floods

# The host still works after all this.
swiftlet run hello.elf | head -n 1
