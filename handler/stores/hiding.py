"""Takes what a request holds in confidence out of what a store says of that request.

A store repeats what it was sent: whole, cut off after some characters, in another case, encoded once more or decoded.
So what is looked for is not a secret but each run of so many characters of one. The time for that grows with the length
of both texts, and both are bounded: a request of more than ``_MAX_SENT_CHARACTERS`` is not searched, and nothing that
the store says of it is shown.
"""

import base64
import re
from collections.abc import Iterator
from typing import Self
from urllib.parse import unquote

from handler.stores.signatures import SECRET_NAMES

# A presigned link with a session token has some 2,000 characters, headers with one as many.
_MAX_SENT_CHARACTERS = 64 * 1024

# Of what a store says; what is shown is less.
_MAX_SAID_CHARACTERS = 4096

# How long a run in common is that is hidden: of what is secret by its name; of a long word; of one in a path.
_SECRET_RUN, _WORD_RUN, _PATH_RUN = 8, 12, 20

# A password may be shorter than a run: then it is hidden where it stands whole. Shorter ones are letters of words.
_MIN_SECRET = 4

# What stands beside a word in what was sent. Between them are names, "=" and values.
_SEPARATOR_RE = re.compile(r"[\s&,?;]+", re.ASCII)

# A slash may be a letter of base64 or stand between two words, as in a path.
_LONG_WORD_RES = (re.compile(r"[A-Za-z0-9+/_%-]{20,}", re.ASCII), re.compile(r"[A-Za-z0-9+_%-]{20,}", re.ASCII))

