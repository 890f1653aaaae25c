#!/bin/sh
# Installs samebundle on Linux from the folder or address where a release is served.
#
#   curl -fsSL ADDRESS/install.sh | sh
#
# Nothing of the release is unpacked or run before its signature is checked with the key below. Settings are variables:
#   PREFIX=DIR             where to install (default: /usr/local for root, else ~/.local)
#   SAME_VERSION=X.Y.Z     another release than the newest
#   SAME_INSTALL_FROM=URL  where the release is served
#   SAME_ENVIRONMENT=NAME  where programs will run; it is explained and written nowhere
# Everything is a function that the last line calls, so that a script that was cut on its way does nothing.

VERSION='@VERSION@'
FROM='@FROM@'
# The Ed25519 key that signs releases (SubjectPublicKeyInfo, base64).
KEY='@KEY@'

say() { printf '%s\n' "$*"; }

fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

architecture() {
    [ "$(uname -s)" = Linux ] || fail "samebundle runs on Linux; this is $(uname -s)"
    case $(uname -m) in
        x86_64 | amd64) say x86_64 ;;
        aarch64 | arm64) say aarch64 ;;
        *) fail "there is no samebundle for $(uname -m); build it from source" ;;
    esac
}

# fetch NAME: a file of the release, into the work folder.
fetch() {
    if have curl; then
        curl -fsSL --retry 2 --connect-timeout 20 -o "$work/$1" "$from/$1" </dev/null
    elif have wget; then
        wget -q -O "$work/$1" "$from/$1" </dev/null
    else
        fail 'neither curl nor wget is there: install one of them'
    fi || fail "could not download $from/$1; nothing was installed. SAME_INSTALL_FROM=URL names another place, SAME_VERSION=X.Y.Z another release"
}

digest() { sha256sum "$1" | cut -d' ' -f1; }

# Checks an Ed25519 signature with Python's standard library, for machines whose openssl is older than 3.
check_with_python() {
    python3 -I -c '
import base64, hashlib, sys
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
def point(data):
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or y >= P or (x == 0 and sign):
        raise ValueError("no point")
    return (P - x if x & 1 != sign else x), y, 1, (P - x if x & 1 != sign else x) * y % P
def add(a, b):
    q, r = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    s, t = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = r - q, t - s, t + s, r + q
    return e * f % P, g * h % P, f * g % P, e * h % P
def times(n, a):
    sum = (0, 1, 1, 0)
    while n:
        sum = add(sum, a) if n & 1 else sum
        a, n = add(a, a), n >> 1
    return sum
key = base64.b64decode(sys.argv[1])[12:]
message, signature = open(sys.argv[2], "rb").read(), open(sys.argv[3], "rb").read()
if len(key) != 32 or len(signature) != 64:
    sys.exit(1)
s = int.from_bytes(signature[32:], "little")
hash = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
base = point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
try:
    left, right = times(s, base), add(point(signature[:32]), times(hash, point(key)))
except ValueError:
    sys.exit(1)
same = (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0
sys.exit(0 if same and s < L else 1)
' "$KEY" "$1" "$2" </dev/null
}

check_with_openssl() {
    printf -- '-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n' "$KEY" >"$work/key.pem"
    openssl pkeyutl -verify -pubin -inkey "$work/key.pem" -rawin -in "$1" -sigfile "$2" >/dev/null 2>&1 </dev/null
}

# check MESSAGE SIGNATURE: whether the key above made the signature.
check() {
    case $(openssl version 2>/dev/null </dev/null) in
        'OpenSSL '[3-9]*) check_with_openssl "$1" "$2" ;;
        *)
            python3 -I -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1 </dev/null ||
                fail 'nothing here can check the signature, and nothing is installed without: install openssl (3 or later) or python3 (3.8 or later)'
            check_with_python "$1" "$2"
            ;;
    esac
}

# The signature is a sigstore bundle on one line, written by samebundle: a DSSE envelope with one statement about the sums.
check_sums() {
    text='[A-Za-z0-9+/=]*'
    form='{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"'$text'"}},'
    form=$form'"dsseEnvelope":{"payload":"\('$text'\)","payloadType":"application/vnd.in-toto+json","signatures":\[{"sig":"\('$text'\)"}\]}}'
    sed -n "s|^$form\$|\\1|p" "$work/SHA256SUMS.sigstore.json" | base64 -d >"$work/payload" 2>/dev/null || : >"$work/payload"
    sed -n "s|^$form\$|\\2|p" "$work/SHA256SUMS.sigstore.json" | base64 -d >"$work/signature" 2>/dev/null || : >"$work/signature"
    [ -s "$work/payload" ] && [ -s "$work/signature" ] ||
        fail "SHA256SUMS.sigstore.json at $from is no signature of a release; nothing was installed"
    length=$(wc -c <"$work/payload" | tr -d ' ')
    {
        printf 'DSSEv1 28 application/vnd.in-toto+json %s ' "$length"
        cat "$work/payload"
    } >"$work/message"
    check "$work/message" "$work/signature" ||
        fail "the release at $from is not signed with the key in this script; nothing was installed"
    signed='{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"SHA256SUMS","digest":{"sha256":"'$(digest "$work/SHA256SUMS")'"}}],"predicateType":"https://slsa.dev/provenance/v1",'
    case $(cat "$work/payload") in
        "$signed"*) ;;
        *) fail "SHA256SUMS at $from is not what was signed; nothing was installed" ;;
    esac
}

