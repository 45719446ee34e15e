"""Targets that are sentences, words, or vectors to be alike to."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from helpers.scores import refused, rows_of, scored
from helpers.tolerances import assert_agrees
from limelight.errors import TargetError
from limelight.targets import Similarity, Words, each_word

# Words


def sentences(batch: int = 2, count: int = 5, vocabulary: int = 7) -> tuple[Tensor, Tensor]:
    logits = torch.randn(batch, count, vocabulary, dtype=torch.float64)
    return logits, torch.randint(vocabulary, (batch, count))


def test_a_sentence_s_score_is_minus_its_cross_entropy() -> None:
    logits, ids = sentences()
    found = scored(logits, Words(ids), 2)
    for b in range(2):
        expected = -cross_entropy(logits[b, :-1], ids[b, 1:], reduction="sum")
        assert_agrees(found.values[b].double(), expected)
    assert found.labels == ("the sentence",) * 2
    assert found.indices is None
    assert found.values.dtype is logits.dtype


@pytest.mark.parametrize("at", [1, 3, 4, [2], [3, 4], (1, 4)], ids=str)
def test_words_are_read_off_the_logits_before_them(at: Any) -> None:
    logits, ids = sentences()
    expected = torch.zeros(2, dtype=torch.float64)
    for t in [at] if isinstance(at, int) else at:
        expected += torch.stack([logits[b, t - 1].log_softmax(0)[ids[b, t]] for b in range(2)])
    assert_agrees(scored(logits, Words(ids, at), 2).values.double(), expected)


def test_one_sentence_for_all_images() -> None:
    logits, ids = sentences()
    alone = scored(logits, Words(ids[0]), 2).values
    assert_agrees(alone, scored(logits, Words(ids[:1].expand(2, -1)), 2).values)
    assert_agrees(scored(logits, Words(ids[0].tolist()), 2).values, alone)


def test_picture_tokens_in_front_of_the_sentence_are_left_out() -> None:
    logits, ids = sentences()
    longer = torch.cat([torch.randn(2, 9, 7, dtype=torch.float64), logits], 1)
    for at in (None, 1, [2, 3]):
        before = scored(logits, Words(ids, at), 2).values
        assert_agrees(scored(longer, Words(ids, at), 2).values, before)


def test_words_of_other_rows_keep_their_own_sentences() -> None:
    logits, ids = sentences()
    found = scored(logits, Words(ids, 2), 2)
    rows = [1, 1, 0]
    expected = torch.stack([logits[b, 1].log_softmax(0)[ids[b, 2]] for b in rows])
    again = found.read_again(rows_of(logits, rows), torch.tensor(rows))
    assert_agrees(again.double(), expected)


def test_each_word_is_a_target_and_together_they_are_the_sentence() -> None:
    logits, ids = sentences(1)
    targets = each_word(ids[0], ["<s>", "a", "cat", "sits", "</s>"])
    assert [target.text for target in targets] == ["a", "cat", "sits", "</s>"]
    assert [target.at for target in targets] == [1, 2, 3, 4]
    parts = [scored(logits, target, 1) for target in targets]
    assert [part.labels for part in parts] == [("a",), ("cat",), ("sits",), ("</s>",)]
    assert_agrees(
        torch.stack([part.values for part in parts]).sum(0), scored(logits, Words(ids), 1).values
    )
    assert [target.at for target in each_word(ids[0], first=3)] == [3, 4]
    assert scored(logits, each_word(ids[0])[1], 1).labels == ("token 2",)
    with pytest.raises(TargetError, match=r"There are 2 words for 5 tokens"):
        each_word(ids[0], ["a", "cat"])


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Words([1, 2, 3, 4, 5, 6]), r"There are 6 tokens from number 1 to 6, .*\[2, 5, 7\]"),
        (Words([1, 2, 7, 0, 0]), r"5 tokens from number 0 to 7"),
        (Words([1, -1, 2, 3, 4]), r"token"),
        (Words([1, 2, 3, 4, 5], 0), r"at is 0; positions from 1 to 4 were expected"),
        (Words([1, 2, 3, 4, 5], 5), r"at is 5; positions from 1 to 4"),
        (Words([1, 2, 3, 4, 5], -1), r"at is -1; positions from 1 to 4"),
        (Words([1, 2, 3, 4, 5], []), r"at is \[\]; positions"),
        (Words([1]), r"positions from 1 to 0 were expected|at least two tokens"),
        (Words(torch.zeros(2, 5)), r"tokens have shape \[2, 5\]; integers \[N\] were expected"),
        (Words(torch.ones(3, 5, dtype=torch.long)), r"tokens have shape \[3, 5\]; .*\[2, N\]"),
        (Words(torch.ones(1, 2, 5, dtype=torch.long)), r"tokens have shape \[1, 2, 5\]"),
    ],
    ids=str,
)
def test_words_that_do_not_fit_say_what_was_expected(target: Any, text: str) -> None:
    refused(sentences()[0], target, 2, text)


def test_a_class_of_a_language_model_is_the_next_word() -> None:
    logits, _ = sentences()
    found = scored(logits, None, 2, words=True)
    assert found.indices is not None
    assert found.indices.tolist() == logits[:, -1].argmax(1).tolist()
    assert_agrees(found.values, logits[:, -1].amax(1))
    assert found.labels[0].endswith(" as the next word")
    assert_agrees(scored(logits, [3, 1], 2, words=True).values, logits[[0, 1], -1, [3, 1]])


# Similarity


def test_a_similarity_is_the_cosine() -> None:
    embedding = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    found = scored(embedding, Similarity(torch.tensor([4.0, 3.0]), "a cat"), 2)
    assert_agrees(found.values, torch.tensor([24 / 25, 4 / 5]))
    assert found.labels == ("similarity to a cat",) * 2
    assert scored(embedding, Similarity(torch.ones(2)), 2).labels[0] == "similarity to a vector"
    each = scored(embedding, Similarity(torch.tensor([[0.0, 2.0], [-5.0, 0.0]])), 2)
    assert_agrees(each.values, torch.tensor([4 / 5, -1.0]))
    swapped = each.read_again(rows_of(embedding, [1, 0, 1]), torch.tensor([0, 1, 1]))
    assert_agrees(swapped, torch.tensor([0.0, -3 / 5, -1.0]))


def test_a_similarity_to_itself_is_one_whatever_the_scale() -> None:
    embedding = torch.randn(3, 6, dtype=torch.float64)
    found = scored(embedding, Similarity(embedding * 7.5), 3)
    assert_agrees(found.values, torch.ones(3, dtype=torch.float64))


def test_the_vector_carries_no_graph_and_may_be_of_another_kind() -> None:
    embedding = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    to = torch.randn(4, requires_grad=True)
    scored(embedding, Similarity(to), 2).values.sum().backward()  # type: ignore[no-untyped-call]
    assert embedding.grad is not None
    assert to.grad is None
    listed = scored(embedding, Similarity(cast("Any", to.tolist())), 2).values
    assert_agrees(listed, scored(embedding, Similarity(to), 2).values)


@pytest.mark.parametrize(
    ("output", "to", "text"),
    [
        (torch.ones(2, 4), torch.zeros(4), r"The vector is zero; nothing is similar to it"),
        (torch.ones(2, 4), torch.stack([torch.ones(4), torch.zeros(4)]), r"The vector is zero"),
        (torch.ones(2, 4), torch.ones(5), r"vector has shape \[1, 5\]; \[4\] was expected"),
        (torch.ones(2, 4), torch.ones(3, 4), r"one per image, \[2, 4\]"),
        (torch.ones(2, 4), torch.ones(1, 2, 4), r"vector has shape \[1, 2, 4\]"),
        (
            torch.ones(2, 4, 3, 3),
            torch.ones(4),
            r"return embeddings \[B, D\]; it returned \[2, 4, ",
        ),
        (torch.ones(3, 4), torch.ones(4), r"embeddings"),
    ],
    ids=["zero", "one zero", "length", "batch", "axes", "grid", "rows"],
)
def test_a_vector_that_does_not_fit_says_what_was_expected(
    output: Tensor, to: Tensor, text: str
) -> None:
    refused(output, Similarity(to), 2, text)
