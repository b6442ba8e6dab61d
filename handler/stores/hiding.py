"""Removes the secrets of a request from the error message of a store.

Stores repeat parts of a request in their messages: whole, shortened, in another case, encoded once more or decoded. So
the search is not for a whole secret but for each run of its characters of a fixed length. The time grows with the
length of both texts, so that both are limited. A request of more than ``_MAX_SENT_CHARACTERS`` is not searched, and the
message is then dropped.
"""

import base64
import re
from collections.abc import Iterator
from typing import Self
from urllib.parse import unquote

from handler.stores.signatures import SECRET_NAMES

# A presigned link with a session token has some 2,000 characters, and so have headers with one.
_MAX_SENT_CHARACTERS = 64 * 1024

# The part of a store's text that is searched. A smaller part is shown.
_MAX_SAID_CHARACTERS = 4096

# The lengths of common runs that are hidden: of a value that is secret by its name, of a long word, of a long word in a
# path.
_SECRET_RUN, _WORD_RUN, _PATH_RUN = 8, 12, 20

# A secret that is shorter than a run is hidden where it occurs as a whole. Secrets shorter than this occur in words.
_MIN_SECRET = 4

# What separates the words of a request. A word is a name, "=" and a value.
_SEPARATOR_RE = re.compile(r"[\s&,?;]+", re.ASCII)

# A slash can be a character of base64, or separate two words of a path.
_LONG_WORD_RES = (re.compile(r"[A-Za-z0-9+/_%-]{20,}", re.ASCII), re.compile(r"[A-Za-z0-9+_%-]{20,}", re.ASCII))

# The names, in lower case, of values that are never secret.
_PLAIN_NAMES = frozenset(
    {
        *("host", "user-agent", "accept", "accept-encoding", "content-type", "range", "date", "x-amz-date"),
        *("x-amz-content-sha256", "signedheaders", "x-amz-signedheaders", "x-goog-signedheaders", "x-amz-algorithm"),
        *("x-goog-algorithm", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"),
    }
)

# The schemes of ``Authorization``. The word after one is secret.
_SCHEMES = frozenset({"basic", "bearer", "aws", "goog1", "sharedkey", "sharedkeylite", "negotiate", "digest"})

_CREDENTIALS = frozenset({"credential", "x-amz-credential", "x-goog-credential"})

# A character, or its escape, which may be encoded more than once: %252F is a slash.
_CHARACTER_RE = re.compile(r"%(?:25)*([0-9A-Fa-f]{2})|.", re.DOTALL)

# The second alphabet of base64 (RFC 4648, section 5) as the first. A space, which forms make of a plus, as a plus.
_SAME_CHARACTERS = str.maketrans("-_ ", "+/+")

# A longer text is always searched in full.
_MAX_QUICK_CHARACTERS = 512


class Secrets:
    """The secrets of a request, as runs of characters.

    Args:
        runs: The runs, by their length.
        hides_all: Whether the request is too long to be searched. No text of the store is then shown.
    """

    def __init__(self, runs: dict[int, set[str]], hides_all: bool = False) -> None:
        self._runs = runs
        self._hides_all = hides_all

    @classmethod
    def of(cls, sent: str, *said: str) -> Self:
        """The secrets of a request that some texts of the store may repeat.

        Args:
            sent: The target, and each header as ``name=value``, separated by white space.
            said: The texts of the store.
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
        """The beginning of a text, in which ``***`` replaces each secret, in any case or encoding."""
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
    """The secrets in a request, each with the length of the runs that are hidden."""
    before = ""
    for token in _SEPARATOR_RE.split(sent):
        name, equals, value = token.partition("=")
        name = name.lower()
        if before in _SCHEMES:
            yield from _read_proof(before, token)
        elif equals and name in _CREDENTIALS:
            # The access key is the first part. The others are a date and a region.
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
    """Whether a text may repeat a part of a secret: a quick test, which is wrong in one direction only.

    Most texts repeat nothing, and the search in full would be half of the time of an error.
    """
    if any("%" in text or len(text) > _MAX_QUICK_CHARACTERS for text in said):
        return True
    joined = "\n".join(secrets)
    if "%25" in joined:
        return True
    decoded = unquote(joined)
    sent = f"{joined}\n{decoded}".translate(_SAME_CHARACTERS).lower()
    # Each run of eight characters holds four that begin at a multiple of four, and each run of four holds three that
    # begin at a multiple of two. So it is enough to look for the pieces of a text at these places.
    has_short = any(len(secret.rstrip("=")) < _SECRET_RUN for secret in decoded.split("\n"))
    size, step = (3, 2) if has_short else (4, 4)
    for text in said:
        plain = text.translate(_SAME_CHARACTERS).lower()
        if any(plain[start : start + size] in sent for start in range(0, len(plain) - size + 1, step)):
            return True
    return False


def _read_plainly(text: str) -> tuple[list[str], list[int]]:
    """The decoded characters of a text, in lower case and in one alphabet of base64, and the offset where each ends.

    An escaped "=", the padding of base64, counts as a part of the character before it.
    """
    characters: list[str] = []
    ends: list[int] = []
    for match in _CHARACTER_RE.finditer(text):
        character = chr(int(match[1], 16)) if match[1] else match[0]
        if match[1] and character == "=" and ends:
            ends[-1] = match.end()
            continue
        # The lower case of a character can be two characters. Neither occurs in a secret.
        characters.append(character.translate(_SAME_CHARACTERS).lower()[0])
        ends.append(match.end())
    return characters, ends
