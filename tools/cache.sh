# shellcheck shell=bash
# Sourced by the scripts in tools/ and boards/: messages, and the cache of everything that is built or downloaded once. The
# cache can be removed at any time; the next run then downloads for about a minute.

swiftlet_cache=${SWIFTLET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/swiftlet}

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
fail() { say "$*"; exit 1; }

# Prints the comment block at the head of the calling script: its --help.
print_help() { awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0"; }

# Ends with a message unless $1 is one of the two architectures.
check_architecture() {
  case ${1-} in
    arm64 | riscv64) ;;
    *) fail "architecture \"${1-}\" is neither arm64 nor riscv64 (see --help)" ;;
  esac
}

# The architecture's names elsewhere.
gnu_triple() { case $1 in arm64) echo aarch64-linux-gnu ;; riscv64) echo riscv64-linux-gnu ;; esac; }
swift_triple() { case $1 in arm64) echo aarch64-none-none-elf ;; riscv64) echo riscv64-none-none-eabi ;; esac; }

# A short digest of files and words: the key of an entry changes with the recipe that makes it.
# recipe_key WORD...   a word that is the path of a file, with a "/", stands for the contents of the file
recipe_key() {
  local word
  for word in "$@"; do
    case $word in */*) if [ -f "$word" ]; then cat "$word"; continue; fi ;; esac
    printf '%s\n' "$word"
  done | sha256sum | cut -c1-12
}

# Prints the path of the cache entry NAME-KEY. If it is missing, "COMMAND... DIRECTORY" fills an empty directory first.
# COMMAND is a program, not a function: "set -e" would be off in a function called from here.
# The directory is renamed into place when it is complete, under a lock: parallel callers wait, an interrupted one leaves
# no incomplete entry.
# With SWIFTLET_CACHE_ONLY set it makes nothing, and fails if the entry is missing.
# cached NAME KEY COMMAND...
cached() {
  local name=$1 entry=$swiftlet_cache/$1-$2
  shift 2
  if [ ! -d "$entry" ]; then
    [ -z "${SWIFTLET_CACHE_ONLY-}" ] || return 1
    mkdir -p "$swiftlet_cache/locks"
    (
      flock 9
      [ ! -d "$entry" ] || exit 0
      rm -rf "$swiftlet_cache/.making-$name".* # of one that was killed outright
      making=$(mktemp -d "$swiftlet_cache/.making-$name.XXXXXX")
      trap 'rm -rf "$making"' EXIT
      trap 'exit 130' INT TERM
      say "making $name (once)"
      "$@" "$making" 9>&- >&2 || exit
      chmod 755 "$making" && mv -T "$making" "$entry"
    ) 9>"$swiftlet_cache/locks/$name" || return 1
  fi
  printf '%s\n' "$entry"
}

# The toolchain's directory with bin/ and lib/swift; "swift" itself may be a proxy (swiftly's is).
toolchain() {
  command -v swift >/dev/null || fail "no \"swift\" on PATH: install a Swift toolchain first (https://swift.org/install)"
  local resources
  resources=$(swift -print-target-info | sed -n 's/.*"runtimeResourcePath" *: *"\(.*\)".*/\1/p')
  dirname "$(dirname "$resources")"
}
