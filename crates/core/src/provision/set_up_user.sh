# Creates a user with sudo and SSH keys. POSIX sh; Debian, Alpine and Fedora families, and busybox.
# $1 user, $2 password login (yes, no). stdin: the password's hash, then authorized keys.
set -eu
user=$1
password_login=$2
IFS= read -r hash
keys=$(cat)
PATH=$PATH:/usr/sbin:/sbin

has() { command -v "$1" >/dev/null 2>&1; }

# Only missing packages need a network.
missing=
has sudo || missing="$missing sudo"
has sshd || missing="$missing openssh-server"
if [ -n "$missing" ]; then
    # A starting guest may get its network seconds later.
    i=0
    while ! grep -q '^[^I][^	]*	00000000' /proc/net/route 2>/dev/null && [ "$i" -lt 300 ]; do
        i=$((i + 1))
        sleep 0.1 2>/dev/null || sleep 1
    done
    # shellcheck disable=SC2086 # two constant words
    if has apt-get; then
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update -q && apt-get install -y -q --no-install-recommends $missing; } >&2
    elif has apk; then
        apk add --no-progress $missing >&2
    elif has dnf; then
        dnf install -y -q $missing >&2
    else
        echo "the image lacks$missing, and has no apt-get, apk or dnf to install it" >&2
        exit 1
    fi || {
        echo "cannot install$missing: check the network of the env" >&2
        exit 1
    }
fi

entry() { grep "^$user:" "/etc/$1"; }

# Repeats a command while a service of the boot has the lock of the users' files: each waits 15 s by itself.
patient() {
    attempts=3
    until said=$("$@" 2>&1); do
        attempts=$((attempts - 1))
        case $said in *"try again later"*) [ $attempts = 0 ] || continue ;; esac
        printf '%s\n' "$said" >&2
        return 1
    done
}

# Appends a line to a file that may lack a final newline.
append() { # FILE LINE
    [ -z "$(tail -c 1 "$1")" ] || echo >>"$1"
    printf '%s\n' "$2" >>"$1"
}

# An existing group of the user's name (users, staff) becomes the user's group. The number is the first that is free for
# both: mounts are mapped to it before (`ids.rs`).
create_user() {
    shell=/bin/sh
    if [ -x /bin/bash ]; then shell=/bin/bash; fi
    uid=1000
    while cut -d: -f3 /etc/passwd /etc/group | grep -qx "$uid"; do uid=$((uid + 1)); done
    if entry group >/dev/null; then
        :
    elif has groupadd; then
        patient groupadd -g "$uid" "$user"
    elif has addgroup; then
        addgroup -g "$uid" "$user"
    else
        append /etc/group "$user:x:$uid:"
    fi
    gid=$(entry group | cut -d: -f3)
    if has useradd; then
        patient useradd -M -s "$shell" -u "$uid" -g "$gid" "$user"
    elif has adduser; then
        adduser -D -H -s "$shell" -u "$uid" -G "$user" "$user"
    else
        append /etc/passwd "$user:x:$uid:$gid::/home/$user:$shell"
    fi
    # A mount may have made the directory, or be it.
    new=$(entry passwd | cut -d: -f6)
    if [ ! -d "$new" ] || [ "$(stat -c %u "$new")" = 0 ]; then
        mkdir -p "$new"
        if [ -d /etc/skel ]; then
            (cd /etc/skel && find . ! -name . -prune -exec cp -R {} "$new/" \; -exec chown -R "$uid:$gid" "$new/{}" \;)
        fi
        chown "$uid:$gid" "$new"
        chmod 0755 "$new"
    fi
}

# Rejects service users of the image.
expect_login_user() {
    number=$(entry passwd | cut -d: -f3)
    case $user:$(entry passwd | cut -d: -f7) in
    root:*) return ;;
    *:*/nologin | *:*/false) ;;
    *) [ "$number" -lt 1000 ] || return 0 ;;
    esac
    echo "the image has a system user $user: choose another name in \`user:\`" >&2
    exit 1
}

