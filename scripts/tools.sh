# Sourced by the scripts that check things: tools that are missing are fetched, once, into a folder that outlives the run.
# Gives `tools` and `work` (the latter is removed at the end), `say`, `check`, `have`, `fetch` and `command_is_there`; counts in
# `failed` and `unchecked`.

tools=${THROUGHLINE_TOOLS:-$HOME/.cache/throughline/tools}
mkdir -p "$tools"
PATH="$tools:$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
SECONDS=0
failed=0
unchecked=()
name_of_script=$(basename "$0" .sh)

say() { echo "$name_of_script: $*" >&2; }

# Runs a check under a name. All of it is shown if it fails, nothing if it does not.
check() {
    local name=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        echo "ok    $name"
    else
        echo "FAIL  $name"
        sed 's/^/      /' "$work/log"
        failed=$((failed + 1))
    fi
}

# Whether a tool is there or could be had; what is not checked for want of it is said now and at the end.
have() {
    local what=$1
    shift
    "$@" && return
    echo "skip  $what"
    unchecked+=("$what")
    return 1
}

# Runs what fetches or builds a tool; all of them together have a quarter of an hour. What it said is shown if it fails.
fetch() {
    local left=$((900 - SECONDS))
    [ "$left" -gt 0 ] && timeout "$left" "$@" >"$work/log" 2>&1 && return
    say "this failed: $*"
    tail -n 20 "$work/log" | sed 's/^/      /' >&2
    return 1
}

# A command, or the Debian package that has it.
command_is_there() {
    local command=$1 package=$2 as_root=()
    command -v "$command" >/dev/null && return
    command -v apt-get >/dev/null || { say "$command is not installed"; return 1; }
    [ "$(id -u)" = 0 ] || as_root=(sudo -n)
    say "installing $command (package $package)"
    fetch "${as_root[@]}" apt-get update -qq &&
        # No server that the package brings is started.
        fetch "${as_root[@]}" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
            apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$package"
}

# The end: 0 all is well; 1 something is wrong; 3 nothing is wrong, but not all could be checked.
conclude() {
    [ ${#unchecked[@]} = 0 ] || printf "$name_of_script: not checked: %s\n" "${unchecked[@]}" >&2
    [ "$failed" = 0 ] || {
        say "$failed checks failed"
        exit 1
    }
    [ ${#unchecked[@]} = 0 ] || exit 3
}
