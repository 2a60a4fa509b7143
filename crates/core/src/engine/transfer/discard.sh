# Deletes what was taken in of a stream. $1 staging directory.
rm -rf "$1"
