"""Texts that try to become something other than text in HTML, and a reader of HTML that finds what got through."""

from __future__ import annotations

from html.parser import HTMLParser

URLS = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    " javascript:alert(1)",
    "\x01javascript:alert(1)",
    "javascript&colon;alert(1)",
    "javascript&#58;alert(1)",
    "&#106;avascript:alert(1)",
    "&#x6A;avascript:alert(1)",
    "java&Tab;script:alert(1)",
    "java&NewLine;script:alert(1)",
    "java\\script:alert(1)",
    "jav%0Aascript:alert(1)",
    "vbscript:msgbox(1)",
    "livescript:x",
    "data:text/html,<script>alert(1)</script>",
    "data:text/html;base64,PHNjcmlwdD4=",
    "data:image/svg+xml,<svg onload=alert(1)>",
    "data:image/png;base64,AAAA",
    "file:///etc/passwd",
    "blob:x",
    "ftp://x",
    "about:blank",
    "view-source:http://x",
    "ms-msdt:/id",
    "x-y.z+1:a",
    ":javascript:x",
]
TEXTS = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//x></sCrIpT >",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "--><script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "<!--<img src=x onerror=alert(1)>-->",
    "<img src=x onerror=alert(1)>",
    "<img/src=x/onerror=alert(1)//",
    "<svg onload=alert(1)>",
    "<svg><style>@import url(x)</style>",
    "<style>body{background:url(javascript:x)}</style>",
    "<p style='color:expression(alert(1))'>",
    "<a href=javascript:alert(1)>x</a>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<math><mtext><table><mglyph><style><img src onerror=alert(1)>",
    "<base href=//x>",
    "<meta http-equiv=refresh content='0;url=javascript:x'>",
    "<link rel=stylesheet href=//x>",
    "<form action=javascript:x><button>",
    "<object data=x><embed src=x>",
    "<?php echo 1 ?>",
    "<![CDATA[<script>x</script>]]>",
    '"><script>alert(1)</script>',
    "' onmouseover='alert(1)",
    '" onfocus="alert(1)" autofocus="',
    "` onclick=alert(1) `",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "\\<script>alert(1)\\</script>",
    "``` onload=alert(1)\nx\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "~~~ x' onclick='alert(1)\nx\n~~~",
    "{{7*7}} {% raw %} ${alert(1)} #{1} <%= 1 %>",
    '![x" onerror="alert(1)](y)',
    '![x](y" onerror="alert(1))',
    "[x](y 'z\" onclick=\"alert(1)')",
    '[x](<y" onclick="alert(1)>)',
    "[x]: y 'z\" onclick=\"alert(1)'\n\n[x]",
    '<https://x.y/" onclick="alert(1)>',
    '<a@b.c" onclick="alert(1)>',
    '*a <img src="*" onerror=alert(1)>*',
    "[<img onerror=x>](https://x)",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "\u202escript\u202c <\u200bscript>",
    "＜script＞alert(1)＜/script＞",
]
for _url in URLS:
    TEXTS += [
        f"[x]({_url})",
        f"[x](<{_url}>)",
        f"![x]({_url})",
        f"<{_url}>",
        f"[x]: {_url}\n\n[x] ![x]",
        f"[x]: <{_url}>\n\n[x] ![x]",
    ]

TAGS = frozenset(
    [
        "a",
        "blockquote",
        "br",
        "code",
        "em",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "img",
        "li",
        "ol",
        "p",
        "pre",
        "strong",
        "ul",
    ]
)
ATTRIBUTES = {"a": {"href", "title"}, "img": {"src", "alt", "title"}, "ol": {"start"}, "code": {"class"}}
SCHEMES = ("http:", "https:", "mailto:")


class _Finder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            if name not in ATTRIBUTES.get(tag, ()):
                self.found.append(f"{tag}.{name}")
            if name in ("href", "src"):
                self.address(value or "")

    def address(self, value: str) -> None:
        """A browser drops control characters and white space before it looks for a scheme."""
        bare = "".join(sign for sign in value if sign > " ").lower()
        before = bare.split("/")[0].split("?")[0].split("#")[0]
        if ":" in before and not bare.startswith(SCHEMES):
            self.found.append(value)

    def handle_comment(self, data: str) -> None:
        self.found.append("comment")

    def handle_decl(self, decl: str) -> None:
        self.found.append("declaration")

    def handle_pi(self, data: str) -> None:
        self.found.append("instruction")


def dangers(html: str) -> list[str]:
    """Tags, attributes and addresses in `html` that prose may not have."""
    finder = _Finder()
    finder.feed(html)
    finder.close()
    return finder.found
