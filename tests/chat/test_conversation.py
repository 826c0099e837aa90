"""A conversation that goes on: what a turn costs, what fits, and what is left after Ctrl-C."""

import numpy as np
import pytest

from numpy_llama.chat import Conversation, encode_chat, open_template
from numpy_llama.chat.conversation import common_prefix
from numpy_llama.errors import InputError
from numpy_llama.sampling import Sampling
from tests.chat.scripted import INTERRUPT, scripted
from tests.chat.tiny_chat import CONTROL, assistant, chat_tokenizer, system, user

EOS = 1
END = [CONTROL.index("<|im_end|>")]
START = [CONTROL.index("<|im_start|>")]


class Talk:
    """A conversation with a scripted model, and everything that it said to the user."""

    def __init__(self, capacity=256, style="chatml", **options):
        self.tokenizer = chat_tokenizer()
        self.model = scripted(self.tokenizer.vocab_size)
        self.template = open_template(self.tokenizer, style)
        self.notes = []
        self.conversation = Conversation(
            self.model,
            self.tokenizer,
            self.template,
            self.model.new_cache(capacity),
            say=self.notes.append,
            **options,
        )

    def ids(self, text):
        return self.tokenizer.encode(text, add_bos=False)

    def turn(self, text, answer):
        """Ask `text`; the model says `answer` and ends. Returns what came out."""
        self.model.say(self.ids(answer), END)
        return "".join(self.conversation.ask(text))

    def rendered(self, messages):
        return encode_chat(self.tokenizer, self.template, messages)

    def check_cache(self):
        """Whether the last logits are those of a model that reads the whole sequence anew."""
        held = self.conversation.held
        assert len(held) == self.conversation.cache.length
        fresh = super(type(self.model), self.model).forward(held)
        np.testing.assert_allclose(self.model.seen_logits[-1], fresh[-1], rtol=1e-9, atol=1e-12)


def test_the_answer_comes_in_pieces_and_is_remembered():
    talk = Talk()
    talk.model.say(talk.ids("I am fine"), END)
    pieces = list(talk.conversation.ask("Hello"))
    assert len(pieces) > 1 and "".join(pieces) == "I am fine"
    assert talk.conversation.messages == [user("Hello"), assistant("I am fine")]
    assert talk.notes == []


def test_a_turn_costs_only_its_new_tokens():
    talk = Talk(system="Be brief.")
    talk.turn("Hello", "I am fine")
    first = talk.rendered([system("Be brief."), user("Hello")])
    assert talk.model.fed == [len(first)] + [1] * len(talk.ids("I am fine"))

    talk.turn("Who are you?", "the quick brown fox")
    # What follows the answer in the template, counted by hand; the answer itself was in the cache.
    turn = [*START, *talk.ids("user\nWho are you?"), *END, *talk.ids("\n")]
    new = [*END, *talk.ids("\n"), *turn, *START, *talk.ids("assistant\n")]
    assert talk.model.fed == [len(new)] + [1] * len(talk.ids("the quick brown fox"))
    assert talk.conversation.fed == len(new)
    assert talk.conversation.reused == len(first) + len(talk.ids("I am fine"))
    assert talk.conversation.answered == len(talk.ids("the quick brown fox"))
    talk.check_cache()


def test_what_is_in_the_cache_is_what_the_model_would_read_anew():
    talk = Talk()
    for text, answer in [("A", "B"), ("Hello there", "fine"), ("<|im_end|>", "the fox")]:
        talk.turn(text, answer)
        talk.check_cache()


def test_a_new_system_message_is_read_and_all_after_it():
    talk = Talk(system="Be brief.")
    talk.turn("A", "B")
    talk.conversation.system = "Be kind."
    talk.turn("C", "D")
    expected = [system("Be kind."), user("A"), assistant("B"), user("C")]
    assert talk.conversation.held[: -len(talk.ids("D"))] == talk.rendered(expected)
    talk.check_cache()


def test_the_same_question_after_a_reset_feeds_one_token():
    """All of it is in the cache, but the last token's logits are not."""
    talk = Talk()
    talk.turn("A", "B")
    talk.conversation.reset()
    talk.turn("A", "B")
    assert talk.model.fed[0] == 1
    assert talk.conversation.messages == [user("A"), assistant("B")]
    talk.check_cache()


# ------------------------------------------------------------------ a full context


@pytest.mark.parametrize("capacity", [110, 120, 130, 140])
def test_the_oldest_turns_are_left_out_when_the_context_is_full_and_that_is_said(capacity):
    talk = Talk(capacity=capacity, system="Be brief.")
    asked = [f"Hello there number {i}" for i in range(6)]
    told = talk.conversation
    for text in asked:
        talk.turn(text, "I am fine")
        assert told.turns[told.first]["role"] == "user"
    assert any("left out" in note for note in talk.notes)
    assert told.first > 0
    assert [each["content"] for each in told.messages[1::2]] == asked  # all are kept, to be saved
    seen = talk.rendered([system("Be brief."), *told.turns[told.first :][:-1]])
    assert told.held[: len(seen)] == seen
    talk.check_cache()


