# Runs an SSH server for one connection on stdin and stdout; errors go to stderr. POSIX sh.
# The caller is root already, so restrictions in the guest's own settings don't apply.
PATH=$PATH:/usr/sbin:/sbin
sshd=$(command -v sshd) || exit 127
mkdir -p /run/sshd
# sshd accepts only root until this file is gone at the end of the boot.
i=0
while [ -e /run/nologin ] && [ "$i" -lt 200 ]; do
    i=$((i + 1))
    sleep 0.1 2>/dev/null || { sleep 1; i=$((i + 9)); }
done
exec "$sshd" -i -e -o LogLevel=ERROR -o UseDNS=no -o Banner=none -o PrintMotd=no \
    -o PubkeyAuthentication=yes -o AuthenticationMethods=publickey \
    -o DisableForwarding=no -o AllowTcpForwarding=local -o PermitOpen=any