# Values that name no secret, whatever their length, by their names in lower case.
_PLAIN_NAMES = frozenset(
    {
        *("host", "user-agent", "accept", "accept-encoding", "content-type", "range", "date", "x-amz-date"),
        *("x-amz-content-sha256", "signedheaders", "x-amz-signedheaders", "x-goog-signedheaders", "x-amz-algorithm"),
        *("x-goog-algorithm", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"),
    }
)

# "Authorization: Basic ...": what follows one of these proves who asks.
_SCHEMES = frozenset({"basic", "bearer", "aws", "goog1", "sharedkey", "sharedkeylite", "negotiate", "digest"})

_CREDENTIALS = frozenset({"credential", "x-amz-credential", "x-goog-credential"})

# A character, or the escapes that may stand for it: however often it was encoded, %252F is a slash.
_CHARACTER_RE = re.compile(r"%(?:25)*([0-9A-Fa-f]{2})|.", re.DOTALL)

# The two alphabets of base64 (RFC 4648, sections 4 and 5), and what a form's decoding makes of a plus.
_SAME_CHARACTERS = str.maketrans("-_ ", "+/+")

# Of a longer text, all is looked at in full.
_MAX_QUICK_CHARACTERS = 512


class Secrets:
    """What was sent in confidence, as the runs of characters that are looked for, by their lengths.

    Args:
        runs: Those.
        hides_all: Too much was sent to be searched: nothing that a store says is shown.
    """

    def __init__(self, runs: dict[int, set[str]], hides_all: bool = False) -> None:
        self._runs = runs
        self._hides_all = hides_all

    @classmethod
    def of(cls, sent: str, *said: str) -> Self:
        """The secrets in what was sent, as far as ``said`` could repeat one.

        Args:
            sent: The target, and each header as ``name=value``, with white space between them.
            said: The texts that are to be shown.
        """
        if len(sent) > _MAX_SENT_CHARACTERS:
            return cls({}, hides_all=True)
        given = [*_read_secrets(sent)]
        if not given or not _may_repeat([value for value, _ in given], said):
            return cls({})
        runs: dict[int, set[str]] = {}
        for value, longest in given:
            plain = "".join(_read_plainly(value)[0]).rstrip("=")
            length = min(longest, len(plain))
            if length >= _MIN_SECRET:
                found = runs.setdefault(length, set())
                found.update(plain[start : start + length] for start in range(len(plain) - length + 1))
        return cls(runs)

    def hide(self, text: str) -> str:
        """The beginning of a text without what is secret in it, in whatever case or encoding it stands there."""
        if self._hides_all:
            return ""
        text = text[:_MAX_SAID_CHARACTERS]
        if not self._runs:
            return text
        characters, ends = _read_plainly(text)
        plain = "".join(characters)
        hidden: set[int] = set()
        for length, runs in self._runs.items():
            until = 0
            for start in range(len(plain) - length + 1):
                if plain[start : start + length] in runs:
                    hidden.update(range(max(start, until), start + length))
                    until = start + length
        shown, before = [], 0
        for place, end in enumerate(ends):
            if place not in hidden:
                shown.append(text[before:end])
            elif place - 1 not in hidden:
                shown.append("***")
            before = end
        return "".join(shown)


def _read_secrets(sent: str) -> Iterator[tuple[str, int]]:
    """What is secret in what was sent, and how long a run of it is hidden."""
    before = ""
    for token in _SEPARATOR_RE.split(sent):
        name, equals, value = token.partition("=")
        name = name.lower()
        if before in _SCHEMES:
            yield from _read_proof(before, token)
        elif equals and name in _CREDENTIALS:
            # The key is the first part, and known by itself; the others are a date and a region.
            yield unquote(value).partition("/")[0], _SECRET_RUN
        elif equals and name in SECRET_NAMES:
            yield value, _SECRET_RUN
        elif name not in _PLAIN_NAMES:
            length = _PATH_RUN if token.startswith("/") else _WORD_RUN
            for pattern in _LONG_WORD_RES:
                yield from ((word, length) for word in pattern.findall(token))
        before = token.lower().rpartition("=")[2]


def _read_proof(scheme: str, token: str) -> Iterator[tuple[str, int]]:
    yield token, _SECRET_RUN
    if scheme == "basic":
        try:
            decoded = base64.b64decode(token, validate=True).decode(errors="replace")
        except ValueError:
            return
        user, _, password = decoded.partition(":")
        yield password, _SECRET_RUN
        if len(user) >= _SECRET_RUN:
            yield user, _SECRET_RUN


def _may_repeat(secrets: list[str], said: tuple[str, ...]) -> bool:
    """Whether a text has a few characters in common with a secret, or may have some in escapes.

    Most have not. To read each secret in full would be half of the time that such an answer takes.
    """
    if any("%" in text or len(text) > _MAX_QUICK_CHARACTERS for text in said):
        return True
    joined = "\n".join(secrets)
    if "%25" in joined:
        return True
    decoded = unquote(joined)
    sent = f"{joined}\n{decoded}".translate(_SAME_CHARACTERS).lower()
    # A run of eight holds four that begin at a multiple of four, one of four holds three that begin at one of two.
    has_short = any(len(secret.rstrip("=")) < _SECRET_RUN for secret in decoded.split("\n"))
    size, step = (3, 2) if has_short else (4, 4)
    for text in said:
        plain = text.translate(_SAME_CHARACTERS).lower()
        if any(plain[start : start + size] in sent for start in range(0, len(plain) - size + 1, step)):
            return True
    return False


def _read_plainly(text: str) -> tuple[list[str], list[int]]:
    """The characters of a text with their escapes undone, in lower case and in one alphabet, and where each ends.

    An escape of "=", which fills up base64, counts as a part of the character before it.
    """
    characters: list[str] = []
    ends: list[int] = []
    for match in _CHARACTER_RE.finditer(text):
        character = chr(int(match[1], 16)) if match[1] else match[0]
        if match[1] and character == "=" and ends:
            ends[-1] = match.end()
            continue
        # Lower case can be two characters, of which none is in a secret.
        characters.append(character.translate(_SAME_CHARACTERS).lower()[0])
        ends.append(match.end())
    return characters, ends
