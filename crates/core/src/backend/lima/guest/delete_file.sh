# Deletes the file, link or empty directory $1. Exit code 44 if it is missing. POSIX sh.
[ -e "$1" ] || [ -L "$1" ] || exit 44
if [ -d "$1" ] && [ ! -L "$1" ]; then exec rmdir -- "$1"; else exec rm -f -- "$1"; fi
