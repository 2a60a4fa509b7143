#!/bin/sh
# Makes the place for the notes of the scripts that follow, of which some run as the user.
rm -rf /run/lxc-dev-manager-provision
mkdir -m 1777 /run/lxc-dev-manager-provision
