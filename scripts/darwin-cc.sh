#!/bin/bash
# Stands for the C compiler and archiver of macOS where only Rust is checked: it writes nothing into what it was asked to
# write. Asked to preprocess, it says that it is clang, by which builds tell compilers apart.
set -euo pipefail
output=
preprocess=no
while [ $# -gt 0 ]; do
    case $1 in
        -E) preprocess=yes ;;
        -o) output=$2 && shift ;;
        -o*) output=${1#-o} ;;
        # The flag with which builds try whether unknown ones are refused.
        '-?') exit 1 ;;
        # ar: the archive is what ends so.
        *.a) [ -n "$output" ] || output=$1 ;;
    esac
    shift
done
[ $preprocess = no ] || echo clang
[ -z "$output" ] || : >"$output"
