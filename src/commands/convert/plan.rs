//! The plan of a conversion: what the source configures, in tallyd's terms, and the notes about the
//! rest. Each kind of source fills one; the plan writes the file.

use super::document::{Block, Value};
use super::notes::Notes;

/// A converted configuration.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Keys at the top of the file, such as `interval`.
    pub(super) top: Block,
    /// `agent`.
    pub(super) agent: Block,
    /// `listeners`, each a section.
    pub(super) listeners: Vec<Block>,
    /// Whether `listeners: []` is written: the source has no input but Kamailio.
    pub(super) listeners_off: bool,
    /// `rules`, in their order.
    pub(super) rules: Vec<Block>,
    /// `aggregation`.
    pub(super) aggregation: Block,
    /// `kamailio`, each a server.
    pub(super) kamailio: Vec<Block>,
    /// `forwarders`: the kind and the section of each.
    pub(super) forwarders: Vec<(&'static str, Block)>,
    /// Keys at the end of the file, such as `admin` and `log`.
    pub(super) daemon: Block,
    /// Settings that need the reader's attention.
    pub(super) notes: Notes,
    /// Whether secrets are copied.
    pub(super) keeps_secrets: bool,
    /// Whether a secret was copied.
    pub(super) has_copied_secrets: bool,
}

impl Plan {
    pub(super) fn new(keeps_secrets: bool) -> Self {
        Self { keeps_secrets, ..Self::default() }
    }

    /// The value for a secret: the secret itself, or a reference to the environment variable and a note
    /// that it was not copied.
    pub(super) fn secret(&mut self, setting: &str, variable: &str, secret: Secret) -> Value {
        match secret {
            Secret::Reference(text) => Value::Text(text),
            Secret::Literal(text) if self.keeps_secrets => {
                self.has_copied_secrets = true;
                Value::text(&text)
            }
            Secret::Literal(_) => {
                self.notes.secret(
                    setting,
                    format!(
                        "set {variable} in the environment of the service, or write ${{credential:NAME}} \
                         or ${{file:/PATH}} in its place"
                    ),
                );
                Value::Text(format!("${{{variable}}}"))
            }
        }
    }

    /// Whether a forwarder of this kind was added.
    pub(super) fn has_forwarder(&self, kind: &str) -> bool {
        self.forwarders.iter().any(|(of, _)| *of == kind)
    }

    /// The text of the file. `origin` names the source.
    pub(super) fn write(mut self, origin: &str) -> String {
        let mut root = std::mem::take(&mut self.top);
        let section = |root: &mut Block, key: &str, value: Value| {
            let is_empty = match &value {
                Value::Block(block) => block.is_empty(),
                Value::List(items) => items.is_empty(),
                Value::Word(_) | Value::Text(_) => false,
            };
            if !is_empty {
                root.set(key, value);
            }
        };
        let list = |blocks: Vec<Block>| Value::List(blocks.into_iter().map(Value::Block).collect());
        section(&mut root, "agent", self.agent.into());
        section(&mut root, "listeners", list(self.listeners));
        if self.listeners_off {
            root.set("listeners", Value::List(Vec::new()));
        }
        section(&mut root, "rules", list(self.rules));
        section(&mut root, "aggregation", self.aggregation.into());
        section(&mut root, "kamailio", list(self.kamailio));
        section(&mut root, "forwarders", forwarders(&self.forwarders).into());
        let (head, notes) = (super::notes::wrapped(origin, "# ", "# "), self.notes.comments());
        format!("{head}{notes}\n{}{}", root.write(), self.daemon.write())
    }
}

/// A secret of the source.
pub(super) enum Secret {
    /// The secret itself.
    Literal(String),
    /// A text with tallyd's references, such as `${TOKEN}`, which contains no secret.
    Reference(String),
}

/// A mapping for each kind; a list where a kind has several destinations, which then have names.
fn forwarders(destinations: &[(&'static str, Block)]) -> Block {
    let mut kinds: Vec<&'static str> = Vec::new();
    destinations.iter().map(|(kind, _)| *kind).for_each(|kind| {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    });
    let mut section = Block::default();
    for kind in kinds {
        let of_kind = destinations.iter().filter(|(of, _)| *of == kind).map(|(_, block)| block);
        let mut blocks: Vec<Block> = of_kind.cloned().collect();
        let value = match blocks.len() {
            1 => blocks.remove(0).into(),
            _ => Value::List(
                (1..).zip(blocks).map(|(number, block)| named(kind, number, &block)).collect(),
            ),
        };
        section.set(kind, value);
    }
    section
}

/// A section with a name: its own, or one made of its kind and number.
fn named(kind: &str, number: usize, block: &Block) -> Value {
    let mut with_name = Block::default();
    let name = block.get("name").cloned();
    with_name.set("name", name.unwrap_or_else(|| Value::Text(format!("{kind}{number}"))));
    with_name.append(block);
    with_name.into()
}
