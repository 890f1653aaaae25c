# Where the set-up scripts keep what they make, and how a thing gets there. Sourced, not run.
#
# Everything lies outside the tree, under $SAMEBUNDLE_CACHE (default: the user's cache folder). A thing is made in a
# folder beside its place and renamed when it is whole, so what can be seen is complete, also after a kill. Its name
# holds the key of what made it, so a changed recipe makes a new thing and never half of an old one.

: "${XDG_CACHE_HOME:=$HOME/.cache}"
CACHE=${SAMEBUNDLE_CACHE:-$XDG_CACHE_HOME/samebundle-tests}
mkdir -p "$CACHE"

# say WORDS: one line of progress, on the error stream.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# key FILE...: sixteen hex digits of the files' content.
key() { cat -- "$@" | sha256sum | cut -c1-16; }

# sudo_run COMMAND...: as root, through sudo where we are not; fails where neither can be had.
sudo_run() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# publish NEW PLACE: put a finished file or folder at its place; if another was faster, keep that one.
publish() {
    if [ -e "$2" ]; then rm -rf "$1"; else mkdir -p "$(dirname "$2")"; mv -T "$1" "$2" 2>/dev/null || rm -rf "$1"; fi
}

# point LINK TARGET: a symbolic link, replaced in one step.
point() {
    mkdir -p "$(dirname "$1")"
    ln -sfn "$2" "$1.$$" && mv -T "$1.$$" "$1"
}

# mirror: the repository that apt on this machine uses for Debian packages; empty elsewhere: mmdebstrap then takes its default.
mirror() {
    grep -qs '^ID=debian' /etc/os-release || return 0
    apt-get indextargets --format '$(ORIGIN) $(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk '$1 == "Debian" && !/security/ { print $3; exit }'
}