pipe_hash() { printf '%s:%s\n' "$user" "$hash" | chpasswd -e; }

set_hash() {
    if has chpasswd; then
        patient pipe_hash
        return
    fi
    (
        umask 077
        [ -e /etc/shadow ] || : >/etc/shadow
        entry shadow >/dev/null || append /etc/shadow "$user:!:19700:0:99999:7:::"
        # Preserves owner and mode, which differ between systems.
        cp -p /etc/shadow /etc/shadow.new
        while IFS= read -r line; do
            case $line in
            "$user:"*)
                rest=${line#*:}
                line=$user:$hash:${rest#*:}
                ;;
            esac
            printf '%s\n' "$line"
        done </etc/shadow >/etc/shadow.new
    )
    # Atomic: a login may read it now.
    mv -f /etc/shadow.new /etc/shadow
}

if entry passwd >/dev/null; then expect_login_user; else create_user; fi
set_hash || {
    echo "the guest rejects the password${said:+: $said}" >&2
    exit 1
}

# The guest's group of administrators, if any.
for group in sudo wheel; do
    if grep -q "^$group:" /etc/group; then
        if has usermod; then patient usermod -aG "$group" "$user"; elif has addgroup; then addgroup "$user" "$group"; fi
    fi
done
mkdir -p /etc/sudoers.d
grep -q '^[@#]includedir */etc/sudoers.d' /etc/sudoers || append /etc/sudoers '#includedir /etc/sudoers.d'
(
    umask 0337
    printf '%s ALL=(ALL) NOPASSWD:ALL\n' "$user" >/etc/sudoers.d/90-lxc-dev-manager.new
)
mv -f /etc/sudoers.d/90-lxc-dev-manager.new /etc/sudoers.d/90-lxc-dev-manager

home=$(entry passwd | cut -d: -f6)
mkdir -p "$home/.ssh"
if [ -n "$keys" ]; then
    # Atomic: a login may read it now.
    (
        umask 077
        printf '%s\n' "$keys" >"$home/.ssh/authorized_keys.new"
    )
    chown "$user:$(id -g "$user")" "$home/.ssh/authorized_keys.new"
    mv -f "$home/.ssh/authorized_keys.new" "$home/.ssh/authorized_keys"
fi
chmod 0700 "$home/.ssh"
if [ -f "$home/.ssh/authorized_keys" ]; then chmod 0600 "$home/.ssh/authorized_keys"; fi
chown -R "$user:$(id -g "$user")" "$home/.ssh"

mkdir -p /etc/ssh/sshd_config.d /run/sshd
{
    echo "PasswordAuthentication $password_login"
    # PAM would accept the same password.
    [ "$password_login" = yes ] || echo 'KbdInteractiveAuthentication no'
    # By default root may only use keys.
    if [ "$user:$password_login" = root:yes ]; then echo 'PermitRootLogin yes'; fi
} >/etc/ssh/sshd_config.d/10-lxc-dev-manager.conf
[ -e /etc/ssh/sshd_config ] || : >/etc/ssh/sshd_config
if ! grep -qi '^ *include */etc/ssh/sshd_config.d/' /etc/ssh/sshd_config; then
    # sshd uses the first value of a setting, so ours must come first.
    {
        echo 'Include /etc/ssh/sshd_config.d/*.conf'
        cat /etc/ssh/sshd_config
    } >/etc/ssh/sshd_config.new
    mv -f /etc/ssh/sshd_config.new /etc/ssh/sshd_config
fi
# One key type that every client supports: others take up to a second. The guest's boot may create it concurrently.
key=/etc/ssh/ssh_host_ed25519_key
if [ ! -s $key ]; then
    rm -f $key.new $key.new.pub
    ssh-keygen -q -t ed25519 -N '' -C '' -f $key.new
    if [ ! -s $key ]; then
        mv -f $key.new.pub $key.pub
        mv -f $key.new $key
    fi
    rm -f $key.new $key.new.pub
fi
