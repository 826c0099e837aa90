"""Hostile and broken chat templates and conversations: cases T12 and T13.

Templates run in a process of their own. Its limits are measured in its processor time and memory,
so that these tests judge the same on a busy machine.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("jinja2")

from numpy_llama.chat import check_messages, message, open_template  # noqa: E402
from numpy_llama.chat.jinja import MAX_TEMPLATE, JinjaTemplate  # noqa: E402
from numpy_llama.chat.messages import MAX_CHARACTERS  # noqa: E402
from numpy_llama.errors import InputError, LlamaError, TokenizerError  # noqa: E402
from numpy_llama.tokenizers.hf_settings import read_chat_template  # noqa: E402
from tests.malformed.limits import check_refused  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
TALK = [message("user", "Hello")]

NESTED_LISTS = "{% set a = ['x'] %}" + "{% set a = [a,a,a,a,a,a,a,a,a,a] %}" * 12
DOUBLING = "{% set ns = namespace(x='ab') %}{% for i in range(64) %}{% set ns.x = ns.x ~ ns.x %}"

ENDLESS = {
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}"
    "{% endfor %}{% endfor %}",
    "a list of lists of lists, printed": NESTED_LISTS + "{{ a }}",
    "the same, compared": NESTED_LISTS + "{% set b = a %}" + NESTED_LISTS + "{{ a == b }}",
    "the same, as JSON": NESTED_LISTS + "{{ a | tojson }}",
    "a macro that calls itself twice": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}"
    "{% endif %}{% endmacro %}{{ f(60) }}",
    "a power": "{{ (10 ** 9) ** (10 ** 8) > 1 }}",
    "a recursive loop": "{% for x in [1, 1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
}
LARGE = {
    "a product": "{{ 'a' * 10**9 }}",
    "a product of a list": "{{ ['a'] * 10**9 }}",
    "a width": "{{ '%1000000000d' % 1 }}",
    "a width in format": "{{ '{:1000000000}'.format(1) }}",
    "a width in a filter": "{{ 'a' | center(10**9) }}",
    "a doubled text": DOUBLING + "{% endfor %}{{ ns.x | length }}",
    "a replacement": "{{ ('a' * 10**5).replace('a', 'b' * 10**5) | length }}",
    "a joined list": "{{ (['a' * 10**5] * 10**5) | join | length }}",
    "a block that is kept": "{% set x %}{% for i in range(99999) %}{{ 'a' * 9999 }}{% endfor %}"
    "{% endset %}",
}
BROKEN = {
    "not closed": ("{% for", "line 1"),
    "an unknown tag": ("{% nonsense %}", "nonsense"),
    "an unknown filter": ("a\n{{ 1 | nonsense }}", "line 2"),
    "an undefined function": ("{{ nonsense() }}", "'nonsense' is undefined"),
    "the class of a text": ("{{ ''.__class__.__mro__ }}", "'__class__'"),
    "the globals of a helper": ("{{ cycler.__init__.__globals__ }}", "'__init__'"),
    "the same through a filter": ("{{ (''|attr('__class__')).x }}", ""),
    "a change of the messages": ("{{ messages.append(1) }}", "append"),
    "a file": ("{% include '/etc/passwd' %}", ""),
    "an import": ("{% import 'os' as os %}", ""),
    "a range": ("{{ range(10**9) | list }}", "Range too big"),
    "a macro without end": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nests too deeply"),
    "brackets": ("{{ " + "(" * 5000 + ")" * 5000 + " }}", "nests too deeply"),
    "blocks": ("{% if 1 %}" * 3000, "nests too deeply"),
    "a division by zero": ("{{ 1 // 0 }}", "ZeroDivisionError"),
    "an error with a long text": ("{{ ('a' * 10**6) | nonsense }}", ""),
    "an error with control characters": ("{{ messages['\\x1b[2J\n'].x }}", ""),
    "much output": ("{% for i in range(99999) %}{{ 'a' * 999 }}{% endfor %}", "1,000,000"),
}


def outcome(source: str, messages=TALK):
    with JinjaTemplate(source, "a.jinja") as template:
        try:
            return template.render(messages)
        except LlamaError as error:
            return error


def check_error(found, error: type[LlamaError], *words: str) -> None:
    """One short sentence of this type, that says whose template it is."""
    assert type(found) is error, found
    text = str(found)
    assert "\n" not in text and text.isprintable() and len(text) < 600, text
    for word in words:
        assert word in text


def child_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("case", ENDLESS)
def test_a_template_that_works_for_ever_is_stopped(case):
    before, start = child_seconds(), time.perf_counter()
    found = outcome(ENDLESS[case])
    assert child_seconds() - before < 1.0
    assert time.perf_counter() - start < 10  # the kernel's clock, not the parent's patience
    check_error(found, TokenizerError, "a.jinja")


@pytest.mark.parametrize("case", LARGE)
def test_a_template_that_wants_much_memory_is_stopped(case):
    before = child_seconds()
    found = outcome(LARGE[case])
    assert child_seconds() - before < 1.0
    check_error(found, TokenizerError, "a.jinja")


MEASURE = """
import json, resource, sys
from numpy_llama.chat.jinja import JinjaTemplate
from numpy_llama.errors import LlamaError
for source in json.load(sys.stdin):
    with JinjaTemplate(source, "a.jinja") as template:
        try:
            template.render([{"role": "user", "content": "Hello"}])
        except LlamaError:
            pass
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds a process's data")
def test_no_template_takes_64_mb():
    """In a process without other children: the system reports the largest."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        input=json.dumps([*LARGE.values(), ENDLESS["the same, as JSON"]]),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert 10 << 20 < int(done.stdout) < 64 << 20


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_template_is_said_to_be_broken(case):
    source, word = BROKEN[case]
    check_error(outcome(source), TokenizerError, "a.jinja", word)


def test_after_a_template_was_stopped_the_next_conversation_is_rendered():
    endless = "{% if messages[0].content == 'x' %}" + ENDLESS["nested loops"] + "{% endif %}ok"
    with JinjaTemplate(endless, "a.jinja") as template:
        assert template.render(TALK) == "ok"
        with pytest.raises(TokenizerError, match="computes for longer"):
            template.render([message("user", "x")])
        assert template.render(TALK) == "ok"


def test_one_request_gets_its_own_answer_after_ctrl_c(monkeypatch):
    with JinjaTemplate("{{ messages[0].content }}", "a.jinja") as template:
        assert template.render([message("user", "1")]) == "1"

        def interrupted(pipe, request):
            send(pipe, request)
            raise KeyboardInterrupt

        from numpy_llama.chat import jinja

        send = jinja.send
        monkeypatch.setattr(jinja, "send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            template.render([message("user", "2")])
        monkeypatch.undo()
        assert template.render([message("user", "3")]) == "3"


def test_a_template_can_refuse_a_conversation():
    check_error(outcome("{{ raise_exception('No, thanks') }}"), InputError, "No, thanks")
    rude = "{{ raise_exception('\\x1b[2J\\n' ~ 'No' * 100000) }}"
    check_error(outcome(rude), InputError, "[2J No")


def test_the_insides_of_python_are_not_reached_by_format():
    assert outcome("{{ '{0.__class__}'.format(1) }}") == ""


def test_a_template_cannot_write_open_or_start_anything(tmp_path):
    """What an escape from the sandbox would find: asked of a process that is confined alike."""
    worker = ROOT / "numpy_llama" / "chat" / "jinja_worker.py"
    code = f"""