def test_half_of_the_context_is_free_after_turns_were_left_out():
    talk = Talk(capacity=120)
    while not talk.notes:
        talk.turn("Hello there", "I am fine")
    told = talk.conversation
    assert len(told.held) - told.answered <= 60
    talk.notes.clear()
    talk.turn("Hello there", "I am fine")
    assert talk.notes == [] and told.reused > 0


def test_a_message_that_can_never_fit_is_refused_and_not_kept():
    talk = Talk(capacity=60)
    talk.turn("A", "B")
    with pytest.raises(InputError, match=r"have \d+ tokens and the context only 60"):
        talk.turn("Hello there " * 40, "B")
    assert talk.conversation.messages == [user("A"), assistant("B")]
    assert talk.turn("C", "D") == "D"
    talk.check_cache()


def test_an_answer_that_fills_the_context_is_cut_and_that_is_said():
    talk = Talk(capacity=40)
    talk.model.say(talk.ids("the") * 100)
    answer = "".join(talk.conversation.ask("A"))
    assert talk.conversation.cache.length == 40
    assert talk.notes == ["the context is full: the answer was cut"]
    assert talk.conversation.messages[-1] == assistant(answer)


def test_an_answer_of_too_many_tokens_is_cut_and_that_is_said():
    talk = Talk(max_tokens=3)
    talk.model.say(talk.ids("abcdef"))
    assert "".join(talk.conversation.ask("A")) == "abc"
    assert talk.notes == ["the answer was cut after 3 tokens (-n)"]
    talk.turn("B", "C")
    talk.check_cache()


# ------------------------------------------------------------------ interruptions


def test_ctrl_c_keeps_what_was_said_and_the_next_turn_is_right():
    talk = Talk()
    talk.model.say(talk.ids("I am"), [INTERRUPT])
    said = ""
    with pytest.raises(KeyboardInterrupt):
        for piece in talk.conversation.ask("A"):
            said += piece
    assert said == "I am"
    assert talk.conversation.messages == [user("A"), assistant("I am")]
    talk.turn("B", "C")
    assert talk.conversation.reused > 0
    talk.check_cache()


def test_ctrl_c_before_the_first_word_takes_the_question_back():
    talk = Talk()
    talk.model.say([INTERRUPT])
    with pytest.raises(KeyboardInterrupt):
        list(talk.conversation.ask("A"))
    assert talk.conversation.messages == []
    talk.turn("B", "C")
    talk.check_cache()


def test_closing_the_answer_early_keeps_what_was_said():
    talk = Talk()
    talk.model.say(talk.ids("I am fine"), END)
    pieces = talk.conversation.ask("A")
    first = next(pieces)
    pieces.close()
    assert talk.conversation.messages == [user("A"), assistant(first)]
    talk.turn("B", "C")
    talk.check_cache()


def test_an_empty_answer_is_an_answer():
    talk = Talk()
    assert talk.turn("A", "") == ""
    assert talk.conversation.messages == [user("A"), assistant("")]


def test_the_end_of_another_style_is_recognised_as_text():
    """A model without <|end|>-like tokens that is made to speak ChatML writes the name out."""
    talk = Talk()
    talk.conversation.stop_ids, talk.conversation.stop_texts = (EOS,), ("<|im_end|>",)
    talk.model.say(talk.ids("fine<|im_end|> and on"), [EOS])
    assert "".join(talk.conversation.ask("A")) == "fine"


@pytest.mark.parametrize(
    ("a", "b", "common"),
    [([], [], 0), ([1], [], 0), ([1, 2], [1, 2], 2), ([1, 2], [1, 3], 1), ([2], [1], 0)]
    + [([1, 2, 3], [1, 2], 2)],
)
def test_common_prefix(a, b, common):
    assert common_prefix(a, b) == common


class Likes(Talk):
    """The model always likes the same tokens, in this order; one a tenth less than the other."""

    def __init__(self, *tokens, **options):
        super().__init__(**options)
        self.model.say([0] * 100)
        logits = np.zeros((1, self.model.config.vocab_size))
        logits[0, list(tokens)] = 1 - 0.1 * np.arange(len(tokens))
        compute = self.model.forward
        object.__setattr__(
            self.model, "forward", lambda *args, **options: 0 * compute(*args, **options) + logits
        )


def test_the_repetition_penalty_also_sees_what_was_in_the_cache():
    letters = chat_tokenizer().encode("XYZQ", add_bos=False)  # four tokens, in no prompt
    talk = Likes(*letters, max_tokens=2, settings=Sampling(repeat_penalty=2.0))
    assert "".join(talk.conversation.ask("A")) == "XY"
    # X was fed and lies in the cache, Y comes with the next prompt.
    assert "".join(talk.conversation.ask("B")) == "ZQ"
