"""examples-c/top.c in a terminal of a fixed size: what stands on the screen, and what is left of it afterwards."""

import os
import re
import subprocess
import tempfile
import time

PROGRAM = os.path.join(os.path.dirname(__file__), "../../target/c-tests/example-top")
COLUMNS, ROWS = 100, 30
PATIENCE = 20

folder = tempfile.TemporaryDirectory(prefix="redkeep-top.")
environment = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}


def tmux(*arguments):
    command = ["tmux", "-u", "-f", "/dev/null", "-S", folder.name + "/tmux", *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def screen():
    return tmux("capture-pane", "-p", "-t", "top").split("\n")[:ROWS]


def wait_for(what, found):
    deadline = time.monotonic() + PATIENCE
    while True:
        lines = screen()
        if found(lines):
            return lines
        assert time.monotonic() < deadline, what + "\n" + "\n".join(lines)
        time.sleep(0.05)


def number(lines, pattern):
    found = [match for match in (re.search(pattern, line) for line in lines) if match]
    assert found, pattern + "\n" + "\n".join(lines)
    return float(found[0][1])


def charts(lines):
    """How much of the two charts is filled."""
    return [sum(line.ljust(COLUMNS)[at:at + 48].count(block) for line in lines[2:6] for block in "▁▂▃▄▅▆▇█")
            for at in (0, 50)]


url = os.environ["RK_TEST_URL"]
tmux("new-session", "-d", "-s", "top", "-x", str(COLUMNS), "-y", str(ROWS), "sh")
try:
    tmux("send-keys", "-t", "top", f"PS1='still here ' ; clear ; '{os.path.abspath(PROGRAM)}' '{url}'", "Enter")
    moving = wait_for("charts move", lambda lines: charts(lines)[0] >= 8 and charts(lines)[1] >= 8)
    assert max(map(len, moving)) <= COLUMNS, moving
    assert re.match(r"redkeep \d+\.\d+\.\d+  enabled  errors \d+  timeouts 0 ", moving[0]), moving
    assert moving[1].startswith("calls a second"), moving
    assert number(moving[6:7], r"^(\d+) ") > 0, moving
    headings = [line for line in moving if re.fullmatch(r"[A-Z ]+", line)]
    assert headings == ["NODES", "NEAR CACHES", "CONSUMERS"], headings
    assert any(re.search(r"redis\.sock +primary +up +health ", line) for line in moving), moving
    assert number(moving, r"pool 0 +(\d+) of") >= 0
    assert number(moving, r"line 0 +open +(\d+) commands/s") > 0
    assert number(moving, r"near \d+ +([\d.]+) % hits") > 90
    assert any(line.startswith("orders ") and ":billing:cg" in line and " failed 0 " in line for line in moving), moving
    assert number(moving, r"^LOCKS +(\d+) acquired") > 0
    before = charts(moving)
    wait_for("charts grow", lambda lines: charts(lines)[0] > before[0])
    # What does not fit is left out, not wrapped.
    tmux("resize-window", "-t", "top", "-x", "60", "-y", "12")
    small = wait_for("a smaller picture", lambda lines: any(line.startswith("calls") for line in lines[1:2])
                     and all(len(line) <= 60 for line in lines))
    assert small[0].startswith("redkeep "), small
    tmux("resize-window", "-t", "top", "-x", str(COLUMNS), "-y", str(ROWS))
    tmux("send-keys", "-t", "top", "q")
    after = wait_for("the shell is back", lambda lines: any(line.startswith("still here") for line in lines))
    assert not any("calls a second" in line for line in after), after
finally:
    tmux("kill-server")
    folder.cleanup()
