# Writes $1, a $2 (file, directory, link) with owner $3 and mode $4. A file's bytes come on stdin, a link's target is $5.
# Exit code 44 if the parent directory is missing. POSIX sh.
directory=${1%/*}
[ -d "${directory:-/}" ] || exit 44
case $2 in
directory)
    [ -d "$1" ] || mkdir -- "$1" || exit 1
    chown "$3" "$1" && chmod "$4" "$1"
    ;;
link)
    ln -sfn -- "$5" "$1" && chown -h "$3" "$1"
    ;;
file)
    [ ! -d "$1" ] || exit 1
    umask 077
    part="$1.ldm-$$"
    trap 'rm -f -- "$part"' EXIT
    cat >"$part" && chown "$3" "$part" && chmod "$4" "$part" && mv -f -- "$part" "$1"
    ;;
esac