import runpy, socket, os, sys
worker = runpy.run_path({str(worker)!r})
worker["confine"]()
for attempt in (lambda: open("/etc/passwd"), lambda: open({str(tmp_path / "x")!r}, "w"),
                lambda: socket.socket(), os.pipe):
    try:
        attempt()
    except OSError:
        print("refused")
    else:
        print("allowed")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["refused"] * 4, done.stderr
    assert not (tmp_path / "x").exists()


def test_the_worker_sees_no_secrets(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    from numpy_llama.chat.jinja import start_worker

    worker = start_worker()
    try:
        assert b"secret" not in Path(f"/proc/{worker.pid}/environ").read_bytes()
    finally:
        worker.kill()
        worker.wait()
        worker.stdin.close()
        worker.stdout.close()


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.content }}"
        "{% endfor %}",
        "{{ messages[0]['content'] }}",
        "{% set x = messages %}{{ (x | tojson | length > 2) and x[0].content }}",
        "{{ strftime_now('%Y') and 'Hello' }}",
        "{%- if tools is not none %}{{ tools }}{% endif -%} Hello",
    ],
)
def test_what_real_templates_do_is_accepted(source):
    assert outcome(source) == "Hello"


def test_json_is_not_made_safe_for_html():
    talk = [message("user", "<a & 'é'>")]
    assert outcome("{{ messages[0].content | tojson }}", talk) == "\"<a & 'é'>\""


