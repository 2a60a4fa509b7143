#!/bin/sh
# Renders every icon of the app from the SVGs beside this script. The results are committed: building
# the app needs none of this.
#
#   apt-get install librsvg2-bin icnsutils     (rsvg-convert, png2icns)
#
# tray-light*: a light glyph, for panels that are always dark.  tray-neutral*: one that is seen on light and dark.
# trayTemplate*: black and alpha, for a Mac's menu bar, in its 18 points.
# -busy has a dot, -attention a mark; @2x is for screens of twice the density.
set -eu
cd "$(dirname "$0")"

# png SVG SIZE FILE [STYLESHEET]
png() {
    rsvg-convert --width "$2" --height "$2" --stylesheet "${4:-/dev/null}" --output "$3" "$1"
}

# tray SVG SIZE NAME GLYPH DOT MARK: all variants of one tray icon, with their colours.
tray() {
    for state in "" busy attention; do
        {
            echo ".glyph { fill: $4 } .busy { fill: $5 } .attention { fill: $6 }"
            [ "$state" = busy ] || echo ".busy { display: none }"
            [ "$state" = attention ] || echo ".attention { display: none }"
        } >"$work/style.css"
        name="$3${state:+-$state}"
        png "$1" "$2" "$name.png" "$work/style.css"
        png "$1" $(($2 * 2)) "$name@2x.png" "$work/style.css"
    done
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

png icon-small.svg 32 32x32.png
png icon.svg 128 128x128.png
png icon.svg 256 128x128@2x.png
png icon.svg 512 icon.png

png icon-small.svg 16 "$work/16.png"
png icon-small.svg 32 "$work/32.png"
for size in 128 256 512 1024; do png icon.svg "$size" "$work/$size.png"; done
png2icns icon.icns "$work"/*.png >/dev/null

tray tray.svg 22 tray-light '#f2f2f4' '#8eaaff' '#f0b764'
tray tray.svg 22 tray-neutral '#86868c' '#4f74ea' '#cf8420'
tray tray-template.svg 18 trayTemplate '#000' '#000' '#000'
