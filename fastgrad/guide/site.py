"""The guide and the reference as a folder of web pages: `python -m fastgrad.guide --site FOLDER`.

chapters (Markdown) and public modules (docstrings) -> pdoc's Markdown and templates -> HTML. What
is added to pdoc: chapters beside the reference, $...$ as MathML, which browsers draw by themselves
(no script, no network), and each formula that a docstring cites by number is shown below it.
"""

from __future__ import annotations

import importlib
import re
import shutil
import warnings
from pathlib import Path

from ..typing import PathLike

__all__ = ["CHAPTERS", "REFERENCE", "chapters", "site"]

HERE = Path(__file__).parent

# In reading order; a chapter that is not named here comes after these.
CHAPTERS = (
    "start", "training", "tables", "sparse_and_stacks", "backend", "derivatives", "per_sample",
    "types", "paper", "speed", "scale", "deployment", "benchmarks", "guarantees", "limits",
    "formulas", "inside",
)  # fmt: skip

# The pages of the reference. The first has all that `fastgrad` itself exports.
REFERENCE = (
    "fastgrad", "fastgrad.calculus", "fastgrad.curvature", "fastgrad.datasets", "fastgrad.explain",
    "fastgrad.jacobians", "fastgrad.per_sample", "fastgrad.plots", "fastgrad.schedules",
    "fastgrad.stack", "fastgrad.activations", "fastgrad.losses", "fastgrad.reference",
    "fastgrad.interop.numba", "fastgrad.interop.scipy", "fastgrad.interop.sklearn",
    "fastgrad.interop.torch", "fastgrad.interop.jax", "fastgrad.interop.dask", "fastgrad.guide",
    "fastgrad.typing",
)  # fmt: skip

_MATH = re.compile(r"```.*?```|`[^`\n]*`|\$([^$\n]+)\$", re.DOTALL)
_CITED = re.compile(r"\b([Ff]ormulas?\s)(\d+(?:(?:,\s|\sand\s|,\sand\s|\sto\s)\d+)*)")
_NOT_TEXT = re.compile(
    rf"(<pre.*?</pre>|<code.*?</code>|<a .*?</a>|<li value.*?</li>)|{_CITED.pattern}", re.DOTALL
)
_TABLE = re.compile(r"^( *)=+(?: +=+)+\n(?:.*\n)*?\1=+(?: +=+)+\n(?:(?:.*\S.*\n)*?\1=+(?: +=+)+$)?",
                    re.MULTILINE)  # fmt: skip
_SHOWN = 4  # formulas below a paragraph, at most


def chapters() -> dict[str, Path]:
    """The chapters by name, in reading order.

    Examples
    --------
    >>> list(chapters())[:2]
    ['start', 'training']
    """
    found = {path.stem: path for path in sorted(HERE.glob("*.md")) if path.stem != "index"}
    names = [name for name in CHAPTERS if name in found]
    return {name: found[name] for name in [*names, *(found.keys() - {*names})]}


def site(folder: PathLike) -> list[str]:
    """Write the pages of the guide and the reference; open ``index.html``.

    Parameters
    ----------
    folder : str or path
        Made where it is missing; empty, or an earlier site, which is replaced.

    Returns
    -------
    left_out : list of str
        Modules of the reference whose tools are not installed, and why.

    Raises
    ------
    ImportError
        If pdoc or latex2mathml is missing: ``pip install "fastgrad[docs]"``.
    FileExistsError
        If the folder has something else in it.

    Examples
    --------
    >>> site("site")  # doctest: +SKIP
    []
    """
    pdoc = _pdoc()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / "guide.css").exists():
        raise FileExistsError(f"{folder} is not empty; expected a free folder or an earlier site")
    modules, left_out = _modules(pdoc)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of annotations that pdoc shows as they are written
        made = Pages(pdoc, modules).all()
    for path in (*HERE.glob("*.svg"), *HERE.glob("*.png"), HERE / "templates" / "guide.css"):
        shutil.copyfile(path, folder / path.name)
    for name, text in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return left_out


