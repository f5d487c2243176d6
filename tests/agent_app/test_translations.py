"""The chat's catalogues: whole, in step with the scripts and with what is compiled, and served as the address says."""

import ast
import gettext
import json
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

APP = Path(settings.BASE_DIR) / "agent_app"
WIDGET = APP / "static" / "agent_app" / "widget"
TRANSLATED = [code for code, _ in settings.LANGUAGES if code != settings.LANGUAGE_CODE]
DOMAINS = ("django", "djangojs")
LITERAL = r'"((?:[^"\\]|\\.)*)"'
CALL = re.compile(rf"(?<!\w)n?gettext\(\s*{LITERAL}(?:,\s*{LITERAL},)?")
TAG = re.compile(rf"{{% translate {LITERAL} %}}")
HOLE = re.compile(r"%\(\w+\)s")

pytestmark = pytest.mark.integration

Key = str | tuple[str, str]


def path(language: str, domain: str, suffix: str) -> Path:
    return APP / "locale" / language / "LC_MESSAGES" / f"{domain}.{suffix}"


def entries(po: Path) -> dict[Key, list[str]]:
    """A catalogue's sentences in each form, by the English one or by both. The header has the key ""."""
    found: dict[Key, list[str]] = {}
    for block in po.read_text().split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("#"):
                assert "fuzzy" not in line, block
                assert not line.startswith("#~"), f"no longer said: {block}"
                continue
            match = re.fullmatch(r'(?:(msg\S+) )?(".*")', line)
            assert match, line
            name = match[1] or name
            fields[name] = fields.get(name, "") + ast.literal_eval(match[2])
        english = fields["msgid"]
        key = (english, fields["msgid_plural"]) if "msgid_plural" in fields else english
        assert key not in found, key
        found[key] = [text for field, text in fields.items() if field.startswith("msgstr")]
    return found


def said(domain: str) -> set[Key]:
    """What the sources say, in English."""
    if domain == "djangojs":
        calls = [call for script in WIDGET.glob("*.js") for call in CALL.findall(script.read_text())]
    else:
        calls = CALL.findall((APP / "widget" / "language.py").read_text())
        templates = (APP / "templates" / "agent_app" / "widget").glob("*.html")
        calls += [(text, "") for template in templates for text in TAG.findall(template.read_text())]
    return {(one, many) if many else one for one, many in calls}


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("language", TRANSLATED)
class TestEveryCatalogue:
    def test_translates_each_sentence_that_is_said_and_no_other(self, language: str, domain: str) -> None:
        assert len(said(domain)) > (4 if domain == "django" else 80)
        assert set(entries(path(language, domain, "po"))) - {""} == said(domain)

    def test_has_each_plural_form_and_each_hole(self, language: str, domain: str) -> None:
        catalogue = entries(path(language, domain, "po"))
        plurals = re.search(r"nplurals=(\d+)", catalogue.pop("")[0])
        assert plurals is not None
        for key, forms in catalogue.items():
            assert all(forms), key
            assert len(forms) == (int(plurals[1]) if isinstance(key, tuple) else 1), key
            english = key[1] if isinstance(key, tuple) else key
            assert all(sorted(HOLE.findall(form)) == sorted(HOLE.findall(english)) for form in forms), key

    def test_is_compiled_as_it_is_written(self, language: str, domain: str) -> None:
        with path(language, domain, "mo").open("rb") as file:
            compiled = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        written: dict[str | tuple[str, int], str] = {}
        for key, forms in entries(path(language, domain, "po")).items():
            if isinstance(key, tuple):
                written |= {(key[0], number): form for number, form in enumerate(forms)}
            else:
                written[key] = forms[0]
        assert compiled == written, "cd agent_app && django-admin compilemessages"


def test_no_sentence_of_the_chat_is_outside_the_catalogues() -> None:
    """But for the two that the desk itself writes into the log."""
    bare = re.compile(r'^\s*(?:\w+: )?"(.+)",$', re.MULTILINE)
    outside = bare.findall(re.sub(r"n?gettext\([^()]*(?:\(\w+\)s[^()]*)*\)", "", (WIDGET / "strings.js").read_text()))
    assert outside == ["Yes, I confirm.", "No, leave it as it is."]


@pytest.mark.parametrize(
    ("query", "accepts", "language", "direction"),
    [
        ("", "", "en", "ltr"),
        ("", "de-AT,en;q=0.5", "de", "ltr"),
        ("", "fr", "en", "ltr"),
        ("?lang=ar", "de", "ar", "rtl"),
        ("?lang=ar-EG", "", "ar", "rtl"),
        ("?lang=fr", "de", "de", "ltr"),
        ("?lang=" + "x" * 600, "", "en", "ltr"),
    ],
)
@pytest.mark.django_db
def test_the_chats_page_speaks_what_is_asked(
    client: Client, query: str, accepts: str, language: str, direction: str
) -> None:
    response = client.get(f"/widget/{query}", headers={"Accept-Language": accepts})
    assert f'<html lang="{language}" dir="{direction}">' in response.text
    assert f'src="/widget/strings/{language}.js"' in response.text
    assert response.headers["Content-Language"] == language


@pytest.mark.django_db
def test_a_page_in_another_language_leaves_the_next_one_alone(client: Client) -> None:
    assert "المحادثة" in client.get("/widget/?lang=ar").text
    assert "<title>Chat</title>" in client.get("/widget/").text


@pytest.mark.parametrize("language", [code for code, _ in settings.LANGUAGES])
def test_the_scripts_catalogue_is_cached_by_its_content(client: Client, language: str) -> None:
    response = client.get(f"/widget/strings/{language}.js", headers={"Accept-Language": "de"})
    assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert response.headers["Content-Language"] == language
    assert ('"Write a message"' in response.text) is (language in TRANSLATED)
    again = client.get(f"/widget/strings/{language}.js", headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304
    assert "max-age=300" in again.headers["Cache-Control"]


@pytest.mark.parametrize("language", ["fr", "EN", "..%2Fde"])
def test_there_is_no_catalogue_of_another_language(client: Client, language: str) -> None:
    assert client.get(f"/widget/strings/{language}.js").status_code == 404


def test_the_embed_knows_its_labels_in_each_language(client: Client) -> None:
    match = re.search(r"const LABELS = (\{.*\});", client.get("/widget.js").text)
    assert match is not None
    labels = json.loads(match[1])
    assert set(labels) == {code for code, _ in settings.LANGUAGES}
    assert labels["ar"] == labels["ar"] | {"rtl": True, "close": "إغلاق المحادثة"}
    assert labels["de"] == labels["de"] | {"rtl": False, "openNamed": "Chat öffnen: %(title)s"}