# fetch_signed NAME: a file that the signed sums name.
fetch_signed() {
    wanted=$(awk -v name="$1" '$2 == name { print $1 }' "$work/SHA256SUMS")
    [ -n "$wanted" ] || fail "the release at $from has no $1; nothing was installed"
    fetch "$1"
    [ "$(digest "$work/$1")" = "$wanted" ] ||
        fail "$1 from $from was altered or cut on its way; nothing was installed. Try again"
}

# put FOLDER: the unpacked release, to its places; the command last, in one step.
put() {
    mkdir -p "$prefix/bin" && [ -w "$prefix/bin" ] || fail "cannot write to $prefix: set PREFIX to a folder of yours"
    new=$prefix/bin/.samebundle.$$
    cp "$1/bin/samebundle" "$new" && chmod 755 "$new" || fail "could not write $new; nothing was installed"
    "$new" --version >/dev/null 2>&1 </dev/null ||
        fail "the program does not run on this machine; nothing was installed"
    (cd "$1" && find share -type f) | while IFS= read -r file; do
        mkdir -p "$prefix/${file%/*}" && cp "$1/$file" "$prefix/$file.$$" && chmod 644 "$prefix/$file.$$" &&
            mv -f "$prefix/$file.$$" "$prefix/$file" || exit 1
    done || fail "could not write to $prefix/share"
    mv -f "$new" "$prefix/bin/samebundle" || fail "could not write $prefix/bin/samebundle"
    if [ -e "$prefix/bin/same" ] && [ "$(readlink "$prefix/bin/same")" != samebundle ]; then
        say "$prefix/bin/same is another program and stays; use samebundle instead of same"
        same=samebundle
    else
        ln -sf samebundle "$prefix/bin/.same.$$" && mv -f "$prefix/bin/.same.$$" "$prefix/bin/same" ||
            fail "could not write $prefix/bin/same"
    fi
}

explain_environment() {
    case ${SAME_ENVIRONMENT-} in
        '') return ;;
        local) say 'SAME_ENVIRONMENT=local: programs run on this machine, by what works of the built-in driver and Docker. No cluster is needed, and none was installed.' ;;
        embedded | docker) say "SAME_ENVIRONMENT=$SAME_ENVIRONMENT: programs run on this machine, by that driver." ;;
        *)
            say "SAME_ENVIRONMENT=$SAME_ENVIRONMENT is not known to this release, which runs programs with local, embedded or docker."
            return
            ;;
    esac
    say 'It holds for this shell; to keep it, put this line into the profile of your shell:'
    say "    export SAME_ENVIRONMENT=$SAME_ENVIRONMENT"
}

main() {
    set -eu
    umask 022
    version=${SAME_VERSION:-$VERSION}
    version=${version#v}
    from=${SAME_INSTALL_FROM:-$FROM}
    from=${from%/}
    [ -n "$from" ] || fail 'say where the release is served: SAME_INSTALL_FROM=URL'
    # Beside this script is its own release; others are in folders of their versions.
    [ "$version" = "$VERSION" ] || from=$from/$version
    if [ "$(id -u)" = 0 ]; then prefix=${PREFIX:-/usr/local}; else prefix=${PREFIX:-${HOME:?}/.local}; fi
    for tool in sha256sum base64 tar gzip sed awk mktemp; do
        have "$tool" || fail "$tool is not there: install it"
    done
    name=samebundle-$version-$(architecture)
    work=$(mktemp -d)
    new=
    trap 'rm -rf "$work" ${new:+"$new"}' EXIT
    trap 'exit 130' INT HUP TERM

    fetch SHA256SUMS
    fetch SHA256SUMS.sigstore.json
    check_sums
    fetch_signed "$name.tar.gz"
    tar -xzf "$work/$name.tar.gz" -C "$work" </dev/null || fail "could not unpack $name.tar.gz; nothing was installed"

    same=same
    before=$("$prefix/bin/samebundle" --version 2>/dev/null </dev/null) || before=
    put "$work/$name"
    say "installed samebundle $version as $prefix/bin/$same${before:+ (before: $before)}; its signature was checked"
    explain_environment
    case :$PATH: in
        *:"$prefix/bin":*) ;;
        *)
            say "$prefix/bin is not in your PATH:"
            say "    export PATH=\"$prefix/bin:\$PATH\""
            ;;
    esac
    say "next: $same doctor                            what works on this machine"
    say "      $same create program -f REGISTRY/REPOSITORY:TAG"
    say "      $same run program NAME"
}

main "$@"