def _pdoc():
    try:
        import latex2mathml.converter  # noqa: F401
        import pdoc
    except ImportError:
        raise ImportError(
            'fastgrad.guide.site needs pdoc and latex2mathml: pip install "fastgrad[docs]"'
        ) from None
    return pdoc


def _modules(pdoc):
    """({name: pdoc's module}, those that could not be imported)."""
    import pdoc.doc

    modules, left_out = {}, []
    for name in REFERENCE:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            left_out.append(f"{name}: {error}")
            continue
        for public in getattr(module, "__all__", ()):
            getattr(module, public)  # pdoc sees what has been imported
        modules[name] = pdoc.doc.Module(module)
    return modules, left_out


class Pages:
    """pdoc's renderer with our templates, filters and table of formulas."""

    def __init__(self, pdoc, modules):
        import jinja2
        import pdoc.render
        import pdoc.render_helpers as helpers

        from .. import __version__

        self.modules, self.markdown = modules, helpers.to_html
        self.places = _places(modules)
        formulas = self.html((HERE / "formulas.md").read_text(encoding="utf-8"))
        rows = re.findall(r"<tr>\s*<td>(\d+)</td>\s*<td>.*?</td>\s*<td>(.*?)</td>", formulas, re.S)
        self.formulas = dict(rows)
        pdoc.render.configure(docformat="numpy", template_directory=HERE / "templates")
        self.env = env = pdoc.render.env.overlay()
        env.filters = dict(env.filters)
        env.filters["to_markdown"] = jinja2.pass_context(
            lambda context, text: helpers.to_markdown_with_context(context, _plain(text))
        )
        env.filters["to_html"] = jinja2.pass_context(
            lambda context, text: self.docstring(text, context["module"].modulename.count("."))
        )
        titles = {name: title(path) for name, path in chapters().items()}
        env.globals = {**env.globals, "titles": titles, "version": __version__}

    def all(self) -> dict[str, str]:
        """{path in the folder: text} of every page."""
        made = {f"{name.replace('.', '/')}.html": self.module(module)
                for name, module in self.modules.items()}  # fmt: skip
        for name, path in {"index": HERE / "index.md", **chapters()}.items():
            made[f"{name}.html"] = self.chapter(name, path)
        return {**made, "search.js": self.search()}

    def html(self, markdown: str):
        """Markdown with $...$ to HTML; pdoc's has the table of contents as an attribute."""
        from latex2mathml.converter import convert

        found: list[str] = []

        def keep(match):
            if match[1] is None:
                return match[0]
            found.append(convert(match[1]))
            return f"\ue000{len(found) - 1}\ue001"

        made = self.markdown(_MATH.sub(keep, markdown))
        whole = re.sub("\ue000(\\d+)\ue001", lambda match: found[int(match[1])], made)
        return _Html(whole, getattr(made, "toc_html", None))

    def docstring(self, markdown: str, depth: int):
        """A docstring's HTML; formulas that it cites are links, and shown below the paragraph."""
        made = self.html(markdown)

        def shown(match):
            cited = [number for _, part in _CITED.findall(match[0]) for number in _numbers(part)]
            cited = [number for number in dict.fromkeys(cited) if number in self.formulas]
            lines = "".join(f"<li value={number}>{self.formulas[number]}</li>" for number in cited)
            return match[0] + (
                f'<ol class="formulas">{lines}</ol>' if 0 < len(cited) <= _SHOWN else ""
            )

        whole = re.sub(r"<p>.*?</p>", shown, made, flags=re.DOTALL)
        return _Html(self._cited(whole, "../" * depth), made.toc_html)

    def _cited(self, text: str, root: str) -> str:
        """Each "formula 34" of running text as a link."""

        def linked(match):
            if match[1] is not None:
                return match[0]
            return match[2] + re.sub(r"\d+", one, match[3])

        def one(number):
            page = f"{root}formulas.html#formula-{number[0]}"
            return f'<a href="{page}">{number[0]}</a>' if number[0] in self.formulas else number[0]

        return _NOT_TEXT.sub(linked, text)

    def module(self, module) -> str:
        page = self.env.get_template("module.html.jinja2")
        text = page.render(module=module, all_modules=self.modules, root_module_name="fastgrad",
                           edit_url=None, mtime=None, here="")  # fmt: skip
        places = {*re.findall(r'\bid="([^"]+)"', text)}
        return re.sub(r'<a href="#([^"]+)">(.*?)</a>',  # pdoc links to a guest's inherited methods
                      lambda link: link[0] if link[1] in places else link[2], text)  # fmt: skip

    def chapter(self, name: str, path: Path) -> str:
        body = self.html(path.read_text(encoding="utf-8"))
        text = re.sub(r'href="(\w+)\.md(#[^"]*)?"', r'href="\1.html\2"', body)
        text = re.sub(r"<code>[^<]{40,}</code>", _breakable, text)
        text = re.sub(r"<code>(?:fg\.|fastgrad\.)?([\w.]+)(\([^<]*\))?</code>", self._linked, text)
        if name == "formulas":
            text = re.sub(r"<tr>(\s*)<td>(\d+)</td>", r'<tr id="formula-\2">\1<td>\2</td>', text)
        else:
            text = self._cited(text, "")
        text = text.replace("<table>", '<div class="wide"><table>')
        text = text.replace("</table>", "</table></div>")
        page = self.env.get_template("chapter.html.jinja2")
        return page.render(here=name, heading=title(path), body=text, all_modules=self.modules)

    def _linked(self, code) -> str:
        place = self.places.get(code[1])
        return f'<a href="{place}">{code[0]}</a>' if place else code[0]

    def search(self) -> str:
        import pdoc.render

        pdoc.render.configure(docformat="numpy")  # its own templates: only names are looked at
        return pdoc.render.search_index(self.modules)


