# Makes a user with sudo and SSH keys. POSIX sh; Debian, Alpine and Fedora families, and busybox.
# $1 user, $2 whether passwords log in (yes, no). stdin: password, then authorized keys.
set -eu
user=$1
password_login=$2
IFS= read -r password
keys=$(cat)
PATH=$PATH:/usr/sbin:/sbin

has() { command -v "$1" >/dev/null 2>&1; }

# What the image lacks. This is the only part that needs a network.
missing=
has sudo || missing="$missing sudo"
has sshd || missing="$missing openssh-server"
if [ -n "$missing" ]; then
    # The network of a guest that has just started may be seconds away.
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
        echo "the image lacks$missing, and there is no apt-get, apk or dnf to install it" >&2
        exit 1
    fi || {
        echo "cannot install$missing: is there a network in the env?" >&2
        exit 1
    }
fi

if ! id -u "$user" >/dev/null 2>&1; then
    shell=/bin/sh
    if [ -x /bin/bash ]; then shell=/bin/bash; fi
    if has useradd; then
        useradd -m -s "$shell" "$user"
    else
        adduser -D -s "$shell" "$user"
    fi
fi
printf '%s:%s\n' "$user" "$password" | chpasswd >&2 || {
    echo "the guest refuses the password" >&2
    exit 1
}

# A group that this guest gives its administrators, where it has one.
for group in sudo wheel; do
    if grep -q "^$group:" /etc/group; then
        if has usermod; then usermod -aG "$group" "$user"; else addgroup "$user" "$group"; fi
    fi
done
mkdir -p /etc/sudoers.d
(
    umask 0337
    printf '%s ALL=(ALL) NOPASSWD:ALL\n' "$user" >/etc/sudoers.d/90-lxc-dev-manager.new
)
mv -f /etc/sudoers.d/90-lxc-dev-manager.new /etc/sudoers.d/90-lxc-dev-manager

home=$(grep "^$user:" /etc/passwd | cut -d: -f6)
mkdir -p "$home/.ssh"
if [ -n "$keys" ]; then printf '%s\n' "$keys" >"$home/.ssh/authorized_keys"; fi
chmod 0700 "$home/.ssh"
if [ -f "$home/.ssh/authorized_keys" ]; then chmod 0600 "$home/.ssh/authorized_keys"; fi
chown -R "$user:$(id -g "$user")" "$home/.ssh"

mkdir -p /etc/ssh/sshd_config.d /run/sshd
{
    echo "PasswordAuthentication $password_login"
    # PAM would ask for the same password.
    [ "$password_login" = yes ] || echo 'KbdInteractiveAuthentication no'
} >/etc/ssh/sshd_config.d/10-lxc-dev-manager.conf
if ! grep -qi '^ *include */etc/ssh/sshd_config.d/' /etc/ssh/sshd_config; then
    # The first value of a setting counts, so ours has to come before the rest of the file.
    {
        echo 'Include /etc/ssh/sshd_config.d/*.conf'
        cat /etc/ssh/sshd_config
    } >/etc/ssh/sshd_config.new
    mv -f /etc/ssh/sshd_config.new /etc/ssh/sshd_config
fi
# One key that every client takes; making the old kinds takes a guest up to a second. Its own boot may be making them, too.
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
