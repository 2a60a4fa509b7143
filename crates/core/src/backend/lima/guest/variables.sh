# Stores stdin for the run with id $1: readable by root only, deleted by the run.
umask 077
mkdir -p /run/lxc-dev-manager && exec cat >"/run/lxc-dev-manager/$1"