class _Html(str):
    """HTML and its table of contents, as markdown2 gives them."""

    __slots__ = ("toc_html",)

    def __new__(cls, text, toc_html):
        made = super().__new__(cls, text)
        made.toc_html = toc_html
        return made


def _places(modules) -> dict[str, str]:
    """Where in the reference a name is, as chapters write it after "fg."."""
    places = {}
    for name, module in modules.items():
        page, short = f"{name.replace('.', '/')}.html", name.removeprefix("fastgrad").lstrip(".")
        if short:
            places[short] = page
        for doc in module.flattened_own_members:
            members = doc.members.values() if doc.kind == "class" else ()
            for each in (doc, *members):
                places.setdefault(f"{short}.{each.qualname}".lstrip("."), f"{page}#{each.qualname}")
    return places


def _breakable(code) -> str:
    """A long name that may be broken after its words, in a narrow column."""
    return re.sub(r"(_|::)(?=\w)", r"\1<wbr>", code[0])


def title(path: Path) -> str:
    """A chapter's first heading."""
    return re.search(r"^# (.*)$", path.read_text(encoding="utf-8"), re.M)[1]


def _plain(docstring: str) -> str:
    """What pdoc's Markdown reads otherwise: tables of reStructuredText, names such as **options."""
    docstring = re.sub(r"^( *)\*\*(\w+) : ", r"\1&ast;&ast;\2 : ", docstring, flags=re.M)
    return _TABLE.sub(lambda match: f"```text\n{match[0]}\n```", docstring)


def _numbers(text: str) -> list[str]:
    """The numbers in "18 to 20, 23 and 24"."""
    found = []
    for first, last in re.findall(r"(\d+)(?: to (\d+))?", text):
        found += map(str, range(int(first), int(last or first) + 1))
    return found
