#!/usr/bin/env bash
# Host setup: installs the dependencies of pausebench that are missing, and changes nothing else.
#
#   runners/setup.sh            install what is missing; prints nothing when nothing is
#   runners/setup.sh --check    print what is missing and change nothing; exit 1 if anything is
#
# Exit status 0: nothing is missing. 1: a step failed. 2: invalid arguments.
# 4: this host cannot be set up automatically; the message lists what to install by hand.
#
# PAUSEBENCH_OS_RELEASE is a file to read instead of /etc/os-release (for the tests).
set -euo pipefail
export LC_ALL=C # apt's messages and versions are parsed below
unset PYTHONHOME PYTHONPATH

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
stamp=$venv/.pausebench-pyproject
os_release=${PAUSEBENCH_OS_RELEASE:-/etc/os-release}
# Not the python3 on PATH: only the distribution's own sees the distribution's bcc, and PyPI's
# package of that name is unrelated.
python=/usr/bin/python3
tracefs=/sys/kernel/tracing
work=
log=

say() { printf 'setup: %s\n' "$*" >&2; }

die() { # die EXIT_CODE MESSAGE: also prints the end of the failed command's output, if any
    local code=$1
    shift
    if [[ -n $log && -s $log ]]; then
        tail -n 15 "$log" | sed 's/^/    /' >&2
    fi
    say "$*"
    exit "$code"
}

os_field() { # in a subshell: the file is a shell script that sets NAME, VERSION and others
    (
        # shellcheck source=/dev/null
        [[ -r $os_release ]] && . "$os_release"
        printf '%s' "${!1-}"
    )
}

# --- what is missing -----------------------------------------------------------------------

qemu_version() { # MAJOR.MINOR of the QEMU on PATH; empty when there is none
    local out
    out=$(qemu-system-x86_64 --version 2>/dev/null) || true
    if [[ $out =~ version\ ([0-9]+\.[0-9]+) ]]; then printf '%s' "${BASH_REMATCH[1]}"; fi
}

has_headers() {
    # bcc needs configured headers. Those of another kernel work for tracepoints and uprobes.
    [[ -e /lib/modules/$(uname -r)/build || -e /sys/kernel/kheaders.tar.xz ]] ||
        compgen -G '/usr/src/linux-headers-*/include/generated' >/dev/null
}

packages=() # packages to install
needs=()    # the same, as text for the user

need() {
    packages+=("$1")
    needs+=("$2")
}

