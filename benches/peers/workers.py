"""The two sides as long-lived programs that are asked in turn."""

import json
import os
import subprocess

TICKS = os.sysconf("SC_CLK_TCK")


class Worker:
    """A program that answers each line of JSON on its standard input with one on its standard output."""

    def __init__(self, name, command, environment=None):
        self.name = name
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    def ask(self, request):
        """The answer; an answer with `error` when the request failed."""
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise SystemExit(f"{self.name} ended with code {self.process.wait()}; what it said stands above")
        return json.loads(line)

    def cpu_seconds(self):
        """Processor time used so far by all threads; 0 where the system does not tell."""
        try:
            with open(f"/proc/{self.process.pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / TICKS

    def close(self):
        """Ends the program by ending its input."""
        self.process.stdin.close()
        self.process.wait()
