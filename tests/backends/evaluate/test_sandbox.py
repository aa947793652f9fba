"""Programs are shut in, and scored by what they do."""

import os
import sqlite3
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from backends.evaluate import sandbox
from backends.evaluate.executed import code_of, passes, same_rows
from knowledge.errors import UserError

shut_in = pytest.mark.skipif(
    sandbox._missing() is not None, reason="no namespaces are allowed here"
)


@shut_in
def test_a_program_says_what_it_says() -> None:
    assert sandbox.python("print(1 + 1)") == sandbox.Ran("2\n", None)
    assert "ZeroDivisionError" in (sandbox.python("1/0").fault or "")


@shut_in
@pytest.mark.parametrize(
    "program",
    [
        "import socket; socket.create_connection(('127.0.0.1', 22), 1)",
        "import os; os.kill(os.getppid() or 2, 9)",
        "import os; assert len([p for p in os.listdir('/proc') if p.isdigit()]) > 2",
        "import os; assert 'OPENAI_API_KEY' in os.environ",
        "import subprocess; subprocess.run(['mount', '-o', 'remount,bind,rw', '/'], check=True)",
        "open('/proc/sys/kernel/hostname', 'w').write('x')",
        "x = 'a' * (3 << 30)",
        "open('/tmp/big', 'wb').write(b'x' * (70 << 20))",
        "import pytest",
        "print('x' * (80 << 20))",
    ],
)
def test_a_program_can_do_no_harm(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert sandbox.python(program).fault is not None


@shut_in
def test_no_file_can_be_written(tmp_path: Path) -> None:
    for place in (tmp_path, Path.home(), Path("/dev/shm"), Path("/var/tmp"), Path.cwd()):
        target = place / f"advisor-test-{os.getpid()}"
        assert sandbox.python(f"open({str(target)!r}, 'w').write('x')").fault is not None
        assert not target.exists()


@shut_in
def test_an_environment_in_tmp_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory(dir="/tmp") as folder:
        link = Path(folder) / "python"
        link.symlink_to(sys.executable)
        monkeypatch.setattr(sys, "executable", str(link))
        assert sandbox.python("print(2)") == sandbox.Ran("2\n", None)


@shut_in
def test_a_program_without_end_is_ended() -> None:
    assert "longer than 1 s" in (sandbox.python("while True: pass", seconds=1).fault or "")


@shut_in
def test_code_is_scored_by_its_tests() -> None:
    tests = ["assert double(2) == 4\nassert double('a') == 'aa'"]
    assert passes("def double(x):\n    return x * 2", tests)
    assert passes("Sure:\n```python\ndef double(x):\n    return x * 2\n```\nDone.", tests)
    assert not passes("def double(x):\n    return 4", tests)
    assert not passes("import sys\nsys.exit(0)", tests)
    assert not passes("def double(x:", tests)
    assert not passes(None, tests)
    assert not passes("def double(x):\n    return x * 2", ["def double(x): return x * 2"])
    assert code_of("x = 1") == "x = 1"


@shut_in
def test_queries_are_scored_by_their_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.sqlite"
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE t (name TEXT, age INTEGER)")
        db.executemany("INSERT INTO t VALUES (?, ?)", [("a", 3), ("b", 1), ("c", 2)])
    db.close()
    assert same_rows("SELECT name FROM t WHERE age > 1", ["select name from t where age>=2"], file)
    assert same_rows("SELECT age FROM t", ["SELECT age FROM t ORDER BY name"], file)
    assert not same_rows("SELECT age FROM t", ["SELECT age FROM t ORDER BY age"], file)
    assert not same_rows("SELECT nothing FROM t", ["SELECT age FROM t"], file)
    assert not same_rows("DROP TABLE t", ["SELECT age FROM t"], file)
    assert not same_rows(None, ["SELECT age FROM t"], file)
    assert same_rows("```sql\nSELECT age FROM t\n```", ["SELECT age FROM t"], file)


def test_without_a_sandbox_nothing_is_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_missing", lambda: "the sandbox needs Linux")
    with pytest.raises(UserError, match="answers cannot be executed: the sandbox needs Linux"):
        passes("x", ["assert True"])