find_needs() {
    packages=() needs=()
    local version lacks
    version=$(qemu_version)
    # cpr-transfer needs QEMU 10.0.
    if ((${version%%.*} + 0 < 10)); then
        need qemu-system-x86 "QEMU 10.0 or newer (qemu-system-x86_64 on PATH; here: ${version:-none})"
    fi
    if [[ ! -x $python ]]; then
        need python3 "$python"
        lacks="ensurepip bcc"
    else
        lacks=$("$python" -I -c 'if True:
            import importlib.util, sys
            print(*(name for name in ("ensurepip", "bcc") if not importlib.util.find_spec(name)),
                  *(["old"] if sys.version_info < (3, 11) else []))')
    fi
    if [[ $lacks == *old* ]]; then need python3 "Python 3.11 or newer as $python"; fi
    if [[ $lacks == *ensurepip* ]]; then need python3-venv "venv of $python"; fi
    if [[ $lacks == *bcc* ]]; then need python3-bpfcc "bcc for $python"; fi
    if ! { command -v as && command -v ld && command -v objcopy; } >/dev/null; then
        need binutils "binutils (as, ld, objcopy)"
    fi
    if ! has_headers; then
        need linux-headers "kernel headers (of $(uname -r), or of another kernel as a stand-in)"
    fi
}

lacks_tracefs() { # false if the kernel has no tracefs: then it cannot be mounted
    [[ ! -e $tracefs/events && ! -e /sys/kernel/debug/tracing/events ]] &&
        grep -qw tracefs /proc/filesystems
}

venv_problem() { # why .venv cannot be used; empty when it can
    if [[ ! -e $venv ]]; then
        printf 'it does not exist'
    elif ! "$venv/bin/python" -c '' 2>/dev/null || [[ ! -x $venv/bin/pip ]]; then
        printf 'it is broken'
    elif ! grep -qxF "home = ${python%/*}" "$venv/pyvenv.cfg" ||
        ! grep -q "^version = $("$python" -Ic 'import sys; print("%d[.]%d" % sys.version_info[:2])')" \
            "$venv/pyvenv.cfg"; then
        printf 'it was created with another Python than %s' "$python"
    elif ! grep -q "^command = .* ${venv//./[.]}\$" "$venv/pyvenv.cfg"; then
        printf 'it was created in another directory' # its scripts contain that path
    elif ! "$venv/bin/python" -Ic 'import importlib.util as u, sys; sys.exit(not u.find_spec("bcc"))'; then
        printf "it does not see the distribution's bcc"
    fi
}

pyproject_sum() { sha256sum <"$root/pyproject.toml"; }

lacks_project() {
    [[ ! -x $venv/bin/pausebench || ! -e $stamp || $(<"$stamp") != "$(pyproject_sum)" ]]
}

check() {
    local missing=() problem
    find_needs
    missing+=("${needs[@]}")
    if lacks_tracefs; then missing+=("tracefs, mounted at $tracefs"); fi
    problem=$(venv_problem)
    if [[ -n $problem ]]; then
        missing+=(".venv ($problem)")
    elif lacks_project; then
        missing+=("the project and its Python packages in .venv, as in the current pyproject.toml")
    fi
    ((${#missing[@]})) || exit 0
    printf 'missing: %s\n' "${missing[@]}"
    exit 1
}

# --- system packages -----------------------------------------------------------------------

refuse_unless_installable() {
    local reason hint
    if [[ " $(os_field ID) $(os_field ID_LIKE) " != *" debian "* &&
        " $(os_field ID) $(os_field ID_LIKE) " != *" ubuntu "* ]]; then
        reason="this is $(os_field PRETTY_NAME); only Debian and Ubuntu can be set up automatically"
        hint="with this distribution's package manager"
    elif ((EUID != 0)); then
        reason="packages are missing, and only root can install them"
        hint="as root: apt-get install --no-install-recommends ${packages[*]/%linux-headers/linux-headers-$(uname -r)}"
    else
        return 0
    fi
    say "$reason. Install by hand, then run make again ($hint):"
    printf '  - %s\n' "${needs[@]}" >&2
    exit 4
}

logged() { "$@" >"$log" 2>&1 </dev/null 9>&-; } # a daemon that apt starts must not hold our lock

apt() {
    # DPkg::Lock::Timeout covers dpkg's lock, but not the locks of the lists and the archives.
    local deadline=$((SECONDS + 300))
    until logged env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
        apt-get -y -q -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "$@"; do
        if ((SECONDS > deadline)) || ! grep -q 'Could not get lock' "$log"; then return 1; fi
        sleep 2
    done
}

options=() # for apt, when QEMU is installed from backports

install_packages() {
    # --no-remove: setup must not remove packages that the host's owner installed.
    apt "${options[@]}" --no-install-recommends --no-remove install "$@" ||
        die 1 "apt could not install the missing packages (see above; is the mirror unreachable?). By hand: apt-get update && apt-get install --no-install-recommends $*; then run make again"
}

update_lists() { # [APT OPTIONS]
    # Without Error-Mode=any an unreachable mirror counts as success.
    apt "$@" -o APT::Update::Error-Mode=any update ||
        say "apt-get update failed ($(grep -m1 -E '^[EW]:' "$log")); continuing with the existing lists"
}

headers_package() {
    local name
    for name in "linux-headers-$(uname -r)" "linux-headers-$(dpkg --print-architecture)" linux-headers-generic; do
        if apt-cache show "$name" >/dev/null 2>&1; then
            printf '%s' "$name"
            return
        fi
    done
    printf 'linux-headers-%s' "$(dpkg --print-architecture)" # apt then reports it as unavailable
}

candidate() { apt-cache "$@" policy qemu-system-x86 2>/dev/null | awk '/Candidate:/ { print $2 }'; }

new_enough() { [[ -n $1 && $1 != "(none)" ]] && dpkg --compare-versions "$1" ge 1:10.0; }

signed_by() { # signed_by MIRROR FILE...: the keyring given in the host's own source for it
    # apt before 2.9 does not report it through indextargets.
    local mirror=${1%/} file
    shift
    for file; do
        if [[ -r $file ]]; then cat "$file" && echo; fi
    done | awk -v mirror="$mirror" '
        function names_mirror(i) {
            for (i = 2; i <= NF; i++) if ($i == mirror || $i == mirror "/") return 1
            return 0
        }
        NF == 0 { uri = key = "" }
        $1 == "deb" && names_mirror() && match($0, /signed-by=[^] ]+/) {
            key = substr($0, RSTART + 10, RLENGTH - 10); uri = 1
        }
        tolower($1) == "uris:" && names_mirror() { uri = 1 }
        tolower($1) == "signed-by:" { key = $2 }
        uri && key ~ /^\// && !found { found = key }
        END { if (found) print found }
    '
}

private_backports() { # sets options: the host's sources and lists, plus backports, in $work
    # The host's sources stay unchanged: with backports it might upgrade other packages from them.
    local suite=$1 parts='' list='' lists='' mirror key option file
    eval "$(apt-config shell parts Dir::Etc::sourceparts/d list Dir::Etc::sourcelist/f lists Dir::State::lists/d)"
    # Use the mirror that this host already uses for its release.
    IFS='|' read -r mirror key < <(
        # shellcheck disable=SC2016 # these are apt's variables
        apt-get indextargets --format '$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)|$(SIGNED_BY)' \
            'Created-By: Packages' | awk -F'|' -v code="${suite%-backports}" \
            '$1 == "Debian" && $2 == code && $3 == "main" { print $4 "|" $5; exit }'
    ) || return 1
    if [[ $key != /* ]]; then key=$(signed_by "$mirror" "$list" "$parts"*); fi
    if [[ $key != /* ]]; then key=$(compgen -G "/usr/share/keyrings/$(os_field ID)-archive-keyring.*" | head -n 1) || true; fi
    option=${key:+"[signed-by=$key] "}

    mkdir "$work/parts" "$work/lists"
    for file in "$parts"*.list "$parts"*.sources; do
        if [[ -r $file ]]; then cp "$file" "$work/parts/"; fi
    done
    if [[ -r $list ]]; then cp "$list" "$work/sources.list"; else : >"$work/sources.list"; fi
    # With copies of the host's lists apt only checks whether they are current.
    find "$lists" -maxdepth 1 -type f ! -name lock -exec cp -p -t "$work/lists" {} +
    printf 'deb %s%s %s main\n' "$option" "$mirror" "$suite" >"$work/parts/pausebench-backports.list"
    options=(-o "Dir::Etc::SourceList=$work/sources.list" -o "Dir::Etc::SourceParts=$work/parts"
        -o "Dir::State::Lists=$work/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=)
    chmod -R a+rX "$work" # apt downloads as a user of its own
    update_lists "${options[@]}"
    options+=(-t "$suite")
}

install_qemu() {
    local suite found old
    suite=$(os_field VERSION_CODENAME)-backports
    found=$(candidate)
    if ! new_enough "$found"; then
        options=(-t "$suite")
        found=$(candidate "${options[@]}") || found=
    fi
    if ! new_enough "$found" && [[ $(os_field ID) == debian ]]; then
        say "looking for QEMU in $suite (this host's apt sources stay unchanged)"
        if private_backports "$suite"; then found=$(candidate "${options[@]}") || found=; fi
    fi
    : >"$log"
    if ! new_enough "$found"; then
        die 4 "neither this release nor its backports have QEMU 10.0 or newer (newest: ${found:-none}). Install one by hand, put qemu-system-x86_64 on PATH, then run make again"
    fi
    old=$(dpkg-query -W -f '${Version}' qemu-system-x86 2>/dev/null) || old=
    say "installing QEMU $found${options[*]:+ from $suite}${old:+ in place of $old}"
    install_packages qemu-system-x86
}

install_needs() {
    local name plain=() qemu=
    say "missing: ${packages[*]}"
    update_lists
    for name in "${packages[@]}"; do
        case $name in
        qemu-system-x86) qemu=yes ;; # separately: -t backports must not affect the others
        linux-headers) plain+=("$(headers_package)") ;;
        *) plain+=("$name") ;;
        esac
    done
    if ((${#plain[@]})); then
        say "installing ${plain[*]}"
        install_packages "${plain[@]}"
    fi
    if [[ $qemu ]]; then install_qemu; fi
    find_needs
    : >"$log"
    if ((${#needs[@]})); then
        say "apt installed ${plain[*]}${qemu:+ qemu-system-x86}, but these are still missing:"
        printf '  - %s\n' "${needs[@]}" >&2
        exit 4
    fi
}

# --- tracefs and the venv ------------------------------------------------------------------

mount_tracefs() { # only a warning on failure: without it only BPF does not work
    if mount -t tracefs tracefs "$tracefs" 2>/dev/null; then
        say "mounted tracefs at $tracefs (until the next boot)"
    else
        say "could not mount tracefs, which BPF probes need; as root: mount -t tracefs tracefs $tracefs"
    fi
}

make_venv() {
    local problem
    problem=$(venv_problem)
    if [[ -n $problem ]]; then
        say "creating .venv ($problem)"
        rm -rf "$venv"
        logged "$python" -m venv --system-site-packages "$venv" ||
            die 1 "$python could not create .venv. By hand: $python -m venv --system-site-packages .venv"
    fi
    if lacks_project; then
        say "installing the project and its Python packages into .venv"
        cd "$root"
        logged "$venv/bin/python" -m pip -q --disable-pip-version-check install -e '.[dev]' ||
            die 1 "pip could not install the project's packages (see above; is the index unreachable?). By hand: .venv/bin/pip install -e '.[dev]'; then run make again"
        pyproject_sum >"$stamp"
    fi
}

# -------------------------------------------------------------------------------------------

case ${1-} in
'') ;;
--check) check ;;
*) die 2 "unknown argument $1; the only option is --check" ;;
esac

# With two makes at once in one clone the second waits, and then finds nothing missing.
exec 9<"$root"
if ! flock -n 9; then
    say "another setup is running in this clone; waiting for it"
    flock 9
fi

find_needs
if ((${#needs[@]})); then refuse_unless_installable; fi
if ((${#needs[@]})) || [[ -n $(venv_problem) ]] || lacks_project; then
    work=$(mktemp -d)
    log=$work/log
    : >"$log"
    trap 'rm -rf "$work"' EXIT
fi
if ((${#needs[@]})); then install_needs; fi
if lacks_tracefs; then mount_tracefs; fi
make_venv
