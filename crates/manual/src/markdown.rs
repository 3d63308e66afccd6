//! The page tallyd.yaml(5), from docs/configuration.md: as much of Markdown as stands there.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

const DOCUMENT: &str = include_str!("../../../docs/configuration.md");

/// The page.
pub(crate) fn configuration_page(version: &str) -> String {
    let mut page = Page::default();
    let source = format!("tallyd {version}");
    page.roff
        .control("TH", ["TALLYD.YAML", "5", "", &source, "tallyd"])
        .control("SH", ["NAME"])
        .text([roman("tallyd.yaml - configuration of tallyd")])
        .control("SH", ["DESCRIPTION"]);
    Parser::new_ext(DOCUMENT, Options::ENABLE_TABLES).for_each(|event| page.add(event));
    page.roff.control("SH", ["SEE ALSO"]).text([roman(
        "tallyd(1), tallyd-check(1). Documents that are named here, such as delivery.md, are in \
         /usr/share/doc/tallyd.",
    )]);
    page.roff.render()
}

/// The page as far as it is written.
#[derive(Default)]
struct Page {
    roff: Roff,
    /// Text that belongs to one block.
    inlines: Vec<Inline>,
    fonts: Vec<Font>,
    /// A link's text is replaced if it leads to another document.
    link: Option<Link>,
    is_in_code: bool,
    /// Whether the next paragraph belongs to a list's item, and stands behind its mark.
    is_item: bool,
    table: Option<Table>,
}

#[derive(Clone, Copy)]
enum Font {
    Bold,
    Italic,
}

struct Link {
    /// The text that replaces it; `None` if its own text stays.
    replacement: Option<String>,
}

#[derive(Default)]
struct Table {
    headings: Vec<String>,
    cells: Vec<Vec<Inline>>,
    is_head: bool,
}

impl Page {
    fn add(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.is_in_code => {
                text.lines().for_each(|line| {
                    self.roff.text([roman(line)]);
                });
            }
            Event::Text(text) => self.push(&text),
            Event::Code(text) => self.push_bold(&text),
            Event::SoftBreak => self.push(" "),
            other => {
                unreachable!("docs/configuration.md has what no page was made of yet: {other:?}")
            }
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Strong => self.fonts.push(Font::Bold),
            Tag::Emphasis => self.fonts.push(Font::Italic),
            Tag::Link { dest_url, .. } => self.start_link(&dest_url),
            Tag::CodeBlock(_) => {
                self.write_text();
                self.is_in_code = true;
                self.roff.control("PP", []).control("RS", ["4"]).control("nf", []);
            }
            Tag::Item => {
                self.roff.control("IP", ["\\(bu", "2"]);
                self.is_item = true;
            }
            Tag::Table(_) => self.table = Some(Table::default()),
            Tag::TableHead => {
                if let Some(table) = &mut self.table {
                    table.is_head = true;
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => self.end_heading(level),
            TagEnd::Paragraph => {
                if !std::mem::take(&mut self.is_item) {
                    self.roff.control("PP", []);
                }
                self.write_text();
            }
            TagEnd::Item => {
                self.write_text();
                self.is_item = false;
            }
            TagEnd::Strong | TagEnd::Emphasis => drop(self.fonts.pop()),
            TagEnd::Link => self.end_link(),
            TagEnd::CodeBlock => {
                self.is_in_code = false;
                self.roff.control("fi", []).control("RE", []);
            }
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.inlines);
                if let Some(table) = &mut self.table {
                    table.cells.push(cell);
                }
            }
            TagEnd::TableHead => {
                if let Some(table) = &mut self.table {
                    table.is_head = false;
                    table.headings = table.cells.drain(..).map(|cell| plain(&cell)).collect();
                }
            }
            TagEnd::TableRow => self.end_row(),
            TagEnd::Table => self.table = None,
            _ => {}
        }
    }

    fn end_heading(&mut self, level: HeadingLevel) {
        let text = plain(&std::mem::take(&mut self.inlines));
        match level {
            // The page has its own.
            HeadingLevel::H1 => {}
            HeadingLevel::H2 => {
                self.roff.control("SH", [text.to_uppercase().as_str()]);
            }
            _ => {
                self.roff.control("SS", [text.as_str()]);
            }
        }
    }

    /// A row as a paragraph behind its first cell.
    fn end_row(&mut self) {
        let Some(table) = &mut self.table else { return };
        let mut cells = table.cells.drain(..);
        let mut tag = cells.next().unwrap_or_default();
        let mut text = Vec::new();
        for (heading, cell) in table.headings.iter().skip(1).zip(cells) {
            if heading == "default" && !cell.is_empty() {
                let is_default = plain(&cell) != "required";
                tag.push(roman(if is_default { " (default: " } else { " (" }));
                tag.extend(cell);
                tag.push(roman(")"));
            } else if heading != "default" {
                text.extend(cell);
            }
        }
        self.roff.control("TP", []).text(tag).text(text);
    }

    /// Other documents are named by their files, which is how a reader of the page finds them.
    fn start_link(&mut self, target: &str) {
        let document = target.split('#').next().unwrap_or_default();
        let replacement = match document.strip_prefix("../etc/") {
            Some(name) => Some(format!("/etc/tallyd/{name}")),
            None if document.ends_with(".md") => Some(document.to_owned()),
            None => None,
        };
        if let Some(replacement) = &replacement {
            self.push(replacement);
        }
        self.link = Some(Link { replacement });
    }

    fn end_link(&mut self) {
        self.link = None;
    }

    fn is_replaced(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.replacement.is_some())
    }

    fn push(&mut self, text: &str) {
        if self.is_replaced() {
            return;
        }
        self.inlines.push(match self.fonts.last() {
            Some(Font::Bold) => bold(text),
            Some(Font::Italic) => italic(text),
            None => roman(text),
        });
    }

    fn push_bold(&mut self, text: &str) {
        if !self.is_replaced() {
            self.inlines.push(bold(text));
        }
    }

    fn write_text(&mut self) {
        if !self.inlines.is_empty() {
            self.roff.text(std::mem::take(&mut self.inlines));
        }
    }
}

fn plain(inlines: &[Inline]) -> String {
    let text = |inline: &Inline| match inline {
        Inline::Roman(text) | Inline::Italic(text) | Inline::Bold(text) => text.clone(),
        Inline::LineBreak => " ".to_owned(),
    };
    inlines.iter().map(text).collect()
}
