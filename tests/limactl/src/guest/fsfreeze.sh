#!/bin/sh
# fsfreeze --freeze / | --unfreeze /: the disk is what the agent writes, so it is asked to write it.
[ $# = 2 ] && [ "$2" = / ] || {
    echo "usage: fsfreeze --freeze|--unfreeze /" >&2
    exit 1
}
case $1 in
--freeze)
    mkdir /run/freeze 2>/dev/null || {
        echo "fsfreeze: /: freeze failed: Device or resource busy" >&2
        exit 1
    }
    until [ -e /run/freeze/done ]; do
        [ -e /run/freeze/failed ] && rm -r /run/freeze && exit 1
        sleep 0.01
    done
    ;;
--unfreeze)
    rm -r /run/freeze 2>/dev/null || {
        echo "fsfreeze: /: unfreeze failed: Invalid argument" >&2
        exit 1
    }
    ;;
*) exit 1 ;;
esac