def test_a_template_without_end_is_not_even_read():
    check_refused(
        lambda: JinjaTemplate("a" * (MAX_TEMPLATE + 1), "a.jinja"), TokenizerError, "a.jinja"
    )


# ------------------------------------------------------------------ where templates lie


class Vocabulary:
    """As much of a tokenizer as choosing a template needs."""

    bos_id, eos_ids, chat_template = None, (), None


def test_a_file_that_is_no_text(tmp_path):
    file = tmp_path / "a.jinja"
    file.write_bytes(b"\xff\xfe{{ 1 }}")
    check_refused(
        lambda: open_template(Vocabulary(), str(file)), TokenizerError, "a.jinja", "UTF-8"
    )
    check_refused(lambda: open_template(Vocabulary(), str(tmp_path)), TokenizerError, "directory")
    with open(file, "wb") as large:
        large.truncate(1 << 40)  # sparse
    check_refused(lambda: open_template(Vocabulary(), str(file)), TokenizerError, "a.jinja")


@pytest.mark.parametrize("value", [1, True, {}, {"default": "x"}, [{"name": "default"}, 3], [[]]])
def test_a_template_in_the_config_that_is_no_text(tmp_path, value):
    config = {"chat_template": value}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    if value == [{"name": "default"}, 3] or value == [[]]:
        assert read_chat_template(tmp_path) is None  # a list without one: as if there were none
    else:
        check_refused(lambda: read_chat_template(tmp_path), TokenizerError, "chat_template")


def test_of_a_list_of_named_templates_the_default_is_taken(tmp_path):
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert read_chat_template(tmp_path) == "d"


# ------------------------------------------------------------------ conversations (T13)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (None, "list"),
        ("Hello", "list"),
        ({"role": "user", "content": "x"}, "list"),
        ([], "at least one"),
        (["Hello"], "message 0"),
        ([None], "message 0"),
        ([{"role": "user"}], "message 0"),
        ([{"content": "x"}], "message 0"),
        ([*TALK, {"role": "tool", "content": "x"}], "message 1"),
        ([{"role": "a" * 10**6, "content": "x"}], "message 0"),
        ([{"role": ["user"], "content": "x"}], "message 0"),
        ([{"role": "user", "content": None}], "message 0"),
        ([{"role": "user", "content": [{"type": "image"}]}], "message 0"),
        ([{"role": "user", "content": "x" * (MAX_CHARACTERS + 1)}], "1,000,001"),
    ],
    ids=range(14),
)
def test_what_is_no_conversation_is_refused(values, word):
    check_refused(lambda: check_messages(values), InputError, word)


def test_fields_that_no_template_should_see_are_left_out():
    odd = [{"role": "user", "content": "x", "__class__": 1, "tool_calls": ["y"]}]
    assert check_messages(odd) == [message("user", "x")]
