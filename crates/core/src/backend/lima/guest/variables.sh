# Keeps what comes on stdin for the run that $1 names: only root may read it, and the run deletes it.
umask 077
mkdir -p /run/lxc-dev-manager && exec cat >"/run/lxc-dev-manager/$1"
