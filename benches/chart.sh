#!/usr/bin/env bash
# A chart of the report that benches/run.sh wrote ($1), as SVG: how many times as many operations a second as the peer.
set -euo pipefail

awk -F'|' '
function trim(text) { gsub(/^ +| +$/, "", text); return text }
function bar(label, peer, times) { labels[++n] = label; peers[n] = peer; all[n] = times; if (times > most) most = times }
/^## / { part = $0 }
# The ratio of times stands in the last column; throughput is its inverse.
part ~ /many threads/ && trim($3) == "wall" { bar("GET 64 B, " trim($2) (trim($2) == 1 ? " thread" : " threads"), "hiredis", 1 / trim($6)) }
part ~ /pipelines|all sizes/ && trim($3) == "wall" { bar(trim($2), "hiredis", 1 / trim($6)) }
/over TCP/ { tcp = 1 } /over a unix socket/ { tcp = 0 }
part ~ /r2d2/ && tcp && trim($3) ~ /^r2d2/ && (trim($2) == 16 || trim($2) == 64) {
    split($4, of, /[(,]/); bar("GET 64 B, " trim($2) " threads", trim($3), trim(of[2]))
}
END {
    left = 330; width = 420; step = 24; top = 50; height = top + n * step + 20
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"13\">\n", left + width + 70, height
    printf "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
    printf "<text x=\"10\" y=\"22\" font-size=\"15\">redkeep: operations a second, in times of the peer</text>\n"
    one = left + width / (most > 1 ? most : 1)
    for (i = 1; i <= n; i++) {
        y = top + (i - 1) * step
        printf "<text x=\"10\" y=\"%d\">%s <tspan fill=\"#777\">beside %s</tspan></text>\n", y + 14, labels[i], peers[i]
        printf "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"16\" fill=\"%s\"/>\n", left, y, all[i] * (one - left), all[i] < 1 ? "#c97b63" : "#4a7fb5"
        printf "<text x=\"%.1f\" y=\"%d\">%.2f</text>\n", left + all[i] * (one - left) + 5, y + 13, all[i]
    }
    printf "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#333\" stroke-dasharray=\"4 3\"/>\n", one, top - 8, one, height - 12
    print "</svg>"
}' "$1"
