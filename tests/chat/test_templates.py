"""The built-in templates write what the published Jinja templates write."""

import pytest

from numpy_llama.chat import open_template
from numpy_llama.chat.templates import STYLES, BuiltInTemplate, Words, recognise, stand_in
from numpy_llama.errors import InputError, MissingExtraError
from tests.chat.real_templates import (
    LLAMA2,
    LLAMA31,
    OPENHERMES,
    RECOGNISED,
    SMOLLM2,
    SMOLLM2_SYSTEM,
    TINYLLAMA,
)
from tests.chat.tiny_chat import CONVERSATIONS, assistant, chat_tokenizer, system, user


def jinja_text(source, messages):
    """The oracle: Jinja, set up as transformers sets it up, in this process."""
    jinja2 = pytest.importorskip("jinja2")
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )

    def raise_exception(text):
        raise jinja2.TemplateError(text)

    env.globals["raise_exception"] = raise_exception
    return env.from_string(source).render(
        messages=messages, add_generation_prompt=True, bos_token="<s>", eos_token="</s>"
    )


@pytest.mark.parametrize("case", CONVERSATIONS)
@pytest.mark.parametrize("model", RECOGNISED)
def test_a_built_in_template_writes_what_the_models_own_writes(model, case):
    source, _ = RECOGNISED[model]
    expected = jinja_text(source, CONVERSATIONS[case])
    assert stand_in(source, "<s>", "</s>").render(CONVERSATIONS[case]) == expected


@pytest.mark.parametrize("model", RECOGNISED)
def test_each_is_recognised_as_its_style_and_no_other(model):
    source, style = RECOGNISED[model]
    assert recognise(source) == (style, SMOLLM2_SYSTEM if model == "smollm2" else "")


def test_written_out():
    """By hand, from the formats' published descriptions, and without any Jinja."""
    talk = [system("S"), user("A"), assistant("B"), user("C")]
    words = Words("<s>", "</s>")
    written = {name: BuiltInTemplate(name, words).render(talk) for name in STYLES}
    assert written == {
        "llama2": "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nA [/INST] B </s><s>[INST] C [/INST]",
        "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nA<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nB<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nC<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "chatml": "<s><|im_start|>system\nS<|im_end|>\n<|im_start|>user\nA<|im_end|>\n"
        "<|im_start|>assistant\nB<|im_end|>\n<|im_start|>user\nC<|im_end|>\n"
        "<|im_start|>assistant\n",
        "zephyr": "<s><|system|>\nS</s>\n<|user|>\nA</s>\n<|assistant|>\nB</s>\n"
        "<|user|>\nC</s>\n<|assistant|>\n",
    }


@pytest.mark.parametrize(
    "source",
    [
        LLAMA31,
        "{{ messages }}",
        "",
        OPENHERMES + "Think first.",
        OPENHERMES.replace("'<|im_end|>'", "' <tools> <|im_end|>'"),
        OPENHERMES.replace("message['content']", "message['content'] | trim"),
        LLAMA2.replace(".strip()", ""),
        TINYLLAMA.replace("<|system|>", "<|context|>"),
        SMOLLM2.replace("!= 'system'", "== 'user'"),
        SMOLLM2.replace("named SmolLM", "named ' + name + '"),
    ],
    ids=range(10),
)
def test_a_template_that_writes_anything_else_is_not_recognised(source):
    assert recognise(source) is None


@pytest.mark.parametrize(
    "talk",
    [
        [assistant("B")],
        [user("A"), user("B")],
        [system("S"), assistant("B")],
        [user("A"), assistant("B"), assistant("C")],
    ],
)
def test_llama_2_refuses_turns_that_do_not_alternate_as_its_own_template_does(talk):
    jinja2 = pytest.importorskip("jinja2")
    with pytest.raises(jinja2.TemplateError, match="must alternate"):
        jinja_text(LLAMA2, talk)
    with pytest.raises(InputError, match="converses in turns"):
        BuiltInTemplate("llama2", Words("<s>", "</s>")).render(talk)


def test_llama_2_refuses_a_late_system_message_which_its_own_template_leaves_out():
    with pytest.raises(InputError, match="converses in turns"):
        BuiltInTemplate("llama2", Words("<s>", "</s>")).render([user("A"), system("S")])


# ------------------------------------------------------------------ which is used


@pytest.fixture
def no_jinja(monkeypatch):
    monkeypatch.setattr("numpy_llama.chat.has_jinja", lambda: False)
    monkeypatch.setattr("numpy_llama.chat.jinja.has_jinja", lambda: False)


def test_without_jinja_a_recognised_template_is_rendered_built_in(no_jinja):
    with open_template(chat_tokenizer(SMOLLM2)) as template:
        assert template.name == "chatml (built in)"
        assert template.render([user("A")]) == jinja_text(SMOLLM2, [user("A")])


def test_without_jinja_another_template_names_the_package_and_the_list(no_jinja):
    with pytest.raises(MissingExtraError, match="llama2, llama3, chatml, zephyr.*install jinja2"):
        open_template(chat_tokenizer(LLAMA31))


def test_with_jinja_the_models_own_template_is_used():
    pytest.importorskip("jinja2")
    with open_template(chat_tokenizer(LLAMA31)) as template:
        assert template.render([user("A")]) == jinja_text(LLAMA31, [user("A")])


def test_a_model_without_a_template_is_refused_with_the_list():
    with pytest.raises(InputError, match="no chat template.*llama2, llama3, chatml, zephyr"):
        open_template(chat_tokenizer(None))


def test_a_named_style_comes_before_the_models_own():
    with open_template(chat_tokenizer(SMOLLM2), "llama3") as template:
        assert template.render([user("A")]).startswith("<s><|start_header_id|>user")


def test_a_template_file_of_the_users(tmp_path):
    pytest.importorskip("jinja2")
    file = tmp_path / "own.jinja"
    file.write_text("{{ bos_token }}Ä: {{ messages[-1].content }}", "utf-8")
    with open_template(chat_tokenizer(SMOLLM2), str(file)) as template:
        assert template.render([user("A")]) == "<s>Ä: A"


def test_a_choice_that_is_neither_is_refused_with_the_list(tmp_path):
    with pytest.raises(InputError, match="vicuna: neither a file nor.*llama2, llama3"):
        open_template(chat_tokenizer(SMOLLM2), str(tmp_path / "vicuna"))
