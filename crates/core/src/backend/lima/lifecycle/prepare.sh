#!/bin/sh
# Creates the directory for exit codes; some of the scripts that follow run as the user.
rm -rf /run/lxc-dev-manager-provision
mkdir -m 1777 /run/lxc-dev-manager-provision
