# Functions of the checks on the board; each script reads it first.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin DEBIAN_FRONTEND=noninteractive
packages=$PWD/$1
failed=0

# check NAME COMMAND...   a line for it; its output, if it fails
check() {
  name=$1
  shift
  if output=$("$@" 2>&1); then
    echo "ok - $name"
  else
    echo "not ok - $name: status $?"
    echo "$output" | sed 's/^/# /'
    failed=1
  fi
}

# says TEXT COMMAND...   whether the output has this text
says() {
  text=$1
  shift
  output=$("$@" 2>&1) || true
  echo "$output"
  case $output in *"$text"*) ;; *) return 1 ;; esac
}

not() { ! "$@"; }

as() { # as USER COMMAND...
  user=$1
  shift
  setpriv --reuid "$user" --regid "$user" --init-groups --reset-env -- "$@"
}

# own COMMAND...   as pi, in the session that lingers
own() { as pi env "XDG_RUNTIME_DIR=/run/user/$(id -u pi)" "$@"; }

# The process of an applet; empty if it does not run.
process() { swiftlet inspect --json "$1" | sed -n 's/.*"pid":\([0-9]*\).*/\1/p'; }

is_running() { [ -n "$(process "$1")" ]; }

# soon COMMAND...   whether it succeeds within some seconds
soon() {
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    if "$@"; then return; fi
    sleep 1
  done
  return 1
}

restarts() { swiftlet inspect --json "$1" | sed -n 's/.*"restarts":\([0-9]*\).*/\1/p'; }

finish() {
  [ "$failed" = 0 ] || journalctl -b -u swiftlet.service -u swiftlet.socket --no-pager -o cat | tail -n 30 | sed 's/^/# /'
  exit $failed
}
